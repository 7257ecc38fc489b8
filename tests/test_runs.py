"""cache=: the same numbers as without, computed once, and never those of another model, setting or question."""

from collections import Counter

import killed_run
import pytest
import torch
from tiny_models import WIDER, model_of
from tqdm import tqdm

import nbhelpers as nb
from nbhelpers import prompt_continuations, request_scores, stored
from nbhelpers.engine import subtrees

PROMPT = "The capital of France is"
ANSWERS = [" Paris", " London", " the end", " Paris"]
TEXT = "the capital of France is Paris and London " * 9


@pytest.fixture(scope="module")
def lm():
    return model_of("Llama", **WIDER | {"max_position_embeddings": 256})


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "results.sqlite"


@pytest.fixture
def computed(monkeypatch):
    """How many results are computed, and in how many pieces."""
    counted = Counter()
    score, write = request_scores.score_requests, prompt_continuations.continue_prompts

    def score_and_count(lm, requests, *args, **options):
        counted.update(results=len(requests), pieces=1)
        return score(lm, requests, *args, **options)

    def write_and_count(lm, prompts, *args, samples, **options):
        counted.update(results=len(prompts) * samples, pieces=1)
        return write(lm, prompts, *args, samples=samples, **options)

    monkeypatch.setattr(request_scores, "score_requests", score_and_count)
    monkeypatch.setattr(prompt_continuations, "continue_prompts", write_and_count)
    return counted


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(subtrees, "LEAST", 60)
    monkeypatch.setattr(subtrees, "TIMES_SHARED", 1)


CALLS = {
    "score_answers": lambda lm, **options: nb.score_answers(lm, PROMPT, ANSWERS, **options),
    "perplexity": lambda lm, **options: nb.perplexity(lm, TEXT, 32, 16, **options),
    "greedy": lambda lm, **options: nb.generate(lm, [PROMPT, "The end", PROMPT], 6, stop=["zz"], **options),
    "sampled": lambda lm, **options: nb.generate(lm, [PROMPT, PROMPT], 6, temperature=0.9, samples=2, **options),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_second_call_computes_nothing_and_returns_the_same(lm, cache, computed, call):
    without = CALLS[call](lm)
    computed.clear()
    first = CALLS[call](lm, cache=cache)
    assert first == without and computed["results"] > 0
    computed.clear()
    assert CALLS[call](lm, cache=cache) == without
    assert computed["results"] == 0


@pytest.mark.parametrize("call", killed_run.CALLS)
def test_many_pieces_give_the_numbers_of_one_run(cache, computed, small_pieces, call):
    lm = killed_run.MODEL
    without = killed_run.CALLS[call](lm, None)
    computed.clear()
    found = killed_run.CALLS[call](lm, cache)
    assert computed["pieces"] > 5
    if call == "score_answers":
        assert [s.is_greedy for s in found] == [s.is_greedy for s in without]
        assert [s.total for s in found] == pytest.approx([s.total for s in without], abs=1e-4)
    elif call == "perplexity":
        assert found.nats == pytest.approx(without.nats, abs=1e-3)
    else:
        assert [[g.text for g in of_prompt] for of_prompt in found] == [[g.text for g in p] for p in without]


def test_equal_requests_are_computed_once(lm, cache, computed):
    nb.score_answers(lm, PROMPT, ANSWERS, cache=cache)
    assert computed["results"] == 3
    computed.clear()
    nb.generate(lm, [PROMPT] * 5, 4, cache=cache)
    assert computed["results"] == 1, "greedily, they are one text"


def other_weights(lm):
    with torch.no_grad():
        lm.model.get_parameter("model.layers.1.mlp.up_proj.weight").data[3, 5] += 0.5


def other_precision(lm):
    lm.model.bfloat16()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("alter", [other_weights, other_precision])
def test_nothing_of_another_model_is_returned(cache, computed, call, alter):
    lm = model_of("Llama", **WIDER | {"max_position_embeddings": 256})
    CALLS[call](lm, cache=cache)
    computed.clear()
    alter(lm)
    found = CALLS[call](lm, cache=cache)
    assert computed["results"] > 0
    assert found == CALLS[call](lm)


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 7},
        {"temperature": 0.8},
        {"seed": 1},
        {"stop": "is"},
        {"stop": ["x", "y"]},
    ],
    ids=str,
)
def test_a_text_of_other_settings_is_another_text(lm, cache, computed, options):
    settings = {"max_new_tokens": 6, "temperature": 0.9, "stop": "x"}
    nb.generate(lm, [PROMPT, "The end"], **settings, cache=cache)
    computed.clear()
    found = nb.generate(lm, [PROMPT, "The end"], **settings | options, cache=cache)
    assert computed["results"] == 2
    assert found == nb.generate(lm, [PROMPT, "The end"], **settings | options)


def test_more_samples_add_to_those_there_are(lm, cache, computed):
    settings = {"max_new_tokens": 6, "temperature": 0.9}
    two = nb.generate(lm, [PROMPT, "The end"], samples=2, **settings, cache=cache)
    nb.generate(lm, [PROMPT], samples=3, **settings, cache=cache)
    computed.clear()
    four = nb.generate(lm, [PROMPT, "The end"], samples=4, **settings, cache=cache)
    assert computed["results"] == 3, "one of the first prompt, two of the second"
    assert [texts[:2] for texts in four] == two
    alone = nb.generate(lm, [PROMPT, "The end"], samples=4, **settings)
    assert [[g.token_ids for g in of_prompt] for of_prompt in four] == [[g.token_ids for g in p] for p in alone]


def test_the_engine_that_was_asked_for_computes(lm, cache, computed):
    for engine in ("plain", "auto", "packed"):
        nb.score_answers(lm, PROMPT, ANSWERS, engine=engine, cache=cache)
    assert computed["results"] == 9


def test_the_same_ids_scored_from_another_place_are_another_request(lm, cache):
    whole, part = nb.score_answers(lm, [PROMPT, PROMPT + " Paris"], [" Paris is", " is"], cache=cache)
    assert whole.logprobs[-1] == pytest.approx(part.logprobs[0], abs=1e-5) and len(whole.logprobs) > len(part.logprobs)


@pytest.mark.parametrize("call", CALLS)
def test_values_that_cannot_be_are_computed_again(lm, cache, computed, monkeypatch, call):
    """Of the right key and checksum, and yet not what the item should have."""
    expected = CALLS[call](lm, cache=cache)
    found = stored.Store.load
    for spoil in (lambda d: d[:-1], lambda d: d + b"\0" * 12, lambda d: b"\xff" * len(d), lambda d: b""):
        monkeypatch.setattr(
            stored.Store, "load", lambda self, keys, spoil=spoil: {k: spoil(v) for k, v in found(self, keys).items()}
        )
        computed.clear()
        assert CALLS[call](lm, cache=cache) == expected
        assert computed["results"] > 0


def test_a_damaged_file_costs_the_results_and_not_the_run(lm, cache):
    expected = nb.score_answers(lm, PROMPT, ANSWERS, cache=cache)
    cache.write_bytes(b"no database")
    with pytest.warns(UserWarning, match="set aside") as caught:
        assert nb.score_answers(lm, PROMPT, ANSWERS, cache=cache) == expected
    assert caught[0].filename == __file__


@pytest.mark.parametrize("call", CALLS)
def test_a_folder_that_cannot_be_written_is_an_error_before_the_run(lm, computed, call):
    with pytest.raises(OSError, match="cannot keep results in /dev/null/results"):
        CALLS[call](lm, cache="/dev/null/results")
    assert not computed["results"]


def test_a_model_with_hooks_is_refused(cache):
    lm = model_of("Llama", **WIDER)
    lm.model.model.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="Leave cache out"):
        nb.score_answers(lm, PROMPT, ANSWERS, cache=cache)
    assert not cache.exists()


def test_errors_name_the_items_as_without_a_cache(lm, cache):
    with pytest.raises(ValueError, match="the answer of item 1 is empty"):
        nb.score_answers(lm, PROMPT, ["a", ""], cache=cache)
    damaged = model_of("Llama", **WIDER)
    with torch.no_grad():
        damaged.model.lm_head.weight[:] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinity for item 0"):
        nb.score_answers(damaged, PROMPT, [" a"], cache=cache)
    with pytest.raises(ValueError, match="NaN or infinity for window"):
        nb.perplexity(damaged, TEXT, 32, cache=cache)


def test_no_items_no_results(lm, cache):
    assert nb.score_answers(lm, PROMPT, [], cache=cache) == []
    assert nb.generate(lm, [], 3, cache=cache) == []


@pytest.mark.parametrize("call", killed_run.CALLS)
def test_one_bar_shows_the_whole_run(cache, small_pieces, monkeypatch, call, capsys):
    bars = []

    class Recorded(tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            if not self.disable:
                bars.append(self)

    monkeypatch.setattr("nbhelpers.runs.tqdm", Recorded)
    monkeypatch.setattr("nbhelpers.engine.progress.tqdm", Recorded)
    original = {name: getattr(nb, name) for name in killed_run.CALLS}
    shown = lambda *args, **options: original[call](*args, progress=True, **options)  # noqa: E731
    monkeypatch.setattr(nb, call, shown)
    killed_run.CALLS[call](killed_run.MODEL, cache)
    (bar,) = bars
    assert bar.n == pytest.approx(bar.total) and bar.total > 0
    assert "100%" in capsys.readouterr().err
