"""perplexity: closed forms, each token scored exactly once, and the oracle that scores one token at a time."""

import math
from collections import Counter

import oracle
import pytest
import torch
from cases import start_tokens
from tiny_models import constant_model, make_tokenizer

import nbhelpers as nb
from nbhelpers.engine import head
from nbhelpers.engine.capabilities import separable_head
from nbhelpers.windows import sliding_windows

TEXT = (
    "The capital of France is Paris, and the capital of Germany is Berlin. The naïve café in Zürich 😀 is the end, "
    "def returned(value):\n    return value\n\n\nIs it the end? The end is London and Madrid."
)


# --- closed forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window, stride", [(None, None), (10, 10), (10, 3), (1, 1)])
def test_a_uniform_model_has_perplexity_v(window, stride):
    result = nb.perplexity(constant_model(torch.zeros(400)), TEXT, window, stride)
    assert result.perplexity == pytest.approx(400, rel=1e-5)
    assert result.nats == pytest.approx(result.tokens * math.log(400), rel=1e-6)


def test_a_text_with_the_models_own_frequencies_has_perplexity_exp_entropy():
    """Under a fixed distribution p, a text whose tokens come with frequencies p has perplexity exp(H(p))."""
    tokenizer = make_tokenizer()
    text = "xxxxyyz"  # three tokens, 4:2:1
    ids = tokenizer.encode(text, add_special_tokens=False)
    p = {token_id: count / len(ids) for token_id, count in Counter(ids).items()}
    assert sorted(p.values()) == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    logits = torch.full((400,), -50.0)
    for token_id, share in p.items():
        logits[token_id] = math.log(share)
    entropy = -sum(share * math.log(share) for share in p.values())
    result = nb.perplexity(constant_model(logits), text * 5)
    assert result.perplexity == pytest.approx(math.exp(entropy), rel=1e-5)


def test_derived_quantities_of_a_result_made_by_hand():
    result = nb.Perplexity(nats=12.0, tokens=6, words=4, characters=20, bytes=24, window=8, stride=4, first_token="<s>")
    assert result.perplexity == pytest.approx(math.exp(2))
    assert result.word_perplexity == pytest.approx(math.exp(3))
    assert result.bits_per_byte == pytest.approx(0.5 / math.log(2))
    assert "7.39 per token" in repr(result) and "'<s>'" in repr(result)


def test_counts_are_those_of_the_text(gpt2):
    result = nb.perplexity(gpt2, ["naïve café", "the  end\n"])
    assert (result.words, result.characters, result.bytes) == (4, 19, 21)
    assert result.tokens == sum(len(gpt2.tokenizer.encode(t)) for t in ["naïve café", "the  end\n"])
    assert (result.window, result.stride, result.first_token) == (64, 32, "<|endoftext|>")


def test_a_start_token_that_the_text_brings_is_neither_scored_nor_counted(gpt2):
    bare, dressed = nb.perplexity(gpt2, "The end."), nb.perplexity(gpt2, "<|endoftext|>The end.")
    assert dressed.nats == pytest.approx(bare.nats, abs=1e-4)
    assert (dressed.tokens, dressed.words, dressed.bytes) == (bare.tokens, bare.words, bare.bytes)


def test_what_a_float_cannot_hold_is_infinite():
    huge = nb.Perplexity(nats=2_000.0, tokens=1, words=1, characters=1, bytes=1, window=8, stride=4, first_token="<s>")
    assert huge.perplexity == huge.word_perplexity == math.inf


# --- windows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 2, 9, 10, 11, 29, 30, 34])
@pytest.mark.parametrize("window, stride", [(10, 10), (10, 5), (10, 3), (10, 1), (1, 1), (50, 50)])
def test_every_token_is_scored_exactly_once(tokens, window, stride):
    scored_tokens = []
    for begin, scored, end in sliding_windows(tokens, window, stride):
        assert 0 <= begin <= scored < end <= tokens
        assert end - begin <= window, "the model reads no more than the window"
        assert end - begin == min(window, tokens), "no window is smaller than it could be"
        scored_tokens += range(scored, end)
    assert scored_tokens == list(range(tokens))


def test_disjoint_windows_are_those_of_lm_evaluation_harness():
    """Its own test: tokens 0 to 33, at most 10 at once, context 1: four windows, the last ([23..32], [30..33])."""
    windows = list(sliding_windows(34, window=10, stride=10))
    assert len(windows) == 4
    begin, scored, end = windows[-1]
    assert list(range(begin - 1, end - 1)) == list(range(23, 33))  # what the model reads
    assert list(range(scored, end)) == list(range(30, 34))  # what counts


def test_a_window_splits_into_context_and_continuation_as_in_lm_evaluation_harness():
    """Its own test: make_disjoint_window(([1, 2, 3, 4, 5], [4, 5, 6])) == ([1, 2, 3], [4, 5, 6])."""
    text = [-1, 0, 1, 2, 3, 4, 5, 6]
    begin, scored, end = list(sliding_windows(len(text), window=5, stride=3))[1]
    assert text[begin - 1 : end - 1] == [1, 2, 3, 4, 5]
    assert (text[begin - 1 : scored], text[scored:end]) == ([1, 2, 3], [4, 5, 6])


def test_a_well_known_guide_counts_one_token_too_few_for_every_overlapping_window():
    """3,000 tokens, window 256, stride 128. The guide averages over 2,977 tokens; 2,999 were predicted.

    It predicts no first token, so it has 2,999 to score; from the second of its 23 windows on it subtracts one
    for a label shift that the overlap has already absorbed.
    """
    tokens, window, stride = 3_000, 256, 128
    counted = predicted = previous_end = 0
    for begin in range(0, tokens, stride):
        end = min(begin + window, tokens)
        targets = end - previous_end
        counted += targets - 1
        predicted += targets - 1 if begin == 0 else targets
        previous_end = end
        if end == tokens:
            break
    assert (counted, predicted) == (2_977, 2_999)
    ours = sum(end - scored for _, scored, end in sliding_windows(tokens, window, stride))
    assert ours == 3_000  # the first token too, after BOS


# --- the oracle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window, stride", [(64, 64), (64, 20), (16, 16), (16, 5), (16, 1), (2, 1), (1, 1)])
def test_windows_match_the_oracle(tiny, tiny64, window, stride):
    result = nb.perplexity(tiny, TEXT, window, stride)
    ids = tiny.tokenizer.encode(TEXT, add_special_tokens=False)
    truth = oracle.sliding_nats(tiny64, ids, start_tokens(tiny)[1], window, stride)
    assert result.tokens == len(ids)
    assert result.nats == pytest.approx(truth, abs=1e-4 * len(ids))


@pytest.mark.parametrize("budget", [1, 50, 100_000])
def test_several_texts_are_the_sum_of_each(tiny, budget):
    texts = [TEXT, "The end.", TEXT[:50]]
    together = nb.perplexity(tiny, texts, 16, 8, token_budget=budget)
    each = [nb.perplexity(tiny, text, 16, 8) for text in texts]
    for quantity in ("nats", "tokens", "words", "characters", "bytes"):
        assert getattr(together, quantity) == pytest.approx(sum(getattr(e, quantity) for e in each), abs=1e-3)


@pytest.mark.embedded
def test_the_embedded_model_matches_the_oracle(embedded, embedded64):
    text = TEXT[:130]  # the oracle reads a window for every token
    result = nb.perplexity(embedded, text, 16, 8)
    ids = embedded.tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) > 32, "more than two windows"
    truth = oracle.sliding_nats(embedded64, ids, embedded.tokenizer.bos_token_id, 16, 8)
    assert result.nats == pytest.approx(truth, abs=1e-4 * len(ids))


def test_a_head_that_has_to_be_called_is_given_a_few_positions_at_a_time(gpt2, monkeypatch):
    """One whose `forward` was replaced, as accelerate does it: a window of 64 tokens comes LOGIT_ROWS at a time."""
    monkeypatch.setattr(head, "LOGIT_ROWS", 10)
    sizes = []
    original = gpt2.model.lm_head.forward
    monkeypatch.setattr(gpt2.model.lm_head, "forward", lambda x: sizes.append(x.shape[0]) or original(x))
    separable_head(gpt2.model)
    sizes.clear()
    nb.perplexity(gpt2, TEXT, 64, 64)
    assert max(sizes) <= 10 and sum(sizes) == len(gpt2.tokenizer.encode(TEXT))


# --- bad input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, window, stride, error, message",
    [
        ("", None, None, ValueError, "the text is empty"),
        ([], None, None, ValueError, "the list is empty"),
        (["The end", ""], None, None, ValueError, "text 1 is empty"),
        (["The end", 3], None, None, TypeError, "text 1 must be a string, not int"),
        (TEXT, 65, None, ValueError, "window=65: 'tiny gpt2' reads from 1 to 64 tokens"),
        (TEXT, 0, None, ValueError, "window=0"),
        (TEXT, 10, 11, ValueError, "stride=11 with window=10: give 1 to 10, or tokens would be skipped"),
        (TEXT, 10, 0, ValueError, "stride=0"),
        (TEXT, 10.0, 5, ValueError, "window=10.0"),
    ],
)
def test_bad_input_says_what_was_given(gpt2, text, window, stride, error, message):
    with pytest.raises(error, match=message):
        nb.perplexity(gpt2, text, window, stride)


def test_nan_is_an_error():
    with pytest.raises(ValueError, match="NaN or infinity for window 0"):
        nb.perplexity(constant_model(torch.full((400,), float("nan"))), TEXT)
