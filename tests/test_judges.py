"""A server as a judge, held to the first tokens that it is scripted to give."""

import math

import pytest
from scripted_server import ScriptedServer, completion, entry

import nbhelpers as nb
from nbhelpers.judging import PAIR, PAIR_OR_TIE, Verdict, judge, judge_pairs

PAIRS = [
    {"question": "What do bees make?", "first": "Honey.", "second": "Bricks."},
    {"question": "What colour is grass?", "first": "Purple.", "second": "Green."},
]


@pytest.fixture
def server(tmp_path):
    """A server that gives fixed first tokens: A 0.5, " A" 0.1, B 0.2; and no verdict for a question about grass."""

    def answer(content, before):
        likely = {"Green": 0.9} if "grass" in content else {"A": 0.5, "B": 0.2, " A": 0.1}
        first, *_ = likely
        alternatives = {token: math.log(p) for token, p in likely.items()}
        logprobs = {"content": [entry(first, alternatives[first], **alternatives)], "refusal": None}
        return completion(first, logprobs, finish_reason="length")

    scripted = ScriptedServer()
    scripted.answer = answer
    yield nb.Endpoint(scripted.url, "m", cache=tmp_path)
    scripted.close()


def test_an_endpoint_gives_the_same_kind_of_verdict(server):
    bees, grass = judge(server, PAIR_OR_TIE, PAIRS)
    assert bees.probabilities == pytest.approx((0.75, 0.25, 0.0))  # " A" is "A": 0.6 to 0.2
    assert bees.score == pytest.approx(0.75) and bees.outside == pytest.approx(0.2)
    assert grass == Verdict(None, None, None, outside=1.0)  # no legal verdict among the likely tokens: none is guessed


def test_an_endpoint_writes_verdicts_too(server):
    bees, grass = judge(server, PAIR, PAIRS, read="text")
    assert (bees.verdict, bees.score, bees.reply) == ("A", 1.0, "A")
    assert (grass.verdict, grass.score, grass.reply) == (None, None, "Green")
    (pair,) = judge_pairs(server, PAIR, PAIRS[1:], read="text")
    assert not pair.parsed and pair.winner is None
