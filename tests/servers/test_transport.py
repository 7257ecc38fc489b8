"""How requests travel: retries and waits, failures that last, the key, threads and interruptions."""

import asyncio
import json
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from email.utils import formatdate

import pytest
from scripted_server import KEY, chat, completion, files, wait_until

from nbhelpers.servers import Endpoint, Reply, chat_completions, complete, transport

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(completion("good")).encode()


# --- The connection --------------------------------------------------------------------------------------------------


def test_it_works_where_an_event_loop_is_running(endpoint):
    async def cell():
        return complete(endpoint, [chat("hello")], 1)

    assert asyncio.run(cell())[0].text == "echo hello"


def test_a_proxy_is_not_asked_for_this_machine(endpoint, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert complete(endpoint, [chat("hello")], 1)[0].text == "echo hello"


# --- Failures that pass ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        (408, {}, b""),
        (409, {}, b""),
        (429, {"Retry-After": "0"}, b'{"error": {"message": "slow down"}}'),
        (429, {"Retry-After": "soon"}, b""),
        (500, JSON, b'{"error": {"message": "oops"}}'),
        (503, {}, b"<html>"),
        (200, {**JSON, "Content-Length": str(len(GOOD))}, GOOD[:-20]),  # the connection is closed midway
        (200, JSON, GOOD[:-20]),
        (200, JSON, b"\xff\xfe\xfd"),
        (200, {"Content-Type": "text/html"}, b"<html>a proxy's page</html>"),
        completion("good", finish_reason=None),
        {"choices": []},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": None, "finish_reason": "stop"}]},
        {"error": {"message": "overloaded"}},
        (200, JSON, b"[]"),
        (200, JSON, b"null"),
    ],
)
def test_what_may_pass_is_asked_again(server, endpoint, fault):
    server.answer = lambda content, before: fault if before < 2 else completion("good")
    assert complete(endpoint, [chat("?")], 1) == [Reply("good", "stop")]
    assert len(server.bodies) == 3


def test_a_slow_server_is_asked_again(server, tmp_path):
    def slow_at_first(content, before):
        if not before:
            server.release.wait()
        return completion("good")

    server.answer = slow_at_first
    endpoint = Endpoint(server.url, "m", timeout=0.5, cache=None)
    assert complete(endpoint, [chat("?")], 1)[0].text == "good"
    assert len(server.bodies) == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(server, endpoint, monkeypatch, as_date):
    date = 1_700_000_000  # a date has whole seconds: only a clock that we set makes it lie half a second ahead
    monkeypatch.setattr(transport, "time", lambda: date - 0.5)
    busy = (429, {"Retry-After": formatdate(date, usegmt=True) if as_date else "0.5"}, b"")
    server.answer = lambda content, before: completion("good") if before else busy
    complete(endpoint, [chat("?")], 1)
    first, second = server.times
    assert second - first >= 0.5


def test_the_waits_grow_and_leave_the_global_random_numbers_alone(server, endpoint, monkeypatch):
    waits = []

    class Recorded(threading.Event):
        """Retries wait for the halt: this one notes how long, and lets them go at once."""

        def wait(self, timeout=None):
            waits.append(timeout)
            return self.is_set()

    monkeypatch.setattr(chat_completions, "Event", Recorded)
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.1)
    server.answer = lambda content, before: (500, {}, b"") if before < 3 else completion("good")
    random.seed(1)
    state = random.getstate()
    complete(endpoint, [chat("?")], 1)
    assert random.getstate() == state
    for wait, pause in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert 0.75 * pause <= wait <= 1.25 * pause


# --- Failures that last ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault, tries, reason",
    [
        ((500, {}, b"broken for good"), 3, "the server answered 500: broken for good"),
        ((400, {}, b"too long"), 1, "the server answered 400: too long"),
        ((401, {}, b"who?"), 1, "the server answered 401: who?"),
        ((404, {}, b"where?"), 1, r"the server answered 404 \(should base_url end in /v1, .*\): where\?"),
        ((429, {"Retry-After": "3600"}, b"come back later"), 1, "the server answered 429: come back later"),
        ((200, JSON, GOOD[:-20]), 3, "not JSON, or half of it"),
        ((200, {**JSON, "Content-Length": str(len(GOOD))}, GOOD[:-20]), 3, "the connection failed: .*closed"),
        ({"choices": []}, 3, "choices are empty"),
        ({"object": "list"}, 3, "no chat completion: .*'list'"),
        (completion("half", finish_reason=None), 3, "unfinished, its finish_reason is None"),
        (completion(None, finish_reason="content_filter"), 1, r"not text but None \(finish_reason 'content_filter'"),
        (completion([{"type": "text", "text": "good"}]), 1, r"not text but \[\{"),
    ],
)
def test_what_does_not_pass_is_an_error_that_says_why_and_is_not_cached(server, endpoint, fault, tries, reason):
    server.answer = lambda content, before: fault
    endpoint = Endpoint(endpoint.base_url, "m", retries=2, cache=endpoint.cache)
    with pytest.raises(RuntimeError, match=f"1 of 1 requests to {endpoint.base_url} failed; .*request 0: .*{reason}"):
        complete(endpoint, [chat("?")], 1)
    assert len(server.bodies) == tries and files(endpoint) == []


def test_a_server_that_is_never_done_is_given_up(server, tmp_path):
    server.answer = lambda content, before: server.release.wait() and completion("too late")
    endpoint = Endpoint(server.url, "m", timeout=0.3, retries=1, cache=None)
    with pytest.raises(RuntimeError, match=r"no reply within 0\.3 s"):
        complete(endpoint, [chat("?")], 1)
    assert len(server.bodies) == 2


def test_a_server_that_is_away_is_named_at_once_for_all(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        endpoint = Endpoint(f"http://127.0.0.1:{probe.getsockname()[1]}/v1", "m", concurrency=1, retries=2, cache=None)
        message = (
            "1 of 1000 .* and 999 were given up.*the connection failed: .*refused.*are lost, because cache is None"
        )
        with pytest.raises(RuntimeError, match=message):
            complete(endpoint, [chat(str(i)) for i in range(1000)], 1)


# --- The key ---------------------------------------------------------------------------------------------------------


def test_a_refused_key_ends_the_call_and_appears_nowhere(server, endpoint, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")  # as it comes out of a file
    complete(endpoint, [chat("fine")], 1)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    refusal = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}. " + "x" * 400}}).encode()
    server.answer = lambda content, before: (401, JSON, refusal)
    endpoint = Endpoint(server.url, "m", concurrency=1, cache=endpoint.cache)
    with pytest.raises(RuntimeError, match=r"1 of 9 .* 8 were given up.* 401: .*provided: \[key\]\. x") as caught:
        complete(endpoint, [chat(str(i)) for i in range(9)], 1)
    assert len(server.bodies) == 2
    error = caught.value.with_traceback(caught.tb.tb_next)  # drop this function's frame: its variables hold the key
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "failures = {0:" in told and caught.value.__context__ is None and caught.value.__cause__ is None
    kept = b"".join(file.read_bytes() for file in files(endpoint))
    assert b"fine" in kept
    for place in (
        told,
        repr(caught.value),
        repr(endpoint),
        str(vars(endpoint)),
        repr(pickle.dumps(endpoint)),
        str(kept),
    ):
        assert KEY not in place
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint


def test_the_key_comes_from_the_variable_that_is_named_and_a_local_server_needs_none(server, endpoint, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "other")
    complete(Endpoint(server.url, "m", key_variable="OTHER_KEY", cache=None), [chat("a")], 1)
    complete(endpoint, [chat("b")], 1)
    assert [headers["authorization"] for headers in server.headers] == ["Bearer other", "Bearer none"]
    for url in ("https://api.example.org/v1", "http://192.168.0.7:8000/v1", "http://localhost.example.org/v1"):
        with pytest.raises(ValueError, match=r"the environment variable OPENAI_API_KEY, .* is not set"):
            complete(Endpoint(url, "m", cache=None), [chat("c")], 1)
    monkeypatch.setenv("OPENAI_API_KEY", "two words")
    with pytest.raises(ValueError, match="the key in OPENAI_API_KEY holds a space") as caught:
        complete(endpoint, [chat("d")], 1)
    assert "two words" not in str(caught.value)


# --- Interruptions ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def ctrl_c():
    """Switch Ctrl-C on: it is off in a job that was started in the background, and these tests send it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is off in a job that was started in the background
from nbhelpers.servers import Endpoint, complete
chats = [[{"role": "user", "content": str(i)}] for i in range(6)]
complete(Endpoint(sys.argv[1], "m", cache=sys.argv[2], concurrency=2, timeout=600), chats, 1)
"""


def three_then_none(server):
    """Reply to chats 0, 1 and 2; keep the others waiting until the server is released."""

    def answer(content, before):
        if int(content) >= 3:
            server.release.wait()
        return completion(f"echo {content}")

    return answer


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_program_ends_at_once_and_the_next_asks_only_for_the_rest(server, endpoint, end):
    server.answer = three_then_none(server)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, endpoint.base_url, str(endpoint.cache)], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: (len(server.bodies) == 5 and len(files(endpoint)) == 3) or child.poll() is not None)
        assert child.poll() is None, child.stderr.read()
        child.send_signal(end)
        _, told = child.communicate(timeout=60)  # its requests are still waiting, and would for 600 s
        assert child.returncode == -end
        assert ("KeyboardInterrupt" in told) == (end == signal.SIGINT)
    finally:
        child.kill()
    server.release.set()
    server.bodies.clear()
    replies = complete(endpoint, [chat(str(i)) for i in range(6)], 1)
    assert server.asked == {"3": 1, "4": 1, "5": 1}
    assert [r.text for r in replies] == [f"echo {i}" for i in range(6)]


def test_a_notebook_that_is_interrupted_keeps_the_replies_that_are_under_way(server, endpoint):
    server.answer = three_then_none(server)
    endpoint = Endpoint(server.url, "m", concurrency=2, cache=endpoint.cache)

    def interrupt():
        wait_until(lambda: len(server.bodies) == 5 and len(files(endpoint)) == 3)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        complete(endpoint, [chat(str(i)) for i in range(6)], 1)
    assert len(files(endpoint)) == 3
    server.release.set()
    wait_until(lambda: len([file for file in files(endpoint) if file.suffix == ".json"]) == 5)
    time.sleep(0.1)
    assert server.asked == {str(i): 1 for i in range(5)}, "nothing is sent after the interruption"


def test_a_wait_between_tries_does_not_hold_up_an_interruption(server, endpoint):
    server.answer = lambda content, before: (429, {"Retry-After": "110"}, b"")

    def interrupt():
        wait_until(lambda: server.bodies)
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = threading.active_count()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        complete(endpoint, [chat("?")], 1)
    # Only the halt can end the threads here: `wait_until` gives up long before the 110 s are over.
    wait_until(lambda: not [t for t in threading.enumerate() if "(work)" in t.name])
    assert threading.active_count() <= before + 2 and len(server.bodies) == 1
