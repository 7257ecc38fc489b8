"""The timed workloads: requests cut from the book's passages, the same for every tool.

Speed depends on the number of tokens and on the prefixes they share, not on their meaning. So questions and answers are
runs of words from the passages; the first answer to each question is the one that really follows in the passage. No
tokenizer is used here: lengths are in words, at about 1.4 tokens each, and the report counts the tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PASSAGES = Path(__file__).parent.parent / "book/data/passages.jsonl"
KINDS = ("story", "news", "technical", "dialogue", "instructions")
CHOICES = 4

Request = tuple[str, str]


def shared_examples(questions: int = 100) -> list[Request]:
    """A: the same five solved examples before every question, and four answers to each question."""
    rng = random.Random("A")
    examples = "".join(
        f"Passage: {text}\nNext: {after}\n\n" for text, after in (_excerpt(rng, 45, 6) for _ in range(5))
    )
    requests = []
    for _ in range(questions):
        text, right = _excerpt(rng, 32, 6)
        answers = [right] + [_excerpt(rng, 1, 6)[1] for _ in range(CHOICES - 1)]
        requests += [(f"{examples}Passage: {text}\nNext:", f" {answer}") for answer in answers]
    return requests


def unlike_endings(questions: int = 50) -> list[Request]:
    """B: no examples, a context of medium length, four long endings."""
    rng = random.Random("B")
    requests = []
    for _ in range(questions):
        text, right = _excerpt(rng, 45, 18)
        endings = [right] + [_excerpt(rng, 1, 18)[1] for _ in range(CHOICES - 1)]
        requests += [(text, f" {ending}") for ending in endings]
    return requests


def letters(questions: int = 100) -> list[Request]:
    """C: like A, but the answers are the letters A to D."""
    prompts = [prompt for prompt, _ in shared_examples(questions)]
    return [(prompt, f" {'ABCD'[i % CHOICES]}") for i, prompt in enumerate(prompts)]


def unrelated(prompts: int = 100) -> list[Request]:
    """D: prompts of 15 to 290 words that share nothing, with one answer each."""
    rng = random.Random("D")
    spread = [15 + round(275 * i / max(1, prompts - 1)) for i in range(prompts)]
    rng.shuffle(spread)
    # The leading number keeps any two excerpts from sharing a prefix.
    return [(f"{i}. {text}", f" {after}") for i, (text, after) in enumerate(_excerpt(rng, n, 6) for n in spread)]


def long_text() -> str:
    """E: the English passages in order, then in reverse, then the first three again."""
    texts = _texts()
    return "\n\n".join(texts + texts[::-1] + texts[:3])


NEW_TOKENS = 40


def chats(count: int = 16) -> list[list[dict[str, str]]]:
    """G: chats of 20 to 150 words, to reply to."""
    rng = random.Random("G")
    sizes = [20 + 130 * i // max(1, count - 1) for i in range(count)]
    rng.shuffle(sizes)
    return [[{"role": "user", "content": f"Say this in one sentence: {_excerpt(rng, n, 1)[0]}"}] for n in sizes]


REQUESTS = {"A": shared_examples, "B": unlike_endings, "C": letters, "D": unrelated}


def requests(workload: str, size: int | None = None) -> list[Request]:
    """The requests of workload A, B, C or D, in full or for `size` questions."""
    return REQUESTS[workload]() if size is None else REQUESTS[workload](size)


def of(job: dict[str, Any]) -> list[Request]:
    """The requests of a job: its own, or those of its workload."""
    return [tuple(pair) for pair in job["requests"]] if "requests" in job else requests(job["workload"], job["size"])


def in_batches(items: list[Request], size: int) -> Iterator[list[Request]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@cache
def _texts() -> list[str]:
    passages = [json.loads(line) for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    return [passage["text"] for passage in passages if passage["kind"] in KINDS]


def _excerpt(rng: random.Random, words: int, following: int) -> Request:
    """A run of words from a random passage, and the words that follow it."""
    text = rng.choice(_texts()).split()
    start = rng.randrange(len(text) - words - following)
    middle = start + words
    return " ".join(text[start:middle]), " ".join(text[middle : middle + following])
