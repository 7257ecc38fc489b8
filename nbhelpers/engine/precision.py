"""Forward passes in the model's own precision, whatever the caller has switched on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def exact_inference(device: torch.device) -> Iterator[None]:
    """No gradients and no autocast, in which log-probabilities of a float32 model would be off by tenths of a nat."""
    import torch

    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield
