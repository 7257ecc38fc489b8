"""Ctrl-C stops a run in whichever phase it is, and the next run is as if nothing had been."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Each phase has work for a while; a moment after it begins, the process gets the signal of Ctrl-C.
CHILD = """
import os, signal, sys, threading, time
import numpy as np
sys.path.insert(0, sys.argv[1])
import conftest  # the device
from tiny_models import DEVICE, make_model, make_tokenizer
import nbhelpers as nb
from nbhelpers import scoring
from nbhelpers.engine import run
from nbhelpers.engine.prefix_tree import build_tree

tokenizer = make_tokenizer()
lm = nb.wrap_model(make_model("gpt2", len(tokenizer), 1_024).to(DEVICE), tokenizer)
words = "The capital of France is Paris, and the end of the is London".split()
rng = np.random.default_rng(0)
texts = [" ".join(rng.choice(words, 60)) for _ in range(6_000)]
sent = 0.0

def press_ctrl_c():
    global sent
    sent = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)

def then_interrupted(function):
    def interrupted(*arguments, **options):
        threading.Timer(0.05, press_ctrl_c).start()
        return function(*arguments, **options)
    return interrupted

def score(engine, **patched):
    for name, module in patched.items():
        original = getattr(module, name)
        setattr(module, name, then_interrupted(original))
    try:
        nb.score_answers(lm, texts, [" end"] * len(texts), engine=engine, token_budget=64)
        return "finished"
    except KeyboardInterrupt:
        return "stopped"
    finally:
        for name, module in patched.items():
            setattr(module, name, getattr(module, name).__closure__[0].cell_contents)

def grow():
    rows = rng.integers(0, 3, (60_000, 40))
    try:
        then_interrupted(build_tree)(rows)
        return "finished"
    except KeyboardInterrupt:
        return "stopped"

few = [s.total for s in nb.score_answers(lm, texts[:9], [" end"] * 9)]
for phase, work in {
    "encoding": lambda: score("auto", encode_items=scoring),
    "tree": grow,
    "packed": lambda: score("packed", score_packed_and_check=run),
    "plain": lambda: score("plain", score_plain=run),
}.items():
    print(phase, work(), f"{time.perf_counter() - sent:.2f}", sep=",", flush=True)
print([s.total for s in nb.score_answers(lm, texts[:9], [" end"] * 9)] == few)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_is_answered_in_every_phase():
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    *phases, same_as_before = run.stdout.splitlines()
    assert [phase.split(",")[:2] for phase in phases] == [
        ["encoding", "stopped"],
        ["tree", "stopped"],
        ["packed", "stopped"],
        ["plain", "stopped"],
    ], run.stdout + run.stderr
    assert same_as_before == "True"
