"""A run that is made to be killed: tests/test_killed_runs.py starts it in a process of its own, and ends it at once."""

import os
import random
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tiny_models import WIDER, model_of

import nbhelpers as nb
from nbhelpers import stored
from nbhelpers.engine import subtrees

WORDS = ["the", "capital", "of", "France", "is", "Paris", "and", "London", "Berlin", "returned", "value", "end"]


def make_model() -> nb.LanguageModel:
    """The same in every process."""
    torch.set_num_threads(1)  # processes are forked, and threads would not be
    return model_of("Llama", **WIDER | {"max_position_embeddings": 256})


MODEL = make_model()


def texts(seed: int, count: int, length: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) for _ in range(length)) for _ in range(count)]


def small_pieces() -> None:
    """Many pieces, so that there is much to be killed in."""
    subtrees.LEAST, subtrees.TIMES_SHARED = 60, 1


def score(lm: nb.LanguageModel, cache: Path | None) -> Any:
    common = texts(0, 1, 30)[0]
    prompts = [f"{common} {question}" for question in texts(1, 60, 8) for _ in range(4)]
    return nb.score_answers(lm, prompts, [f" {answer}" for answer in texts(2, 240, 3)], cache=cache)


def measure(lm: nb.LanguageModel, cache: Path | None) -> Any:
    return nb.perplexity(lm, texts(3, 40, 60), 32, 8, token_budget=128, cache=cache)


def write(lm: nb.LanguageModel, cache: Path | None) -> Any:
    prompts = texts(4, 20, 12)
    return nb.generate(lm, prompts, 8, samples=3, temperature=0.8, token_budget=80, cache=cache)


CALLS = {"score_answers": score, "perplexity": measure, "generate": write}


def run(call: str, cache: Path, log: Path) -> None:
    """The call, which notes in `log` how many results it has kept, whenever it has kept some."""
    small_pieces()
    kept, save = 0, stored.Store.save
    with log.open("w", buffering=1) as notes:

        def save_and_tell(store: stored.Store, results: dict) -> None:
            nonlocal kept
            save(store, results)
            kept += len(results)
            notes.write(f"{kept}\n")

        stored.Store.save = save_and_tell
        notes.write("0\n")
        CALLS[call](MODEL, cache)


def start(call: str, cache: Path, log: Path) -> Any:
    """The call in a process of its own, which has the model already; returns once it has begun."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["killed_run"])
    process = context.Process(target=run, args=(call, cache, log), daemon=True)
    # The server that is forked imports this module once. It finds it by this variable only (Python 3.11).
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        process.start()
    given_up = time.monotonic() + 60
    while not (log.exists() and log.read_text()):
        if time.monotonic() > given_up or process.exitcode is not None:
            raise TimeoutError(f"{call} did not begin")
        time.sleep(0.001)
    return process
