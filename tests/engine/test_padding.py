"""Prompts run together only in models that continue them as they do alone."""

import math

import oracle
import pytest
import torch
from tiny_models import SIZE, WIDER, make_model, make_tokenizer, model_of

import nbhelpers as nb
from nbhelpers.engine import padding

PROMPTS = ["The capital of France is", "The end", "is", "def returned(value):"]
RECURRENT = {"hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
BART = {
    "d_model": 32,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "init_std": 0.3,
    "max_position_embeddings": 64,
    "is_decoder": True,
    "is_encoder_decoder": False,
}


def greedy(model64, ids, steps, end):
    """The most likely continuation, one text and one token at a time."""
    written = []
    while len(written) < steps and (not written or written[-1] != end):
        written.append(int(oracle.logprob_table(model64, ids + written)[-1].argmax()))
    return written


@pytest.mark.parametrize(
    "architecture, options, together",
    [
        ("Llama", WIDER, "any"),
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 64}, "any"),
        ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}, "any"),
        ("Rwkv", {**RECURRENT, "attention_hidden_size": 32, "context_length": 64}, "none"),  # mixes up a batch
        ("Bart", BART, "of one length"),  # positions that count it
    ],
)
def test_texts_are_those_of_each_prompt_alone(architecture, options, together):
    lm = model_of(architecture, **options)
    model64 = oracle.in_float64(lm.model)
    assert padding.continued_together(lm) == together
    found = nb.generate(lm, PROMPTS, 6)
    for prompt, result in zip(PROMPTS, found, strict=True):
        assert list(result.token_ids) == greedy(model64, lm.tokenizer(prompt)["input_ids"], 6, 0), prompt


def test_it_is_tried_once_and_again_when_the_model_changes(monkeypatch):
    lm = model_of("Llama", **WIDER)
    tried = []
    original = padding._try_together
    monkeypatch.setattr(padding, "_try_together", lambda lm: tried.append(lm) or original(lm))
    for _ in range(3):
        nb.generate(lm, PROMPTS, 2)
    assert len(tried) == 1
    nb.generate(lm, ["The end", "is is"], 2)
    assert len(tried) == 1
    lm.model.model.layers[0].register_forward_hook(lambda module, inputs, output: output)
    nb.generate(lm, PROMPTS, 2)
    assert len(tried) == 2


def test_a_single_prompt_needs_no_trial(monkeypatch):
    lm = model_of("Llama", **WIDER)
    monkeypatch.setattr(padding, "_try_together", lambda lm: pytest.fail("nothing runs together"))
    nb.generate(lm, ["The end"], 2)


def test_a_model_that_sees_later_tokens_continues_nothing():
    lm = model_of("BertLMHead", **SIZE, intermediate_size=64, max_position_embeddings=64)
    with pytest.raises(ValueError, match="BertLMHeadModel is not causal"):
        nb.generate(lm, ["The end"], 2)


def test_a_models_own_settings_are_never_touched(monkeypatch):
    """Not even for a moment: another thread, or a Ctrl-C, would find them changed."""
    tokenizer = make_tokenizer()
    lm = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer, "shared")
    own = lm.model.generation_config
    own.repetition_penalty, own.no_repeat_ngram_size, own.min_new_tokens, own.suppress_tokens = 5.0, 2, 9, [3, 4]
    seen = []
    original = lm.model.transformer.forward

    def forward(*arguments, **options):
        seen.append(lm.model.generation_config is own)
        return original(*arguments, **options)

    monkeypatch.setattr(lm.model.transformer, "forward", forward)
    (found,) = nb.generate(lm, ["The end"], 8)
    assert seen and all(seen)
    fresh = nb.wrap_model(make_model("gpt2", len(tokenizer)), tokenizer, "fresh")
    assert (found,) == tuple(nb.generate(fresh, ["The end"], 8))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_sampling_has_the_probabilities_of_the_tempered_softmax(temperature):
    """4,000 draws of one token: within five standard errors of the softmax."""
    lm = model_of("Llama", **WIDER)
    n = 4_000
    drawn = nb.generate(lm, ["The end"] * n, 1, temperature=temperature, seed=5)
    logits = lm.model(torch.tensor([lm.tokenizer.encode("The end")])).logits[0, -1].double()
    expected = (logits / temperature).softmax(-1)
    counts = torch.bincount(torch.tensor([d.token_ids[0] for d in drawn]), minlength=len(expected))
    for count, p in zip(counts.tolist(), expected.tolist(), strict=True):
        assert abs(count / n - p) <= 5 * math.sqrt(p * (1 - p) / n) + 1 / n


@pytest.mark.parametrize("one, other", [(0, 2**32), (1, 2**64 + 1), (5, -5), (0, 1), (2**200, 2**200 + 2**100)])
def test_no_two_seeds_draw_alike(one, other):
    lm = model_of("Llama", **WIDER)
    first, second = (nb.generate(lm, ["The end"] * 8, 8, temperature=3.0, seed=seed) for seed in (one, other))
    assert [f.token_ids for f in first] != [s.token_ids for s in second]
    again = nb.generate(lm, ["The end"] * 8, 8, temperature=3.0, seed=one)
    assert [f.token_ids for f in first] == [a.token_ids for a in again]
