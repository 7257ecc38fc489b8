"""`complete`: what it sends, in which order replies come back, what it refuses, and what it says of failures."""

import hashlib
import json
import math
import time

import numpy as np
import pytest
from scripted_server import chat, completion, entry, error_body, files

from nbhelpers.servers import Endpoint, complete


def test_a_request_holds_what_was_asked_and_nothing_else(server, endpoint):
    complete(endpoint, [chat("plain")], 7)
    plain = {"model": "m", "messages": chat("plain"), "max_tokens": 7, "temperature": 0.0, "seed": 0}
    assert server.bodies == [plain]
    server.answer = lambda content, before: completion("x", {"content": [entry("x", -0.1, x=-0.1)]})
    complete(endpoint, [chat("rich")], 7, temperature=1, seed=3, stop="END", top_logprobs=5)
    rich = {"temperature": 1.0, "seed": 3, "stop": ["END"], "logprobs": True, "top_logprobs": 5}
    assert server.bodies[1] == {**plain, "messages": chat("rich"), **rich}


def test_replies_come_in_the_order_of_the_chats_and_never_too_many_at_once(server, tmp_path):
    def slower_first(content, before):
        time.sleep(0.1 - 0.007 * int(content))
        return completion(content)

    server.answer = slower_first
    endpoint = Endpoint(server.url, "m", concurrency=3, cache=None)
    replies = complete(endpoint, (chat(str(i)) for i in range(12)), 1)
    assert [reply.text for reply in replies] == [str(i) for i in range(12)]
    assert server.most_at_once == 3


def test_identical_requests_are_sent_once(server, endpoint, capsys):
    replies = complete(endpoint, [chat(c) for c in "abacaba"], 1, progress=True)
    assert [r.text for r in replies] == [f"echo {c}" for c in "abacaba"]
    assert server.asked == {"a": 1, "b": 1, "c": 1} and len(files(endpoint)) == 3
    assert "3/3" in capsys.readouterr().err


def test_another_argument_is_another_request(server, endpoint):
    variants = [
        {"max_new_tokens": 6},
        {"temperature": 0.5},
        {"seed": 1},
        {"stop": "x"},
    ]
    for options in ({}, *variants, {"temperature": 0}):  # the last is the first again, as an int
        complete(endpoint, [chat("?")], **{"max_new_tokens": 5, **options})
    assert len(server.bodies) == len(files(endpoint)) == 5
    complete(Endpoint(server.url, "other", cache=endpoint.cache), [chat("?")], 5)
    complete(Endpoint(server.url + "/", "m", cache=endpoint.cache), [chat("?")], 5)  # a slash changes nothing
    assert len(server.bodies) == 6


def test_some_failures_keep_the_other_replies_and_a_rerun_asks_only_for_the_rest(server, endpoint):
    broken = True
    server.answer = lambda content, before: (400, {}, b"no") if broken and content in "357" else completion(content)
    chats = [chat(str(i % 8)) for i in range(10)]
    with pytest.warns(UserWarning) as caught:
        replies = complete(endpoint, chats, 1)
    (warning,) = caught
    account = "3 of 10 requests got no usable reply; the first is request 3: the server answered 400: no"
    assert str(warning.message).startswith(account) and warning.filename == __file__
    assert [r.text for r in replies] == ["0", "1", "2", None, "4", None, "6", None, "0", "1"]
    assert {r.problem for r in replies} == {None, "the server answered 400: no"}
    assert len(files(endpoint)) == 5
    broken = False
    server.bodies.clear()
    replies = complete(endpoint, chats, 1)
    assert server.asked == {"3": 1, "5": 1, "7": 1}
    assert [r.text for r in replies] == [str(i % 8) for i in range(10)]
    assert [r.cached for r in replies] == [i not in (3, 5, 7) for i in range(10)]


def test_the_one_error_counts_what_came_what_failed_and_what_was_given_up(server, endpoint):
    faults = {"1": (400, {}, b"no"), "2": completion(None), "3": (401, {}, b"who?")}
    server.answer = lambda content, before: faults.get(content) or completion(content)
    endpoint = Endpoint(server.url, "m", concurrency=1, cache=endpoint.cache)
    message = "3 of 6 requests .* failed and 2 were given up, .* the first is request 3: the server answered 401: who"
    with pytest.raises(RuntimeError, match=rf"{message}\?\. The other 1 replies are kept in "):
        complete(endpoint, [chat(str(i)) for i in range(6)], 1)


# --- More fields -----------------------------------------------------------------------------------------------------

NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


def test_extra_fields_are_sent_and_tell_requests_apart(server, endpoint):
    for extra_body in (None, {}, NO_THINKING, {"top_k": 5}, {"top_k": 5.0}, {"list": (1, 2)}, {"list": [1, 2]}):
        complete(endpoint, [chat("?")], 7, extra_body=extra_body)
    plain = {"model": "m", "messages": chat("?"), "max_tokens": 7, "temperature": 0.0, "seed": 0}
    extras = [{}, NO_THINKING, {"top_k": 5}, {"top_k": 5.0}, {"list": [1, 2]}]
    assert server.bodies == [plain | extra for extra in extras] and len(files(endpoint)) == 5


def test_a_request_without_extra_fields_is_found_where_it_always_was(server, endpoint):
    """The name of a file is the same as before there were extra fields, so old caches stay valid."""
    request = {"base_url": server.url, "model": "m", "max_tokens": 7, "temperature": 0.0, "seed": 0}
    name = hashlib.sha256(
        json.dumps(request | {"messages": chat("?")}, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
    complete(endpoint, [chat("?")], 7)
    (file,) = files(endpoint)
    assert file.stem == name and set(json.loads(file.read_text())) == {"sha256", "request", "reply"}


CIRCLE = {}
CIRCLE["itself"] = CIRCLE
DEEP = []
for _ in range(100):
    DEEP = [DEEP]
DEEPER = []
for _ in range(100_000):
    DEEPER = [DEEPER]


@pytest.mark.parametrize(
    "extra_body, error, message",
    [
        *[
            ({name: 1}, ValueError, f"extra_body holds '{name}', which complete sets itself")
            for name in ("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "seed", "stop")
        ],
        ({"logprobs": False}, ValueError, "extra_body holds 'logprobs'"),
        ({"stream": True}, ValueError, "extra_body holds 'stream'"),
        ({"n": 2}, ValueError, "extra_body holds 'n'"),
        ([("a", 1)], TypeError, "extra_body must be a mapping"),
        ("a", TypeError, "extra_body must be a mapping"),
        ({1: 2}, TypeError, "extra_body must be a mapping"),
        ({"a": {1, 2}}, TypeError, "extra_body cannot be sent as JSON"),
        ({"a": np.float32(1)}, TypeError, "extra_body cannot be sent as JSON"),
        ({"a": b"bytes"}, TypeError, "extra_body cannot be sent as JSON"),
        ({"a": math.nan}, ValueError, "extra_body cannot be sent as JSON"),
        ({"a": "\ud83d"}, ValueError, "extra_body .*half a character"),
        ({"\ud83d": 1}, ValueError, "extra_body .*half a character"),
        ({"a": CIRCLE}, ValueError, "extra_body cannot be sent as JSON"),
        ({"a": DEEP}, ValueError, "extra_body is nested more than 64 deep"),
        ({"a": DEEPER}, ValueError, "extra_body cannot be sent as JSON"),
        ({"a": 10**5000}, ValueError, "extra_body cannot be sent as JSON"),
    ],
)
def test_extra_fields_that_cannot_be_sent_are_named(server, endpoint, extra_body, error, message):
    with pytest.raises(error, match=message):
        complete(endpoint, [chat("?")], 7, extra_body=extra_body)
    assert server.bodies == []


def test_numbers_of_numpy_are_numbers(server, endpoint):
    complete(endpoint, [chat("?")], np.int64(7), temperature=np.float32(0.5), seed=np.int64(3))
    complete(endpoint, [chat("?")], 7, temperature=0.5, seed=3)
    assert server.bodies == [{"model": "m", "messages": chat("?"), "max_tokens": 7, "temperature": 0.5, "seed": 3}]


# --- Servers that want other names and numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        error_body(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        ),
        b'{"detail": "max_tokens is not allowed here: use max_completion_tokens"}',
    ],
)
def test_a_server_that_wants_max_completion_tokens_gets_them(server, endpoint, refusal):
    def answer(content, before):
        return (400, {}, refusal) if "max_tokens" in server.bodies[-1] else completion(content)

    server.answer = answer
    endpoint = Endpoint(server.url, "m", concurrency=1, cache=endpoint.cache)
    for _ in range(2):
        assert [r.text for r in complete(endpoint, [chat(c) for c in "abc"], 7)] == list("abc")
    limits = [{k: v for k, v in body.items() if k.startswith("max")} for body in server.bodies]
    assert limits == [{"max_tokens": 7}, *[{"max_completion_tokens": 7}] * 3]  # refused once, then remembered


def test_a_server_that_refuses_both_names_is_asked_twice(server, endpoint):
    refusal = error_body("max_tokens is not supported, use max_completion_tokens; or the other way round")
    server.answer = lambda content, before: (400, {}, refusal)
    with pytest.warns(UserWarning, match="the server answered 400: max_tokens is not supported"):
        complete(endpoint, [chat("?")], 7)
    assert len(server.bodies) == 2


def test_a_limit_of_alternatives_is_stated_by_the_endpoint_or_by_the_server(server, tmp_path):
    few = Endpoint(server.url, "m", cache=None, top_logprobs_limit=5)
    with pytest.raises(ValueError, match="top_logprobs=20, and the endpoint's top_logprobs_limit is 5: ask for fewer"):
        complete(few, [chat("?")], 1, top_logprobs=20)
    assert server.bodies == []
    for message in ("Invalid value: top_logprobs must be at most 5", "logprobs: too large, maximum is 5"):
        server.answer = lambda content, before, message=message: (400, {}, error_body(message))
        with pytest.raises(RuntimeError, match=f"lower top_logprobs to what the server allows.*: {message}"):
            complete(Endpoint(server.url, "m", cache=None), [chat("?")], 1, top_logprobs=20)


def test_a_chat_about_parameters_may_be_too_long_all_the_same(server, endpoint):
    server.answer = lambda content, before: (400, {}, error_body(f"maximum context length exceeded by: {content}"))
    with pytest.warns(UserWarning, match="1 of 1 requests got no usable reply"):
        complete(endpoint, [chat("What is top_logprobs, and is max_completion_tokens unsupported?")], 1, top_logprobs=2)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    "chats, options, error, message",
    [
        ("Hello", {}, TypeError, "chats must be a list of chats such as .*, not 'Hello'"),
        (chat("Hello"), {}, TypeError, "chats is a single chat: for one chat give a list of one"),
        ({"role": "user"}, {}, TypeError, "chats must be a list of chats"),
        ([chat("a"), "Hello"], {}, TypeError, "chat 1 must be a list of messages such as {.*}, not 'Hello'"),
        ([[]], {}, ValueError, "chat 0 is a chat without messages: there is nothing to reply to"),
        ([[{"role": "user", "content": None}]], {}, TypeError, "chat 0 must be a list of messages"),
        ([[{"role": "user"}]], {}, TypeError, "chat 0 must be a list of messages"),
        ([[{"role": "robot", "content": "a"}]], {}, ValueError, "chat 0 has the role 'robot': give one of system,"),
        ([[{"content": "a"}]], {}, TypeError, "chat 0 must be a list of messages"),
        (
            [[{"role": "user", "content": "a", "name": 7}]],
            {},
            TypeError,
            "chat 0 has a message whose 'name' is not text but 7",
        ),
        ([chat("a")], {"max_new_tokens": 0}, ValueError, "max_new_tokens=0"),
        ([chat("a")], {"temperature": math.nan}, ValueError, "temperature=nan"),
        ([chat("a")], {"temperature": -1}, ValueError, "temperature=-1"),
        ([chat("a")], {"seed": 0.5}, TypeError, "seed=0.5"),
        ([chat("a")], {"stop": ["x", ""]}, ValueError, "stop="),
        ([chat("a")], {"stop": [7]}, ValueError, "stop="),
        ([chat("a")], {"top_logprobs": -1}, ValueError, "top_logprobs=-1"),
        ([chat("a")], {"top_logprobs": "2"}, ValueError, "top_logprobs='2'"),
        ([chat("half a character \ud83d")], {}, ValueError, "chat 0 holds half a character"),
        ([[{"role": "user", "content": "a", "\ud83d": "a"}]], {}, ValueError, "chat 0 holds half a character"),
        ([[{"role": "user", "content": "a", 7: "a"}]], {}, TypeError, "chat 0 has a message whose 7 is not text"),
        ([chat("a")], {"stop": ["x", "\ud83d"]}, ValueError, "stop holds half a character"),
        ([chat("a")], {"seed": 10**5000}, ValueError, "max_new_tokens or seed is a number too long to be sent"),
        ([chat("a")], {"top_logprobs": 21}, ValueError, "top_logprobs=21, and the endpoint's top_logprobs_limit is 20"),
    ],
)
def test_bad_input_is_named_and_nothing_is_sent(server, endpoint, chats, options, error, message):
    with pytest.raises(error, match=message):
        complete(endpoint, chats, **{"max_new_tokens": 4, **options})
    assert server.bodies == []


def test_no_chats_give_no_replies(server, endpoint):
    assert complete(endpoint, [], 4) == [] and server.bodies == []
