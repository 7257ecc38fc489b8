"""Where our time and memory go on a GPU: one traced run of A, and what the head holds at once."""

from __future__ import annotations

import cProfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import worker
from torch.utils._python_dispatch import TorchDispatchMode

from nbhelpers.engine import packed, plain

if TYPE_CHECKING:
    from gpu_tools import InProcess

# Of the kernels and of our functions, this many of the longest are kept.
KERNELS = 12
# Functions of nbhelpers, for where the host's time goes; a name that a later version has no more is left out.
HOST_PARTS = (
    "_encode_jointly",
    "encode_items",
    "encode_with_spans",
    "request_tree",
    "chunk_mask",
    "_walk",
    "score_packed",
    "_read_chunk",
    "reduce_states",
    "scatter",
    "require_packing",
    "require_agreement",
)
# Calls of CUDA in which the host waits for the GPU.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpyAsync")


def trace(ours: InProcess, questions: int, save: Callable[[Any], None]) -> dict[str, Any]:
    """One run of A on the clock, then one with torch's profiler, and one with Python's."""
    from torch.profiler import ProfilerActivity

    ours.run("A", questions)
    found: dict[str, Any] = {"seconds": ours.run("A", questions)["seconds"]}
    save(found)
    host = cProfile.Profile()
    found["profiled_seconds"] = host.runcall(ours.run, "A", questions)["seconds"]
    inside = worker.seconds_inside(host)
    found["host"] = {name: inside[name] for name in HOST_PARTS if name in inside}
    save(found)
    on_gpu = ours.device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        found["traced_seconds"] = ours.run("A", questions)["seconds"]
    return found | (from_gpu(profiler.events()) if on_gpu else from_cpu(profiler.key_averages()))


def from_gpu(events: Iterable[Any]) -> dict[str, Any]:
    """Busy time, the longest kernels, and how often and how long the host launched or waited, in seconds."""
    kernels: dict[str, list[float]] = {}
    spans, calls = [], {"launches": 0, "launch_seconds": 0.0, "wait_seconds": 0.0}
    for event in events:
        begin, end = event.time_range.start / 1e6, event.time_range.end / 1e6
        if event.device_type == torch.autograd.DeviceType.CUDA:
            if not getattr(event, "is_user_annotation", False):
                spans.append((begin, end))
                kernels.setdefault(event.name, []).append(end - begin)
        elif event.name in WAITS:
            calls["wait_seconds"] += end - begin
        elif "aunchKernel" in event.name:  # cudaLaunchKernel, cuLaunchKernel, cudaLaunchKernelExC
            calls["launches"] += 1
            calls["launch_seconds"] += end - begin
    longest = sorted(kernels, key=lambda name: -sum(kernels[name]))[:KERNELS]
    return {
        "busy_seconds": covered(spans),
        **calls,
        "kernels": [[name[:120], len(kernels[name]), sum(kernels[name])] for name in longest],
    }


def from_cpu(averages: Iterable[Any]) -> dict[str, Any]:
    """The operations that took longest, in place of kernels."""
    longest = sorted(averages, key=lambda one: -one.self_cpu_time_total)[:KERNELS]
    return {"kernels": [[one.key[:120], one.count, one.self_cpu_time_total / 1e6] for one in longest]}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of a union of intervals: kernels on several streams overlap.

    >>> covered([(0, 2), (5, 6), (1, 3)])
    4
    """
    total, reached = 0, -float("inf")
    for begin, end in sorted(spans):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def head_memory(ours: InProcess, questions: int, save: Callable[[Any], None]) -> dict[str, Any]:
    """What the head holds at once on A and on E, in bytes.

    `largest` is the largest tensor that any operation inside it returned: the logits. `peak` is everything that was
    allocated inside it, exponentials and other temporary memory of the kernels included; only a GPU's allocator tells.
    """
    found: dict[str, Any] = {}
    for workload, job in (("A", {"size": questions}), ("E", {"stride": 1024})):
        with watched_head(lambda: Largest(), ours.device) as mode_seen:
            ours.run(workload, **job)
        found[workload] = {"largest": mode_seen["largest"]}
        if ours.device == "cuda":
            with watched_head(None, ours.device) as seen:
                ours.run(workload, **job)
            found[workload]["peak"] = seen["peak"]
        save(found)
    return found


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that an operation makes; a view makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in args if isinstance(one, torch.Tensor)}
        for one in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in given:
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return made


@contextmanager
def watched_head(mode: Callable[[], Largest] | None, device: str) -> Iterator[dict[str, int]]:
    """Within this context, the engines' calls of the head are measured."""
    seen = {"largest": 0, "peak": 0}
    original = packed.reduce_states

    def measured(*arguments: Any, **options: Any) -> Any:
        if mode is not None:
            with mode() as watching:
                found = original(*arguments, **options)
            seen["largest"] = max(seen["largest"], watching.bytes)
            return found
        before = worker.start_of_memory(device)
        found = original(*arguments, **options)
        seen["peak"] = max(seen["peak"], worker.peak_of_memory(device) - before)
        return found

    packed.reduce_states = plain.reduce_states = measured
    try:
        yield seen
    finally:
        packed.reduce_states = plain.reduce_states = original
