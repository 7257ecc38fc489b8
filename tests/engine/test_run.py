"""Both engines give the oracle's numbers; errors, threads and progress are the same in either."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from cases import ANSWERS, PROMPTS, matches_the_oracle, random_requests
from tiny_models import make_model

import nbhelpers as nb
from nbhelpers.engine import head


@pytest.mark.parametrize("engine", ["plain", "packed"])
@pytest.mark.parametrize("budget", [1, 5, 64, 100_000])
def test_both_engines_match_the_oracle(tiny, tiny64, engine, budget):
    assert matches_the_oracle(tiny, tiny64, PROMPTS, ANSWERS, engine=engine, token_budget=budget)


@pytest.mark.parametrize("seed", range(int(os.environ.get("NBHELPERS_FUZZ", "5"))))
def test_random_requests_match_the_oracle(tiny, tiny_oracles, seed, monkeypatch):
    """`make fuzz` asks for 500 sets of requests for each of the four models."""
    prompts, answers = random_requests(seed, 12)
    rng = random.Random(seed)
    budget = rng.choice([1, 2, 3, 5, 8, 13, 30, 64, 1_000])
    sliced = rng.choice([(1, 400), (3, 37), (7, 133), (256, 2_048)])
    for device in ("SLICE_ON_CPU", "SLICE_ELSEWHERE"):
        monkeypatch.setattr(head, device, sliced)
    engine = "packed" if seed % 4 else "plain"
    for model64 in tiny_oracles:
        assert matches_the_oracle(tiny, model64, prompts, answers, engine=engine, token_budget=budget)


def test_gpt2_and_llama_have_a_second_oracle(tiny, tiny_oracles):
    assert len(tiny_oracles) == 1 + (tiny.model.config.model_type in ("gpt2", "llama"))


@pytest.mark.embedded
@pytest.mark.parametrize("budget", [20, 512])
def test_the_embedded_model_packed_matches_the_oracle(embedded, embedded64, budget):
    some = slice(None, None, 3)  # the oracle takes a third of a second each
    assert matches_the_oracle(embedded, embedded64, PROMPTS[some], ANSWERS[some], engine="packed", token_budget=budget)


def test_two_threads_share_a_model(gpt2):
    prompts, answers = random_requests(8)
    alone = nb.score_answers(gpt2, prompts, answers, engine="packed")
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda _: nb.score_answers(gpt2, prompts, answers, engine="packed"), range(12))
        for scores in together:
            for score, truth in zip(scores, alone, strict=True):
                assert score.logprobs == pytest.approx(truth.logprobs, abs=1e-4)
    assert gpt2.model.config._attn_implementation == "sdpa"


def test_progress_counts_the_tokens_that_are_read(gpt2, capsys):
    nb.score_answers(gpt2, "The end", [".", "?"], engine="plain", progress=True)
    assert "4.00/4.00" in capsys.readouterr().err  # two tokens, twice
    nb.score_answers(gpt2, "The end", [".", "?"], engine="packed", progress=True)
    assert "2.00/2.00" in capsys.readouterr().err


def test_nan_is_noticed_in_either_engine(gpt2):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "damaged")
    nb.score_answers(lm, "The end", [".", "?"], engine="packed")  # tried out while it was well
    with torch.no_grad():
        lm.model.transformer.ln_f.bias[0] = float("nan")
    for engine in ("plain", "packed"):
        with pytest.raises(ValueError, match="NaN or infinity for item 0"):
            nb.score_answers(lm, "The end", [".", "?"], engine=engine)


def test_a_model_that_never_was_well_is_named_too(gpt2):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "ill")
    with torch.no_grad():
        lm.model.transformer.ln_f.bias[0] = float("nan")
    with pytest.warns(UserWarning, match="returns NaN"), pytest.raises(ValueError, match="infinity for item 0"):
        nb.score_answers(lm, "The end", [".", "?"])


def test_an_unknown_engine_is_named(gpt2):
    with pytest.raises(ValueError, match="engine='fast' is unknown: give 'auto', 'packed' or 'plain'"):
        nb.score_answers(gpt2, "The end", ["."], engine="fast")
