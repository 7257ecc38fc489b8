"""Rows whose text has ended leave the batch, and those that stay write what they write alone."""

import pytest
import torch
from tiny_models import WIDER, model_of
from transformers.cache_utils import DynamicLayer

import nbhelpers as nb
from nbhelpers.engine import padding

PROMPTS = ["The capital of France is", "The end", "is", "def returned(value):", "The", "returned is"]
RECURRENT = {"hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
STEPS = 24


def draw(lm, prompts=PROMPTS, **options):
    """Texts that end at very different lengths: at every full stop, say, of a model that writes at random."""
    return nb.generate(lm, prompts, STEPS, temperature=2.0, seed=4, stop=["e", "a"], **options)


def ids_of(results):
    return [result.token_ids for result in results]


def each_alone(lm):
    """Prompt 0 draws with the random numbers of index 0, so each prompt takes its place among copies of itself."""
    return [draw(lm, [prompt] * (i + 1), token_budget=1)[i].token_ids for i, prompt in enumerate(PROMPTS)]


@pytest.mark.parametrize(
    "architecture, options, leaves",
    [
        ("Llama", WIDER, True),
        ("GPTNeoX", WIDER, True),
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 8}, True),  # the cache of a layer keeps 8 positions
        ("Rwkv", {**RECURRENT, "attention_hidden_size": 32, "context_length": 64}, False),  # nothing runs together
        ("Mamba", {**RECURRENT, "state_size": 8}, False),  # a state from which no rows can be taken
    ],
)
def test_texts_are_those_of_each_prompt_alone(architecture, options, leaves):
    lm = model_of(architecture, **options)
    assert ids_of(draw(lm)) == each_alone(lm)
    assert padding.may_leave(lm) == leaves
    lengths = {len(ids) for ids in ids_of(draw(lm))}
    assert len(lengths) > 2 and min(lengths) < STEPS / 2, "they end at different lengths"


@pytest.mark.parametrize("samples", [None, 5])
def test_nothing_is_computed_for_a_text_that_has_ended(samples):
    lm = model_of("Llama", **WIDER)
    draw(lm)
    read = []
    lm.model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: read.append(inputs[0].shape))
    draw(lm)  # a hook is a change: tried again
    read.clear()
    results = draw(lm, samples=samples)
    texts = results if samples is None else [text for each in results for text in each]
    written = sum(len(text.token_ids) for text in texts)
    computed = sum(rows for rows, positions in read if positions == 1)
    # An eighth of the batch may have ended before it is made smaller.
    assert computed <= written * 8 / 7
    assert written < 0.6 * STEPS * len(texts), "most end early"


def test_a_cache_that_keeps_the_wrong_rows_is_noticed(monkeypatch):
    lm = model_of("Llama", **WIDER)
    expected = ids_of(draw(lm))

    def first_rows(layer, indices):
        layer.keys, layer.values = (x[: len(indices)] for x in (layer.keys, layer.values))

    monkeypatch.setattr(DynamicLayer, "batch_select_indices", first_rows)
    lm = model_of("Llama", **WIDER)
    assert ids_of(draw(lm)) == expected
    assert not padding.may_leave(lm)


def test_it_is_tried_once_and_not_for_a_single_text(monkeypatch):
    lm = model_of("Llama", **WIDER)
    tried = []
    original = padding._same_as_alone
    monkeypatch.setattr(
        padding, "_same_as_alone", lambda *given, **named: tried.append(named.get("leave")) or original(*given, **named)
    )
    draw(lm, ["The end"])
    assert not tried
    for _ in range(3):
        draw(lm)
    assert tried.count(True) == 1


def test_log_probabilities_are_the_models_own():
    """Also after others have left: against one forward pass over prompt and text."""
    lm = model_of("Llama", **WIDER)
    for prompt, result in zip(PROMPTS, draw(lm), strict=True):
        ids = lm.tokenizer.encode(prompt)
        table = lm.model(torch.tensor([ids + list(result.token_ids)])).logits[0].log_softmax(-1)
        own = table[len(ids) - 1 : -1].gather(-1, torch.tensor(result.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(result.logprobs), own, atol=1e-4, rtol=0)
