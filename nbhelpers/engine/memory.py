"""How much is computed at once, and what happens when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from ..warn import warn_caller

Result = TypeVar("Result")


def default_budget(on_cpu: bool, packed: bool) -> int:
    """Tokens per forward pass. Fewer when packed, because attention then compares all pairs of tokens of a chunk."""
    if on_cpu:
        return 512 if packed else 1_024
    return 4_096 if packed else 16_384


def halve_until_it_fits(attempt: Callable[[int], Result], budget: int) -> Result:
    """Call ``attempt(budget)``; each time it runs out of memory, start again with half the budget."""
    while True:
        try:
            return attempt(budget)
        except RuntimeError as error:
            if not is_out_of_memory(error) or budget == 1:
                raise
        # Outside the handler, where the failed attempt's tensors are no longer held by its traceback.
        budget //= 2
        warn_caller(f"out of memory: starting again with token_budget={budget}")


def is_out_of_memory(error: Exception) -> bool:
    """Only GPUs have an exception of their own for it. The CPU and MPS raise a RuntimeError that says so."""
    import torch

    message = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in message or "can't allocate memory" in message


@cache
def keep_freed_memory() -> None:
    """Make glibc keep freed blocks, so that layers do not request the same few megabytes from the system again.

    glibc returns free memory to the system once there is more of it than twice the largest block ever freed, counting
    blocks below 32 MB. This allocates and frees one such block. Nothing is written to it, so it costs no memory; other
    allocators ignore it.
    """
    import torch

    torch.empty(2**25 - 2**16, dtype=torch.uint8)
