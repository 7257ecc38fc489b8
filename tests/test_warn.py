"""A warning points at the user's line, however deep in the package it arises."""

import inspect
import warnings

import pytest
import torch
from tiny_models import model_of

import nbhelpers as nb
from nbhelpers import judging

ALIBI = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
ITEMS = [{"answer": "The end"}, {"answer": "The capital"}]


def unpackable() -> nb.LanguageModel:
    """A new one each time: the warning comes once per model."""
    return model_of("Bloom", **ALIBI)


def short_of_memory(monkeypatch) -> nb.LanguageModel:
    lm = model_of("Llama", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    original = lm.model.model.forward

    def forward(*arguments, **options):
        if options.get("input_ids", *arguments[:1]).numel() > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments, **options)

    monkeypatch.setattr(lm.model.model, "forward", forward)
    return lm


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda lm: nb.score_answers(lm, "The end of", [" A", " B", " C"]), "request by request"),
        (lambda lm: judging.judge(lm, judging.Template("{answer} Good?", ("A", "B"), (1, 0)), ITEMS), "request by"),
        (
            lambda lm: judging.judge_pairs(
                lm, judging.Template("{first} {second}?", ("A", "B"), (1, 0)), [{"first": "a", "second": "b"}]
            ),
            "request by request",
        ),
    ],
)
def test_a_model_that_cannot_be_packed_is_reported_where_it_was_used(call, message):
    lm = unpackable()
    with pytest.warns(UserWarning, match=message) as records:
        call(lm)
    lines, first = inspect.getsourcelines(call)
    assert records[0].filename == __file__
    assert first <= records[0].lineno < first + len(lines)


def test_running_out_of_memory_is_reported_where_scoring_was_asked_for(monkeypatch):
    lm = short_of_memory(monkeypatch)
    with pytest.warns(UserWarning, match="out of memory") as records:
        nb.score_answers(lm, ["The end. " * 3] * 9, list("abcdefghi"), engine="plain", token_budget=64)
    assert {record.filename for record in records} == {__file__}


def test_an_unknown_token_is_reported_where_the_text_was_given(sentencepiece_like):
    for call in (
        lambda: nb.token_scores(sentencepiece_like, "the Ω"),
        lambda: nb.perplexity(sentencepiece_like, "the Ω"),
        lambda: nb.generate(sentencepiece_like, ["the Ω"], 1),
        lambda: nb.score_answers(sentencepiece_like, "the", [" Ω"]),
    ):
        with pytest.warns(UserWarning, match="has no token for") as records:
            call()
        assert (records[0].filename, records[0].lineno) == (__file__, call.__code__.co_firstlineno)


def test_a_package_whose_name_begins_alike_is_a_caller(tmp_path, monkeypatch, sentencepiece_like):
    (tmp_path / "nbhelpers_extra.py").write_text(
        "import nbhelpers as nb\n\n\ndef call(lm):\n    nb.token_scores(lm, 'the Ω')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import nbhelpers_extra

    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        nbhelpers_extra.call(sentencepiece_like)
    assert [(record.filename, record.lineno) for record in records] == [(nbhelpers_extra.__file__, 5)]
