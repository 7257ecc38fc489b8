"""`complete`: what it sends, in which order replies come back, what it refuses, and what it says of failures."""

import math
import time

import pytest
from scripted_server import chat, completion, entry, files

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
    with pytest.raises(RuntimeError) as caught:
        complete(endpoint, chats, 1)
    message = str(caught.value)
    assert "3 of 10 requests" in message and "the first is request 3: the server answered 400: no." in message
    assert f"The other 7 replies are kept in {endpoint.cache}; a rerun continues with what is missing" in message
    assert len(files(endpoint)) == 5
    broken = False
    server.bodies.clear()
    replies = complete(endpoint, chats, 1)
    assert server.asked == {"3": 1, "5": 1, "7": 1}
    assert [r.text for r in replies] == [str(i % 8) for i in range(10)]
    assert [r.cached for r in replies] == [i not in (3, 5, 7) for i in range(10)]


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
    ],
)
def test_bad_input_is_named_and_nothing_is_sent(server, endpoint, chats, options, error, message):
    with pytest.raises(error, match=message):
        complete(endpoint, chats, **{"max_new_tokens": 4, **options})
    assert server.bodies == []


def test_no_chats_give_no_replies(server, endpoint):
    assert complete(endpoint, [], 4) == [] and server.bodies == []
