"""Reading a server's JSON: log-probabilities with their alternatives, empty texts, stop strings left in the text."""

import json
import math

import pytest
from scripted_server import chat, completion, entry, files

from nbhelpers.servers import Endpoint, Reply, complete, replies


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


NONE_SENT = [
    None,  # the server ignores the parameter
    {"content": None},
    {"content": []},
    {"content": [entry("x", -0.1)]},  # no alternatives
    {"tokens": ["x"], "token_logprobs": [-0.1]},  # the form of the old /completions
    "none",
]


@pytest.mark.parametrize("logprobs", NONE_SENT)
def test_a_server_that_gives_no_logprobs_is_an_error_after_three_replies(server, endpoint, logprobs):
    server.answer = lambda content, before: completion("x", logprobs)
    endpoint = Endpoint(server.url, "m", concurrency=1, cache=endpoint.cache)
    with pytest.raises(RuntimeError, match=r"of 9 requests .* request 0: log-probabilities were asked for"):
        complete(endpoint, [chat(str(i)) for i in range(9)], 1, top_logprobs=2)
    assert 3 <= len(server.bodies) < 9 and files(endpoint) == []
    with pytest.raises(RuntimeError, match=r"1 of 1 requests .* log-probabilities were asked for"):
        complete(endpoint, [chat("?")], 1, top_logprobs=2)
    assert complete(endpoint, [chat("?")], 1)[0].text == "x"  # nothing is missing if nothing was asked for


GOOD = completion("x", {"content": [entry("x", -0.1, x=-0.1)]})
JUNK = [
    [entry("x", math.nan, x=-0.1)],
    [entry("x", -0.1, x=math.nan)],
    [entry("x", 0.9, x=0.9)],  # a probability
    [entry("x", "-0.1", x=-0.1)],
    [entry("x", True, x=-0.1)],
    [entry("x", -0.1, x=False)],
    [entry("x", -(10**400), x=-0.1)],
    [entry("x", -0.1, x=-(10**400))],
    [entry("x", 10**400, x=-0.1)],
    [entry("x", math.inf, x=-0.1)],
    [entry("x", None, x=-0.1)],
    [entry("x", [-0.1], x=-0.1)],
    [entry("x", {"value": -0.1}, x=-0.1)],
    [entry("x", -0.1, **dict.fromkeys("abcdefghijklmnopqrst", -0.01))],  # probabilities that add up to 19.8
    [entry("x", -0.1, x=-0.1, y=-0.5, z=-0.9)],  # 1.9
    [{"token": "x", "logprob": -0.1, "top_logprobs": [7]}],
    [{"token": "x", "logprob": -0.1, "top_logprobs": {"x": -0.1}}],
    [{"token": "x", "logprob": -0.1, "top_logprobs": "x"}],
    [{"token": 7, "logprob": -0.1, "top_logprobs": [{"token": "x", "logprob": -0.1}]}],
    [{"token": "x", "top_logprobs": [{"token": "x", "logprob": -0.1}]}],
    [entry("x", -0.1, x=-0.1), None],
    [entry("x", -0.1, x=-0.1), [[[]]]],
    {"0": entry("x", -0.1, x=-0.1)},
]


@pytest.mark.parametrize("content", [{"content": content} for content in JUNK] + NONE_SENT)
def test_one_reply_with_junk_for_logprobs_is_one_problem(server, endpoint, content):
    server.answer = lambda c, before: completion("x", content) if c == "bad" else GOOD
    with pytest.warns(UserWarning, match="1 of 3 requests .* log-probabilities were asked for"):
        good, bad, more = complete(endpoint, [chat("good"), chat("bad"), chat("more")], 1, top_logprobs=2)
    assert good == more == Reply("x", "stop", ("x",), (-0.1,), ((("x", -0.1),),))
    assert bad == Reply(None, "error", problem=bad.problem) and len(files(endpoint)) == 2


def test_many_replies_without_logprobs_are_problems_where_another_has_them(server, endpoint):
    server.answer = lambda content, before: GOOD if content == "good" else completion("x")
    complete(endpoint, [chat("good")], 1, top_logprobs=2)
    with pytest.warns(UserWarning, match="9 of 10 requests"):
        found = complete(endpoint, [chat("good"), *(chat(str(i)) for i in range(9))], 1, top_logprobs=2)
    assert [reply.text for reply in found] == ["x", *[None] * 9]


@pytest.mark.parametrize("content", JUNK)
def test_junk_in_the_cache_is_asked_again(server, endpoint, content):
    """What an earlier version kept: intact, and yet of no use."""
    server.answer = lambda c, before: GOOD
    (good,) = complete(endpoint, [chat("?")], 1, top_logprobs=2)
    (file,) = files(endpoint)
    record = json.loads(file.read_bytes())
    replies.save_reply(endpoint.cache, file.stem, record["request"], completion("x", {"content": content}))
    assert complete(endpoint, [chat("?")], 1, top_logprobs=2) == [good] and server.asked["?"] == 2


def test_alternatives_may_miss_one_by_rounding_and_name_the_chosen_token_twice(server, endpoint):
    half = math.log(0.5)
    twice = entry("x", half, x=half, y=half + 0.01, z=-math.inf)
    twice["top_logprobs"].insert(0, twice["top_logprobs"][0])
    server.answer = lambda content, before: completion("x", {"content": [twice]})
    (reply,) = complete(endpoint, [chat("?")], 1, top_logprobs=2)
    assert reply.alternatives == ((("y", half + 0.01), ("x", half), ("z", -math.inf)),)
    assert complete(endpoint, [chat("?")], 1, top_logprobs=2) == [reply]


def spelled(*tokens, bytes_of=None):
    """Log-probabilities of these tokens; -1 for the first, -2 for the second and so on."""
    entries = [entry(token, -1.0 - i, **{token or "_": -1.0 - i}) for i, token in enumerate(tokens)]
    for one, given in zip(entries, bytes_of or [], strict=False):
        one["bytes"] = given
    return {"content": entries}


@pytest.mark.parametrize(
    "text, logprobs, stop, finish, kept",
    [
        # The server leaves the stop string in, or cuts the text and not the tokens: both end where the text does.
        ("one two", spelled("one", " two", " STOP", " three"), " STOP", "stop", ("one", " two")),
        ("one two STOP three", spelled("one", " two", " STOP", " three"), " STOP", "stop", ("one", " two")),
        ("one two STOP three", spelled("one", " two", " STOP", " three"), " STOP", "length", ("one", " two")),
        ("one two", spelled("one", " tw", "oST", "OP"), "STOP", "stop", ("one", " tw", "oST")),  # begins in the text
        ("", spelled("STOP"), "STOP", "stop", ()),
        ("one", spelled("one", "<|im_end|>"), "STOP", "stop", ("one",)),
        ("one", spelled("one", "<|im_end|>"), (), "stop", ("one", "<|im_end|>")),  # no stop string: the end stays
        ("", spelled("<|im_end|>"), (), "stop", ("<|im_end|>",)),
        ("one", spelled("one", ""), "STOP", "length", ("one", "")),
        # Spelled as a vocabulary has them, or with a first space that the text lacks.
        ("one two", spelled("▁one", "▁two", "STOP"), "STOP", "stop", ("▁one", "▁two")),
        ("one two\n", spelled("one", "Ġtwo", "Ċ", "STOP"), "STOP", "stop", ("one", "Ġtwo", "Ċ")),
        ("one", spelled(" one", "STOP"), "STOP", "stop", (" one",)),
        # A character in two tokens, whose texts cannot show it.
        (
            "é!",
            spelled("\ufffd", "\ufffd", "!", "S", bytes_of=[[0xC3], [0xA9]]),
            "S",
            "stop",
            ("\ufffd", "\ufffd", "!"),
        ),
        ("one", spelled("token_id:7", "token_id:8"), (), "stop", ("token_id:7", "token_id:8")),  # not to be found
    ],
)
def test_tokens_end_where_the_text_does(server, endpoint, text, logprobs, stop, finish, kept):
    server.answer = lambda content, before: completion(text, logprobs, finish)
    for _ in range(2):  # the second time from the cache
        (reply,) = complete(endpoint, [chat("?")], 9, stop=stop, top_logprobs=1)
        assert reply.text == text.partition(" STOP")[0] and reply.tokens == kept
        assert reply.logprobs == tuple(-1.0 - i for i in range(len(kept)))
        assert len(reply.alternatives) == len(kept)
    assert len(server.bodies) == 1


def test_tokens_that_cannot_be_cut_with_the_text_are_a_problem(server, endpoint):
    server.answer = lambda content, before: completion("one STOP", spelled("token_id:7", "token_id:8"))
    with pytest.warns(UserWarning, match="do not line up with the text, which a stop string may have cut"):
        complete(endpoint, [chat("?")], 9, stop="STOP", top_logprobs=1)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    "tokens, kept",
    [
        (("<think>", "hm", " A", "</think>", "\n\n", "A", "<|im_end|>"), ("A", "<|im_end|>")),
        (("hm", " A", "</think>\n", "A"), ("A",)),
        (("A",), ("A",)),  # the server leaves the reasoning out here, too
    ],
)
def test_reasoning_that_comes_separately_is_kept_apart(server, endpoint, field, tokens, kept):
    body = completion("A", spelled(*tokens))
    body["choices"][0]["message"][field] = "hm A"
    server.answer = lambda content, before: body
    for cached in (False, True):
        (reply,) = complete(endpoint, [chat("?")], 9, top_logprobs=1)
        assert (reply.text, reply.reasoning, reply.problem, reply.cached) == ("A", "hm A", None, cached)
        assert reply.tokens == kept and reply.logprobs[0] == -1.0 - tokens.index("A")


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_reasoning_that_was_cut_short_is_a_problem_that_says_so(server, endpoint, text):
    body = completion(text, finish_reason="length")
    body["choices"][0]["message"]["reasoning"] = "hmmm"
    server.answer = lambda content, before: body
    for cached in (False, True):
        with pytest.warns(UserWarning, match="cut before its text began, in its reasoning: raise max_new_tokens"):
            (reply,) = complete(endpoint, [chat("?")], 9)
        assert (reply.text, reply.finish_reason, reply.reasoning, reply.cached) == (None, "length", "hmmm", cached)


def test_a_token_that_shows_no_text_is_no_reasoning_cut_short(server, endpoint):
    half = spelled("\ufffd", bytes_of=[[0xF0]])
    server.answer = lambda content, before: completion("", half, "length")
    (reply,) = complete(endpoint, [chat("?")], 1, top_logprobs=1)
    assert reply.text == "" and reply.tokens == ("\ufffd",)


@pytest.mark.parametrize("junk", [7, ["hm"], {"text": "hm"}, True, ""])
def test_reasoning_that_is_no_text_is_none(server, endpoint, junk):
    body = completion("A")
    body["choices"][0]["message"]["reasoning"] = junk
    server.answer = lambda content, before: body
    assert complete(endpoint, [chat("?")], 1) == [Reply("A", "stop")]


def test_a_stop_string_that_the_server_left_in_is_cut_off(server, endpoint):
    server.answer = lambda content, before: completion("one two three")
    for stop, text in (("two", "one "), (["three", " t"], "one"), ((), "one two three")):
        assert complete(endpoint, [chat("?")], 9, stop=stop)[0].text == text
