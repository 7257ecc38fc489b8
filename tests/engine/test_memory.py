"""Running out of memory halves the budget; freed memory is used again."""

import platform
import subprocess
import sys

import pytest
import torch
from cases import random_requests

import nbhelpers as nb

MAPPED = """
import ctypes, torch
from nbhelpers.engine.memory import keep_freed_memory

class Mallinfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
held = []

def from_the_system():
    before = mallinfo2().hblks
    held.append(torch.empty(31 * 2**20, dtype=torch.uint8))
    return mallinfo2().hblks - before

first = from_the_system()
keep_freed_memory()
print(first, from_the_system())
"""


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.33"), reason="glibc's rule, asked with a function of 2.33")
def test_large_blocks_stay_with_the_allocator():
    """One of 31 MB is mapped by the system, which takes it back when it is freed; the next one no longer is.

    In a process of its own, as nothing large may have been freed there before.
    """
    run = subprocess.run([sys.executable, "-c", MAPPED], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "0"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        RuntimeError("MPS backend out of memory"),
    ],
)
@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_out_of_memory_halves_the_budget_and_loses_nothing(gpt2, monkeypatch, engine, error):
    prompts, answers = random_requests(3)
    original = gpt2.model.transformer.forward
    room = 10_000

    def with_little_memory(*args, **options):
        if options.get("input_ids", *args[:1]).numel() > room:
            raise error
        return original(*args, **options)

    monkeypatch.setattr(gpt2.model.transformer, "forward", with_little_memory)
    expected = nb.score_answers(gpt2, prompts, answers, engine=engine)  # packing is tried out while there is room
    room = 20
    with pytest.warns(UserWarning, match="out of memory: starting again with token_budget=") as notices:
        scores = nb.score_answers(gpt2, prompts, answers, engine=engine, token_budget=320)
    assert [notice.message.args[0].split("=")[1] for notice in notices][:2] == ["160", "80"]
    for score, truth in zip(scores, expected, strict=True):
        assert score.logprobs == pytest.approx(truth.logprobs, abs=1e-4)
    room = 0
    with pytest.warns(UserWarning), pytest.raises(type(error), match="memory"):
        nb.score_answers(gpt2, prompts, answers, engine=engine, token_budget=2)
