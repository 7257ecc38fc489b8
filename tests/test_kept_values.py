"""What is read from a file can only be what a request may have: so many log-probabilities, finite and below zero."""

import numpy as np
import pytest
import torch

from nbhelpers.engine import Continuation, Request
from nbhelpers.prompt_continuations import _pack as pack_text
from nbhelpers.prompt_continuations import _unpack as unpack_text
from nbhelpers.request_scores import _pack, _unpack

REQUEST = Request(np.arange(6, dtype=np.int32), 3)
LOGPROBS, GREEDY = torch.tensor([-0.1, -2.5, 0.0]), torch.tensor([True, False, True])


def test_scores_come_back_as_they_were():
    logprobs, greedy = _unpack(REQUEST, _pack((LOGPROBS, GREEDY)))
    assert torch.equal(logprobs, LOGPROBS) and torch.equal(greedy, GREEDY)
    assert logprobs.dtype == torch.float32 and greedy.dtype == torch.bool


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.5])
def test_no_log_probability_is_refused(value):
    spoiled = torch.tensor([-0.1, value, -0.3])
    with pytest.raises(ValueError, match="no log-probabilities"):
        _unpack(REQUEST, _pack((spoiled, GREEDY)))
    with pytest.raises(ValueError, match="no text"):
        unpack_text(pack_text(Continuation((1, 2), (-0.1, value), True)), 5, 400)


def test_another_number_of_tokens_is_refused():
    data = _pack((LOGPROBS, GREEDY))
    for wrong in (data[:-1], data + b"\0", data * 2, b"", data[:-1] + b"\2"):
        with pytest.raises(ValueError):
            _unpack(REQUEST, wrong)


@pytest.mark.parametrize(
    "ids, ended, rows",
    [((1, 2), False, 400), ((1, 2, 3, 4), True, 400), ((), True, 400), ((1, 400), True, 400), ((-1,), True, 400)],
    ids=["cut too early", "too long", "nothing", "no such token", "below zero"],
)
def test_a_text_that_cannot_be_is_refused(ids, ended, rows):
    with pytest.raises(ValueError):
        unpack_text(pack_text(Continuation(ids, (-1.0,) * len(ids), ended)), 3, rows)


@pytest.mark.parametrize(
    "found", [Continuation((1, 2), (-0.1, -7.25), True), Continuation((1, 2, 3), (-1.0,) * 3, False)]
)
def test_texts_come_back_as_they_were(found):
    assert unpack_text(pack_text(found), 3, 400) == found
