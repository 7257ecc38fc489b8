"""Reading a server's JSON: log-probabilities with their alternatives, empty texts, stop strings left in the text."""

import math

import pytest
from scripted_server import chat, completion, entry, files

from nbhelpers.servers import Reply, complete


def test_logprobs_come_with_their_alternatives_best_first(server, endpoint):
    entries = [entry(" A", -1.5, **{" A": -1.5, "B": -0.25}), entry("!", -0.125, **{"!": -0.125, "?": -3})]
    server.answer = lambda content, before: completion(" A!", {"content": entries}, "length")
    (reply,) = complete(endpoint, [chat("?")], 2, top_logprobs=2)
    expected = Reply(
        " A!", "length", (" A", "!"), (-1.5, -0.125), ((("B", -0.25), (" A", -1.5)), (("!", -0.125), ("?", -3)))
    )
    assert reply == expected and not reply.cached
    (again,) = complete(endpoint, [chat("?")], 2, top_logprobs=2)
    assert again == expected and again.cached and hash(again) == hash(expected)


def test_an_empty_text_needs_no_logprobs(server, endpoint):
    server.answer = lambda content, before: completion("", {"content": None})
    assert complete(endpoint, [chat("?")], 1, top_logprobs=2) == [Reply("", "stop")]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,  # the server ignores the parameter
        {"content": None},
        {"content": []},
        {"content": [entry("x", -0.1)]},  # no alternatives
        {"content": [entry("x", math.nan, x=-0.1)]},
        {"content": [entry("x", 0.9, x=0.9)]},  # a probability
        {"content": [entry("x", "-0.1", x=-0.1)]},
        {"content": [{"token": "x"}]},
        {"tokens": ["x"], "token_logprobs": [-0.1]},  # the form of the old /completions
    ],
)
def test_missing_logprobs_are_an_error(server, endpoint, logprobs):
    server.answer = lambda content, before: completion("x", logprobs)
    with pytest.raises(RuntimeError, match="log-probabilities were asked for"):
        complete(endpoint, [chat("?")], 1, top_logprobs=2)
    assert len(server.bodies) == 1 and files(endpoint) == []
    assert complete(endpoint, [chat("?")], 1)[0].text == "x"  # nothing is missing if nothing was asked for


def test_a_stop_string_that_the_server_left_in_is_cut_off(server, endpoint):
    server.answer = lambda content, before: completion("one two three")
    for stop, text in (("two", "one "), (["three", " t"], "one"), ((), "one two three")):
        assert complete(endpoint, [chat("?")], 9, stop=stop)[0].text == text
