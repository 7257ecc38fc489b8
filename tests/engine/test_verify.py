"""Wrong packed numbers are noticed: by the configuration, by a trial, or by a spot check."""

import warnings

import numpy as np
import oracle
import pytest
import torch
from cases import matches_the_oracle, random_requests
from tiny_models import WIDER, make_model, make_tokenizer, model_of

import nbhelpers as nb
from nbhelpers.engine import Request, verify
from nbhelpers.engine.capabilities import CannotPack


@pytest.mark.parametrize(
    "architecture, options",
    [
        ("Mistral", {**WIDER, "sliding_window": 8}),
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 8}),  # every other layer slides
        ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),  # ALiBi
        ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3}),
    ],
)
def test_a_model_that_cannot_be_packed_is_noticed_and_still_right(architecture, options):
    lm = model_of(architecture, **options)
    prompts, answers = random_requests(2)
    with pytest.warns(UserWarning, match=f"'{architecture}' is scored request by request"):
        right = matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers)
    assert right
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one warning is enough
        nb.score_answers(lm, prompts, answers)
    with pytest.raises(ValueError, match='engine="packed" does not work with'):
        nb.score_answers(lm, prompts, answers, engine="packed")


def test_a_sliding_window_is_noticed_when_requests_grow_longer_than_it():
    """Within the window packing is exact. A trial on short requests must not vouch for long ones."""
    lm = model_of("Mistral", **{**WIDER, "sliding_window": 40, "max_position_embeddings": 128})
    model64 = oracle.in_float64(lm.model)
    short = ["The end"] * 3, [".", "?", "!"]
    assert matches_the_oracle(lm, model64, *short, engine="packed")
    long = (
        ["The capital of France is Paris, and the capital of Germany is. Is it the end? " * 3] * 3,
        [" A", " B", " C"],
    )
    assert len(lm.tokenizer.encode(long[0][0])) > 40
    with pytest.warns(UserWarning, match="looks back 40 tokens only, and the longest request has"):
        assert matches_the_oracle(lm, model64, *long)


def test_positions_that_depend_on_the_longest_row_are_never_mixed():
    """Long and dynamic RoPE choose frequencies by the longest row of a batch: the plain engine must not mix lengths."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 10_000.0}
    rope["original_max_position_embeddings"] = 24
    lm = model_of("Phi3", **{**WIDER, "max_position_embeddings": 96}, rope_parameters=rope)
    long = "The capital of France is Paris, and the capital of Germany is Berlin. London, Madrid, "
    prompts = ["The capital of France is", "The end", long, long]
    with pytest.warns(UserWarning, match="positions depend on the length"):
        scores = nb.score_answers(lm, prompts + [long] * 3, [" Paris", ".", " is the", " and is", ".", "?", "!"])
    for engine in ("auto", "plain"):
        alone = [nb.score_answers(lm, s.prompt, [s.answer], engine=engine)[0] for s in scores]
        for score, truth in zip(scores, alone, strict=True):
            assert score.logprobs == pytest.approx(truth.logprobs, abs=1e-4)


def test_attention_that_goes_by_the_place_in_the_row_is_refused():
    """GPT-Neo's local attention counts places in the row: short requests are wrong as soon as the tree is wide."""
    options = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "initializer_range": 0.3, "window_size": 16}
    options |= {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 64}
    lm = model_of("GPTNeo", **options)
    answers = [f" {a}{b}{c}" for a in "abc" for b in "def" for c in "ghi"]
    with pytest.warns(UserWarning, match="not only on depth"):
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), ["The capital of France is"] * 27, answers)


def test_a_trial_holds_only_for_the_model_as_it_was():
    lm = model_of("Mistral", **{**WIDER, "sliding_window": 64})
    prompts, answers = random_requests(2)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed")
    lm.model.config.sliding_window = 8
    with pytest.warns(UserWarning, match="looks back 8 tokens only"):
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers)

    lm = model_of("Granite", **WIDER, logits_scaling=1.0)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed")
    lm.model.config.logits_scaling = lm.model.logits_scaling = 3.0
    for engine in ("plain", "packed"):
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine=engine)


def test_a_spot_check_in_every_run_notices_what_the_trial_did_not(gpt2, monkeypatch):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)), gpt2.tokenizer, "moody")
    prompts, answers = random_requests(4)
    truth = nb.score_answers(lm, prompts, answers, engine="packed")
    original = verify.score_packed

    def slightly_off(*arguments):
        logprobs, *others = original(*arguments)
        return logprobs + 0.1, *others

    monkeypatch.setattr(verify, "score_packed", slightly_off)
    with pytest.warns(UserWarning, match="packed, it gives other numbers"):
        scores = nb.score_answers(lm, prompts, answers)
    for score, right in zip(scores, truth, strict=True):
        assert score.logprobs == pytest.approx(right.logprobs, abs=1e-4)
    with pytest.raises(ValueError, match="packed, it gives other numbers"):
        nb.score_answers(lm, prompts, answers, engine="packed")


def test_tokens_that_the_model_does_not_know_yet_do_not_stop_the_trial(gpt2):
    """Added to the tokenizer and not yet to the embeddings: requests without them are scored as ever."""
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer, "grown")
    tokenizer.add_tokens([f"<new{i}>" for i in range(500)])
    prompts, answers = random_requests(9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed")


@pytest.mark.parametrize(
    "dtype, off, tokens, tolerated",
    [
        ("bfloat16", 0.3, 1, True),  # one token may be rounded so far, as one-letter answers of a real model were
        ("bfloat16", 0.3, 40, False),  # forty on average may not
        ("bfloat16", 0.6, 1, False),
        ("float32", 0.01, 1, False),
        ("float32", 1e-4, 40, True),
    ],
)
def test_how_far_the_engines_may_differ(gpt2, monkeypatch, dtype, off, tokens, tolerated):
    lm = nb.wrap_model(make_model("gpt2", len(gpt2.tokenizer)).to(getattr(torch, dtype)), gpt2.tokenizer, dtype)
    monkeypatch.setattr(verify, "score_plain", lambda *arguments: (torch.zeros(tokens), None))
    requests = [Request(np.zeros(tokens + 1, dtype=np.int32), 1)]
    if tolerated:
        verify.require_agreement(lm, requests, torch.full((tokens,), off), 64)
    else:
        with pytest.raises(CannotPack, match="packed, it gives other numbers"):
            verify.require_agreement(lm, requests, torch.full((tokens,), off), 64)
