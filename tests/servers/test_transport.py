"""How requests travel: retries and waits, failures that last, the key, threads and interruptions."""

import asyncio
import gzip
import json
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from email.utils import formatdate

import pytest
from scripted_server import KEY, chat, completion, error_body, files, refusal, trickle, wait_until

from nbhelpers.servers import Endpoint, Reply, asking, complete, statuses, transport

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
    endpoint = Endpoint(server.url, "m", timeout=2, cache=None)
    assert complete(endpoint, [chat("?")], 1)[0].text == "good"
    assert len(server.bodies) == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(server, endpoint, monkeypatch, as_date):
    date = 1_700_000_000  # a date has whole seconds: only a clock that we set makes it lie half a second ahead
    monkeypatch.setattr(statuses, "time", lambda: date - 0.5)
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

    monkeypatch.setattr(asking, "Event", Recorded)
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
        ((401, {}, b"who?"), 1, "the server answered 401: who?"),
        ((402, {}, b"pay"), 1, "the server answered 402: pay"),
        ((403, {}, b"not you"), 1, "the server answered 403: not you"),
        ((404, {}, b"where?"), 1, r"the server answered 404 \(should base_url end in /v1, .*\): where\?"),
        ((405, {}, b""), 1, "the server answered 405"),
        ((429, {"Retry-After": "3600"}, b"come back later"), 1, "the server answered 429: come back later"),
        ((429, {"Retry-After": "inf"}, b"never"), 1, "the server answered 429: never"),
        ((429, {}, b"too fast"), 3, "the server answered 429: too fast"),
        ((503, {}, b"down"), 3, "the server answered 503: down"),
        (
            (400, JSON, error_body("temperature must be 1", param="temperature", code="unsupported_value")),
            1,
            "answered 400: temperature must be 1",
        ),
        ((400, JSON, error_body("what is that?", param="chat_template_kwargs.x")), 1, "answered 400: what is that"),
        ((400, JSON, error_body("no", code="model_not_found")), 1, "the server answered 400: no"),
        ((400, JSON, error_body("Server is pinned to 'a'; requested 'm'.")), 1, "answered 400: Server is pinned"),
    ],
)
def test_what_concerns_all_requests_is_one_error_that_says_why(server, endpoint, fault, tries, reason):
    server.answer = lambda content, before: fault
    endpoint = Endpoint(endpoint.base_url, "m", retries=2, concurrency=1, cache=endpoint.cache)
    account = f"1 of 3 requests to {endpoint.base_url} failed and 2 were given up, .*request 0: .*{reason}"
    with pytest.raises(RuntimeError, match=account):
        complete(endpoint, [chat(c) for c in "abc"], 1, extra_body={"chat_template_kwargs": {"x": 1}})
    assert len(server.bodies) == tries and files(endpoint) == []


LONG = "This model's maximum context length is 50 tokens and your request has 30 input tokens"


@pytest.mark.parametrize(
    "fault, tries, reason",
    [
        ((400, {}, b"no"), 1, "the server answered 400: no"),
        ((400, JSON, error_body(LONG, code="context_length_exceeded", param="messages")), 1, f"400: {LONG}"),
        # vLLM blames the field that would not fit after this prompt, and names the other spelling of it.
        (
            (
                400,
                JSON,
                error_body(f"'max_tokens' or 'max_completion_tokens' is too large. {LONG}", param="max_tokens"),
            ),
            1,
            LONG,
        ),
        ((413, {}, b"too large"), 1, "the server answered 413: too large"),
        ((422, JSON, b'{"detail": [{"loc": ["body", "messages"], "msg": "odd"}]}'), 1, "answered 422: .*odd"),
        ((418, {}, b"teapot"), 1, "the server answered 418: teapot"),
        ((500, {}, b"broken for good"), 3, "the server answered 500: broken for good"),
        ((502, JSON, error_body("bad gateway")), 3, "the server answered 502: bad gateway"),
        ((500, JSON, b'{"error": ' + b"[" * 5000 + b"]" * 5000 + b"}"), 3, r"answered 500: .*\[\[\["),
        ((500, {"Content-Type": "text/plain; charset=utf-32"}, b"\xff\xfe\xfd odd"), 3, "answered 500: .*odd"),
        ((500, {"Content-Type": "text/plain; charset=no-such"}, b"odd"), 3, "answered 500: odd"),
        ((500, {"Content-Type": "text/plain; charset=rot13"}, b"odd"), 3, "answered 500: odd"),
        ((500, {"Content-Encoding": "gzip"}, b"no gzip"), 3, "the connection failed: .*header"),
        ((500, {"Content-Encoding": "br"}, b"odd"), 3, "the server answered 500"),
        ((500, {}, b"red \x1b[31m, \xe2\x80\xae, two\nlines"), 3, r"answered 500: red \[31m, , two lines\Z"),
        ((200, JSON, GOOD[:-20]), 3, "not JSON, or half of it"),
        ((200, JSON, b"[" * 100_000), 3, "not JSON, or half of it"),
        ((200, JSON, b'{"a":' * 300 + b"1" + b"}" * 300), 3, "nested more than 64 deep"),
        ((200, JSON, b"1" * 5000), 3, "not JSON"),
        ((200, {**JSON, "Content-Length": str(len(GOOD))}, GOOD[:-20]), 3, "the connection failed: .*closed"),
        ({"choices": []}, 3, "choices are empty"),
        ({"choices": {"0": 1}}, 3, "no chat completion"),
        ({"object": "list"}, 3, "no chat completion: .*'list'"),
        ({"error": {"message": "overloaded"}}, 3, "no chat completion: .*'overloaded'"),
        (completion("half", finish_reason=None), 3, "unfinished, its finish_reason is None"),
        (completion([{"type": "text", "text": "good"}]), 1, r"not text but \[\{"),
        (completion(b"bytes".hex() and 7), 1, "not text but 7"),
        (completion("x" * 1_000_001), 1, "longer than 1,000,000 characters"),
    ],
)
def test_one_items_trouble_is_one_items(server, endpoint, fault, tries, reason):
    """Nineteen replies and one problem; the next time only the one is asked for, and then it is well."""
    server.answer = lambda content, before: fault if content == "7" else completion(content)
    endpoint = Endpoint(endpoint.base_url, "m", retries=2, cache=endpoint.cache)
    chats = [chat(str(i)) for i in range(20)]
    with pytest.warns(UserWarning, match="^1 of 20 requests got no usable reply; the first is request 7: ") as caught:
        replies = complete(endpoint, chats, 1)
    assert len(caught) == 1 and caught[0].filename == __file__
    (bad,) = (reply for reply in replies if reply.text is None)
    assert re.search(reason, bad.problem) and bad.problem.isprintable() and len(bad.problem) <= 300
    assert replies[7] is bad and bad == Reply(None, "error", problem=bad.problem)
    assert [r.text for r in replies if r is not bad] == [str(i) for i in range(20) if i != 7]
    assert server.asked["7"] == tries and len(files(endpoint)) == 19
    server.answer = lambda content, before: completion("well")
    server.bodies.clear()
    assert [r.text for r in complete(endpoint, chats, 1)] == [r.text or "well" for r in replies]
    assert server.asked == {"7": 1}


FILTERED = error_body(
    "The response was filtered", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}
)


@pytest.mark.parametrize(
    "answer, problem",
    [
        (completion(None), "content is not text but None"),
        (completion(None, finish_reason="content_filter"), "a content filter withheld the reply"),
        (completion("", finish_reason="content_filter"), "a content filter withheld the reply"),
        (refusal("I would rather not."), "the model refused: I would rather not."),
        (completion(None, finish_reason="length"), "cut before its text began.*raise max_new_tokens"),
        (completion("", finish_reason="length"), "cut before its text began.*raise max_new_tokens"),
        ((400, JSON, FILTERED), "a content filter refused the request: The response was filtered"),
        ((403, JSON, error_body("your input was flagged")), "a content filter refused the request: your input was"),
        ((422, JSON, error_body("no", type="moderation_blocked")), "a content filter refused the request: no"),
    ],
)
def test_a_refusal_is_remembered_and_not_paid_for_twice(server, endpoint, answer, problem):
    server.answer = lambda content, before: answer if content == "bad" else completion(content)
    chats = [chat("good"), chat("bad"), chat("bad")]
    for cached in (False, True):
        with pytest.warns(UserWarning, match="2 of 3 requests got no usable reply; the first is request 1: "):
            good, bad, again = complete(endpoint, chats, 1)
        assert good.text == "good" and bad == again and bad.text is None and re.search(problem, bad.problem)
        assert (good.cached, bad.cached) == (cached, cached)
    assert server.asked == {"good": 1, "bad": 1}
    with pytest.warns(UserWarning, match="1 of 1 requests"):
        complete(endpoint, chats[1:2], 1, seed=1)  # how to ask again
    assert server.asked["bad"] == 2


def test_a_server_that_is_never_done_is_given_up(server, tmp_path):
    server.answer = lambda content, before: server.release.wait() and completion("too late")
    endpoint = Endpoint(server.url, "m", timeout=2, retries=1, cache=None)
    with pytest.warns(UserWarning, match=r"no reply within 2 s"):
        complete(endpoint, [chat("?")], 1)
    assert len(server.bodies) == 2


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "head, piece",
    [
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),  # a header that never ends
        (HEAD + b"\r\n", b" "),  # spaces before the JSON, as DeepSeek sends them while it is busy
        (b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n", b"e"),
    ],
)
def test_bytes_that_trickle_in_do_not_outlast_the_deadline(server, monkeypatch, head, piece):
    monkeypatch.setattr(transport, "DEADLINE", 0.02)  # 50 s for the next byte, 1 s for all of them
    server.answer = lambda content, before: trickle(head, piece, server.release)
    endpoint = Endpoint(server.url, "m", timeout=50, retries=0, cache=None)
    with pytest.warns(UserWarning, match="no whole reply within 1 s"):
        complete(endpoint, [chat("?")], 1)


def test_many_retries_do_not_overflow(server, endpoint, monkeypatch):
    monkeypatch.setattr(transport, "LONGEST_WAIT", 0.0)
    server.answer = lambda content, before: completion("good") if before == 1100 else (500, {}, b"")
    endpoint = Endpoint(server.url, "m", retries=1100, cache=None)
    assert complete(endpoint, [chat("?")], 1)[0].text == "good"


@pytest.mark.parametrize(
    "header",
    [
        "Fri, 31 Dec 9999 23:59:59 -9999",
        "Fri, 31 Dec 2020 23:59:59 +99999999999999999999",
        "Fri, 31 Dec 99999999999999999999999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 32 Foo 99999999999 00:00:00 GMT",
        "-5",
        "nan",
        "1e-400",
        "9" * 5000 + "x",
        "\xe9",
    ],
)
def test_an_odd_retry_after_is_no_wait(server, endpoint, header):
    answers = [(503, {"Retry-After": header}, b""), completion("good")]
    server.answer = lambda content, before: answers[before]
    assert complete(endpoint, [chat("?")], 1)[0].text == "good"


# --- Bounds ----------------------------------------------------------------------------------------------------------


def test_a_compressed_reply_is_read(server, endpoint):
    server.answer = lambda content, before: (200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(GOOD))
    assert complete(endpoint, [chat("?")], 1)[0].text == "good"
    assert server.headers[0]["accept-encoding"] == "gzip"


BOMB = gzip.compress(b" " * 20_000_000)


@pytest.mark.parametrize(
    "encoding, content, problem",
    [
        ("gzip", BOMB, "the reply is longer than 16,777,216 bytes"),
        ("gzip, gzip", gzip.compress(BOMB), "compressed as 'gzip, gzip', which was not asked for"),
        ("br", b"odd", "compressed as 'br'"),
        ("zstd", b"odd", "compressed as 'zstd'"),
        ("gzip", gzip.compress(GOOD)[:-20], "half of a compressed one"),
        ("gzip", gzip.compress(GOOD) + bytes(17_000_000), "the reply is longer than"),  # what follows the end of it
        ("identity", b" " * 17_000_000, "the reply is longer than"),
    ],
)
def test_a_reply_is_bounded_after_decompression(server, endpoint, encoding, content, problem):
    server.answer = lambda c, before: (200, {**JSON, "Content-Encoding": encoding}, content)
    endpoint = Endpoint(server.url, "m", retries=0, cache=endpoint.cache)
    tracemalloc.start()
    try:
        with pytest.warns(UserWarning, match=problem):
            complete(endpoint, [chat("?")], 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150_000_000 and files(endpoint) == []


def test_of_a_long_error_the_beginning_is_read(server, endpoint):
    long = gzip.compress(b"sorry " + b"x" * 50_000_000)
    server.answer = lambda content, before: (400, {"Content-Encoding": "gzip"}, long)
    with pytest.warns(UserWarning, match="the server answered 400: sorry x"):
        complete(endpoint, [chat("?")], 1)


# --- Elsewhere -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location, named",
    [
        ("http://user:pw@127.0.0.1:{port}/elsewhere?token=abc", r"http://127\.0\.0\.1:\d+, "),
        ("/v2/chat/completions", r"http://127\.0\.0\.1:\d+, "),
        ("//[", "an address that makes no sense"),
        (None, "nowhere"),
    ],
)
def test_a_redirect_takes_the_conversation_nowhere(server, endpoint, status, location, named):
    headers = {} if location is None else {"Location": location.format(port=server.http.server_port)}
    server.answer = lambda content, before: (status, headers, b"")
    with pytest.raises(RuntimeError, match=f"answered {status}, a redirect to {named}.*not followed") as caught:
        complete(endpoint, [chat("?")], 1)
    assert len(server.bodies) == 1
    assert "pw" not in str(caught.value) and "abc" not in str(caught.value)


def test_the_environment_adds_nothing_to_a_request(server, endpoint, monkeypatch):
    """What the openai client reads of its own accord (its sources name these variables), and other libraries' ways."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    complete(endpoint, [chat("plain")], 1)
    for name in (
        *("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK_SECRET", "OPENAI_API_VERSION"),
        *("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "AWS_BEARER_TOKEN_BEDROCK"),
    ):
        monkeypatch.setenv(name, "leaked-value")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer leaked-value\nX-Mine: leaked-value")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/leaked-value")
    monkeypatch.setenv("OPENAI_API_TYPE", "azure")
    monkeypatch.setenv("OPENAI_LOG", "debug")
    complete(endpoint, [chat("again")], 1)
    plain, again = server.headers
    assert plain == {**again, "content-length": plain["content-length"]}
    assert plain["authorization"] == f"Bearer {KEY}"
    ours = {"host", "authorization", "accept", "accept-encoding", "content-type", "content-length", "connection"}
    assert set(plain) == ours | {"user-agent"}


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
    assert "fatal = Fatal(" in told and caught.value.__context__ is None and caught.value.__cause__ is None
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
