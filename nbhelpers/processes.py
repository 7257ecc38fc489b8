"""Processes that torchrun or `accelerate launch` started together: who they are, and what they tell each other.

Messages go through a group of their own (gloo, on the CPU), so that no process group of the program's is made, changed
or needed.
"""

from __future__ import annotations

import os
import pickle
import sys
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# How long the others wait for a process that has not made the same call, and for one that computes.
ARRIVAL, LONGEST = timedelta(minutes=30), timedelta(days=30)
# What a launcher tells the processes that it starts.
LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

_switched_on = True


def split_between_processes(split: bool) -> None:
    """Whether processes started together share the work of a call. At first they do.

    Under ``torchrun`` or ``accelerate launch``, :func:`score_answers`, :func:`perplexity` and :func:`generate` are
    called in every process with the same arguments. Each process computes a part, and all get all results; an error in
    one is raised in all. Progress is shown in the first. A model whose weights are themselves spread over the processes
    (tensor parallelism, FSDP, ZeRO 3) is left alone.

    A program that divides its work between the processes by itself calls ``split_between_processes(False)`` first, in
    every process: each call then concerns nobody but the process that makes it.

    Parameters
    ----------
    split : bool
    """
    global _switched_on
    _switched_on = bool(split)


class Team:
    """This process and those it was started with, for the time of one call.

    Attributes
    ----------
    rank, size : int
        Which process this is, counted from 0, and how many there are.
    reads_files : bool
        Whether this is the first process on its machine.
    parted : bool
        Whether the call has ended for all, so that nobody waits for a message any more.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.reads_files = int(os.environ.get("LOCAL_RANK", rank)) == 0
        self.parted = self._met = False

    def exchange(self, message: Any) -> list[Any]:
        """The messages of all processes, in order, in every process; an error that one of them sends is raised in all.

        Raises
        ------
        TimeoutError
            If a process has not begun the same call half an hour after this one.
        """
        try:
            if not self._met:
                self._meet()
            received = [pickle.loads(data) for data in _all_gather(_channel(), self.size, _pickled(message))]
        except RuntimeError as error:
            self.parted = True
            raise RuntimeError(f"another process of this run has ended or cannot be reached ({error})") from error
        for rank, one in enumerate(received):
            if isinstance(one, BaseException):
                self.parted = True
                if rank != self.rank:
                    one.add_note(f"raised in process {rank} of {self.size}, in which this call was split")
                raise message if rank == self.rank else one
        return received

    def tell(self, error: Exception) -> None:
        """Raise this error in the other processes, which wait for a message; here, the caller does."""
        try:
            self.exchange(error)
        except Exception as raised:
            if raised is not error:
                raise raised from error

    def _meet(self) -> None:
        try:
            _channel().monitored_barrier(ARRIVAL)
            self._met = True
        except RuntimeError as error:
            self.parted = True
            raise TimeoutError(
                f"another process did not make the same call within {ARRIVAL} ({str(error).splitlines()[0]}): under "
                "torchrun and accelerate launch, all make the same calls; for calls that concern one process alone, "
                "use nbhelpers.split_between_processes(False)"
            ) from error


def team_of(model: PreTrainedModel) -> Team | None:
    """The processes that share the work on a model; None where this one is alone."""
    if not _switched_on:
        return None
    rank, size = _place()
    return None if size == 1 or _is_spread(model) else Team(rank, size)


def _place() -> tuple[int, int]:
    """Which process this is, and of how many."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    if all(os.environ.get(name) for name in LAUNCHED):
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1


def _is_spread(model: PreTrainedModel) -> bool:
    """Whether the weights are spread over processes, which must then all run the same requests."""
    wrapped = any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())
    return wrapped or any(hasattr(p, "ds_id") or type(p.data).__name__ == "DTensor" for p in model.parameters())


@cache
def _channel() -> Any:
    """A gloo group of all processes. Made once, by all of them together."""
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import _get_default_store
    from torch.distributed.rendezvous import rendezvous

    rank, size = _place()
    if dist.is_initialized():
        store = _get_default_store()
    else:
        store, _, _ = next(rendezvous("env://", rank, size, timeout=ARRIVAL))
    store = dist.PrefixStore("nbhelpers", store)
    store.set(f"arrived/{rank}", b"1")
    store.wait([f"arrived/{other}" for other in range(size)], ARRIVAL)
    return dist.ProcessGroupGloo(store, rank, size, LONGEST)


def _all_gather(channel: Any, size: int, data: bytes) -> list[bytes]:
    import torch

    length = torch.tensor([len(data)])
    lengths = [torch.empty_like(length) for _ in range(size)]
    channel.allgather([lengths], [length]).wait()
    longest = max(int(one) for one in lengths)
    padded = torch.from_numpy(np.frombuffer(data.ljust(longest, b"\0"), dtype=np.uint8).copy())
    rows = [torch.empty_like(padded) for _ in range(size)]
    channel.allgather([rows], [padded]).wait()
    return [row[: int(count)].numpy().tobytes() for row, count in zip(rows, lengths, strict=True)]


def _pickled(message: Any) -> bytes:
    """The message; an error that cannot be sent as it is, as its words."""
    if not isinstance(message, BaseException):
        return pickle.dumps(message)
    try:
        data = pickle.dumps(message)
        pickle.loads(data)  # some errors can be written and not read
        return data
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(message).__name__}: {message}"))
