"""Several samples of a prompt: each is what it would be alone, and the prompt is read once for all of them."""

import oracle
import pytest
from tiny_models import WIDER, model_of

import nbhelpers as nb
from nbhelpers.engine import padding

PROMPTS = ["The capital of France is", "The end", "def returned(value):"]
RECURRENT = {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32, "context_length": 64}


def ids_of(results):
    return [[sample.token_ids for sample in samples] for samples in results]


def draw(lm, samples, **options):
    return nb.generate(lm, PROMPTS, 6, samples=samples, temperature=1.5, seed=3, **options)


@pytest.mark.parametrize(
    "architecture, options, once",
    [
        ("Llama", WIDER, True),
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 64}, True),  # two kinds of cache
        ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}, True),  # ALiBi
        ("Rwkv", {**RECURRENT, "initializer_range": 0.3}, False),  # a state in a list, which cannot be copied
    ],
)
def test_samples_have_the_models_own_log_probabilities(architecture, options, once):
    lm = model_of(architecture, **options)
    assert padding.reads_once(lm) == once
    model64 = oracle.in_float64(lm.model)
    for prompt, samples in zip(PROMPTS, draw(lm, 3), strict=True):
        ids = lm.tokenizer(prompt)["input_ids"]
        for sample in samples:
            table = oracle.logprob_table(model64, [*ids, *sample.token_ids[:-1]])[len(ids) - 1 :]
            expected = [row[token].item() for row, token in zip(table, sample.token_ids, strict=True)]
            assert sample.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_sample_depends_on_neither_the_others_nor_the_batches(tiny):
    eight = ids_of(draw(tiny, 8))
    assert len({ids for samples in eight for ids in samples}) > 20, "the samples differ"
    for samples in (1, 3, 5):
        assert ids_of(draw(tiny, samples)) == [each[:samples] for each in eight]
    for budget in (1, 40, 100):  # one sample a batch; blocks of unequal size; several prompts a batch
        assert ids_of(draw(tiny, 8, token_budget=budget)) == eight
    first = nb.generate(tiny, PROMPTS, 6, temperature=1.5, seed=3)
    assert [result.token_ids for result in first] == [each[0] for each in eight]


def test_the_fallback_draws_the_same(tiny, monkeypatch):
    expected = ids_of(draw(tiny, 4))
    monkeypatch.setattr("nbhelpers.engine.decoding.reads_once", lambda lm: False)
    assert ids_of(draw(tiny, 4)) == expected


def test_a_prompt_is_read_once():
    lm = model_of("Llama", **WIDER)
    draw(lm, 2)  # the trials
    read = []
    lm.model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: read.append(inputs[0].numel()))
    draw(lm, 2)  # a hook is a change: tried again
    read.clear()
    draw(lm, 8)
    longest = max(len(lm.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS)
    steps = 6 * 8 * len(PROMPTS)  # the last token of the prompt, and five of the reply
    assert sum(read) <= longest * len(PROMPTS) + steps


def test_a_cache_copied_in_another_order_is_noticed(monkeypatch):
    """Prompts 0, 1, 0, 1 instead of 0, 0, 1, 1."""
    from transformers.cache_utils import DynamicLayer

    lm = model_of("Llama", **WIDER)

    def tiled(layer, repeats):
        layer.keys, layer.values = (x.repeat(repeats, 1, 1, 1) for x in (layer.keys, layer.values))

    expected = ids_of(draw(lm, 3))
    monkeypatch.setattr(DynamicLayer, "batch_repeat_interleave", tiled)
    lm = model_of("Llama", **WIDER)
    assert not padding.reads_once(lm)
    assert ids_of(draw(lm, 3)) == expected


def test_the_trial_is_run_once_and_again_when_the_model_changes(monkeypatch):
    lm = model_of("Llama", **WIDER)
    tried = []
    original = padding._same_as_alone
    monkeypatch.setattr(
        padding,
        "_same_as_alone",
        lambda lm, *prompts, samples=1, **options: tried.append(samples) or original(lm, *prompts, samples, **options),
    )
    for _ in range(3):
        draw(lm, 2)
    assert tried.count(2) == 1
    lm.model.model.layers[0].register_forward_hook(lambda module, inputs, output: output)
    draw(lm, 2)
    assert tried.count(2) == 2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"samples": 0}, "samples=0: give how many"),
        ({"samples": 2.5}, "samples=2.5"),
        ({"samples": "3"}, "samples='3'"),
        ({"samples": 4, "temperature": 0}, "all would be the same text"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tiny, options, words):
    with pytest.raises(ValueError, match=words):
        nb.generate(tiny, PROMPTS, 4, **{"temperature": 0.7, **options})


def test_one_greedy_sample_is_the_greedy_text_in_a_list(tiny):
    assert ids_of(nb.generate(tiny, PROMPTS, 4, samples=1)) == [
        [result.token_ids] for result in nb.generate(tiny, PROMPTS, 4)
    ]


def test_no_prompts_no_samples(tiny):
    assert nb.generate(tiny, [], 4, samples=3, temperature=1) == []


def test_a_prompt_of_one_token_has_nothing_to_share():
    lm = model_of("Llama", **WIDER)
    prompt = lm.tokenizer.decode([11])
    assert len(lm.tokenizer(prompt)["input_ids"]) == 1
    (shared,) = nb.generate(lm, [prompt], 5, samples=3, temperature=1.0)
    (alone,) = nb.generate(lm, [prompt], 5, temperature=1.0)
    assert len(shared) == 3 and shared[0].token_ids == alone.token_ids
