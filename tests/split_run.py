"""What each of two processes does in tests/test_processes.py: `torchrun split_run.py FOLDER`.

Each scenario runs in both; what came of it goes to FOLDER/{rank}.json.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("NBHELPERS_DEVICE", "cpu")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from tiny_models import WIDER, model_of

import nbhelpers as nb
from nbhelpers import processes, prompt_continuations, request_scores

RANK, FOLDER = int(os.environ["RANK"]), Path(sys.argv[1])
COMMON = "the capital of France is Paris and " * 5
# 60 questions with two answers each; every request stands there twice.
PROMPTS = [f"{COMMON}{number} is the end of" for number in range(60) for _ in range(2)] * 2
ANSWERS = [" Paris and", " London"] * 120
TEXT = COMMON * 9
WRITING = {"max_new_tokens": 6, "temperature": 0.7, "samples": 2}
counted: dict[str, int] = {}


def count_tokens(owner: Any, name: str, tokens: Callable[..., int]) -> None:
    """Count what one function of the engine computes in this process."""
    original = getattr(owner, name)

    def count(lm, some, *args, **options):
        counted[name] = counted.get(name, 0) + tokens(lm, some)
        return original(lm, some, *args, **options)

    setattr(owner, name, count)


def distinct_tokens(lm: nb.LanguageModel, requests: list) -> int:
    from nbhelpers.engine.packed import request_tree

    return len(request_tree(requests).tokens)


def outcome(act: Callable[[], Any]) -> dict[str, Any]:
    """What a call returns, its error, what it computed here, and whether it showed a bar."""
    counted.clear()
    shown = io.StringIO()
    with redirect_stderr(shown):
        try:
            result, error = act(), None
        except Exception as problem:
            result, error = None, [type(problem).__name__, str(problem), getattr(problem, "__notes__", [])]
    return {"result": result, "error": error, "computed": dict(counted), "bar": "tok" in shown.getvalue()}


def score(lm: nb.LanguageModel, prompts=PROMPTS, answers=ANSWERS, **options: Any) -> list:
    return [[s.total, s.is_greedy] for s in nb.score_answers(lm, prompts, answers, **options)]


def write(lm: nb.LanguageModel, **options: Any) -> list:
    return [[g.token_ids for g in texts] for texts in nb.generate(lm, PROMPTS[:18:2], **WRITING, **options)]


def measure(lm: nb.LanguageModel, **options: Any) -> list:
    p = nb.perplexity(lm, TEXT, 32, 16, **options)
    return [p.nats, p.tokens]


def broken(lm: nb.LanguageModel) -> list:
    """The engine fails in the second process only."""
    original = request_scores.score_requests

    def fail(*args: Any, **options: Any) -> Any:
        raise ValueError("the model returned NaN or infinity for item 7")

    if RANK == 1:
        request_scores.score_requests = fail
    try:
        return score(lm)
    finally:
        request_scores.score_requests = original


class Odd(Exception):
    """One that cannot be sent to another process."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def odd_error(lm: nb.LanguageModel) -> list:
    return score(lm, prompts=odd_prompts() if RANK == 1 else PROMPTS)


def odd_prompts() -> Iterator[str]:
    yield "The end"
    raise Odd("an", "odd one")


def other_weights(lm: nb.LanguageModel) -> list:
    weight = lm.model.lm_head.weight.data
    before = weight.clone()
    weight[3, 4] += RANK
    try:
        return score(lm)
    finally:
        weight.copy_(before)


def alone(lm: nb.LanguageModel) -> list:
    nb.split_between_processes(False)
    try:
        return score(lm, PROMPTS[RANK : 9 + RANK], ANSWERS[RANK : 9 + RANK])
    finally:
        nb.split_between_processes(True)


def in_a_group_of_the_program(lm: nb.LanguageModel) -> list:
    """As after `Accelerator()`: the processes have a group of their own, which goes on working."""
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    processes._channel.cache_clear()
    results = score(lm)
    ranks = [None, None]
    torch.distributed.all_gather_object(ranks, RANK)
    assert ranks == [0, 1]
    torch.distributed.destroy_process_group()
    return results


def absent(lm: nb.LanguageModel) -> list | None:
    """The first process does not take part."""
    processes.ARRIVAL = timedelta(seconds=1)
    return score(lm) if RANK == 1 else None


def main() -> None:
    torch.set_num_threads(1)
    processes.ARRIVAL = processes.LONGEST = timedelta(seconds=60)  # no test may hang
    lm = model_of("Llama", **WIDER | {"max_position_embeddings": 256})
    count_tokens(request_scores, "score_requests", distinct_tokens)
    count_tokens(prompt_continuations, "continue_prompts", lambda lm, prompts: sum(map(len, prompts)))
    cache = FOLDER / "results.sqlite"
    scenarios = {
        "score_answers": lambda: score(lm, progress=True),
        "perplexity": lambda: measure(lm),
        "generate": lambda: write(lm),
        "no items": lambda: score(lm, [], []),
        "one item": lambda: score(lm, PROMPTS[:1], ANSWERS[:1]),
        "kept": lambda: score(lm, cache=cache),
        "found": lambda: score(lm, cache=cache),
        "an error in one": lambda: broken(lm),
        "after an error": lambda: score(lm),
        "bad input in one": lambda: score(lm, PROMPTS, [*ANSWERS[:-1], "" if RANK == 1 else " end"]),
        "an odd error in one": lambda: odd_error(lm),
        "other requests": lambda: score(lm, PROMPTS[RANK:], ANSWERS[RANK:]),
        "other settings": lambda: score(lm, engine=["auto", "plain"][RANK]),
        "other weights": lambda: other_weights(lm),
        "another function": lambda: [score, measure][RANK](lm),
        "no cache in one": lambda: score(lm, cache="/dev/null/x" if RANK == 1 else cache),
        "switched off": lambda: alone(lm),
        "a group of the program": lambda: in_a_group_of_the_program(lm),
        "one is absent": lambda: absent(lm),
    }
    found = {name: outcome(act) for name, act in scenarios.items()}
    (FOLDER / f"{RANK}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
