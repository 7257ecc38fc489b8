"""Requests for every engine and model, and their comparison with the oracle."""

import random

import oracle
import pytest
from tiny_models import TRAINING_TEXT

import nbhelpers as nb

TOLERANCE = 1e-4  # nats a token, float32 against float64
# prompt, answer, why the case is here
REQUESTS = [
    ("The capital of France is", " Paris", "the plain case"),
    ("The capital of France is", " London", "the same prompt again"),
    ("The capital of France is", " Paris, and the capital of Germany is Berlin.", "an answer that begins like another"),
    ("The capital of France is Paris", ", and the capital", "a prompt that extends another (nested prefixes)"),
    ("The capital", " of France is Paris", "the same text, cut elsewhere"),
    ("ret", "urn", "'return' merges across the boundary"),
    ("x = 5\nret", "urn the value", "a merge inside a longer answer"),
    ("The capital of France is ", "Paris", "one space at the prompt's end"),
    ("The capital of France is   ", "Paris", "three spaces at the prompt's end"),
    ("The capital of France is\n", " Paris", "a line break at the prompt's end"),
    ("The capital of France is\n\n", "\nParis", "line breaks on both sides"),
    ("", "Paris", "an empty prompt"),
    ("", " ", "a space after nothing"),
    ("The end", ".", "an answer of one token"),
    ("caf", "é is", "a character of two bytes, new in the answer"),
    ("東", "京", "characters of three bytes"),
    ("😀", "😀😀", "characters of four bytes, several tokens each"),
    ("🏳️", "\u200d🌈", "a cluster of code points, cut in the middle"),
    ("e", "\u0301a", "a combining accent that belongs to the prompt's letter"),
    ("The", " ", "an answer of one space"),
    ("is is is", " is is is", "repetition"),
    ("The capital of France is", " Paris", "a duplicate of the first"),
]
PROMPTS = [prompt for prompt, _, _ in REQUESTS]
ANSWERS = [answer for _, answer, _ in REQUESTS]


def start_tokens(lm) -> tuple[list[int], int]:
    """What stands before every prompt, and before an answer that nothing precedes: decided here, by the contract."""
    tokenizer = lm.tokenizer
    always = [tokenizer.bos_token_id] if lm.name == "tiny llama" else []
    return always, tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id


def agree(score: nb.AnswerScore, ids, logprobs, greedy, straddles=False) -> bool:
    return (
        list(score.token_ids) == ids
        and list(score.logprobs) == pytest.approx(logprobs, abs=TOLERANCE)
        and score.is_greedy == greedy
        and score.merged_boundary == straddles
    )


def random_requests(seed: int, n: int = 30) -> tuple[list[str], list[str]]:
    """Prompts and answers cut from a few texts, so that they share beginnings in every way, duplicates included."""
    rng = random.Random(seed)
    prompts, answers = [], []
    for _ in range(n):
        text = rng.choice(TRAINING_TEXT)[:60]
        cut = rng.randrange(0, len(text) - 1)
        end = rng.randrange(cut + 1, min(len(text), cut + 12) + 1)
        prompts.append(text[:cut])
        answers.append(text[cut:end])
    return prompts, answers


def matches_the_oracle(lm, model64, prompts, answers, **options) -> bool:
    scores = nb.score_answers(lm, prompts, answers, **options)
    return all(
        agree(score, *oracle.answer(model64, lm.tokenizer, prompt, answer, *start_tokens(lm)))
        for prompt, answer, score in zip(prompts, answers, scores, strict=True)
    )
