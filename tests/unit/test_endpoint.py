"""`complete` against a real server, ``transformers serve``, and against one that fails in every way we could think of.

The servers listen on 127.0.0.1 only, and nothing here needs a network.
"""

import asyncio
import json
import math
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections import Counter
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import nbhelpers as nb
from nbhelpers import endpoint as module
from nbhelpers.embedded import embedded_folder
from nbhelpers.endpoint import Endpoint, Reply, complete
from nbhelpers.judging import YES_NO

KEY = "sk-not-a-real-key-0123456789"


def chat(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def completion(text, logprobs=None, finish_reason="stop") -> dict:
    """What a server's JSON looks like."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": logprobs}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


def entry(token: str, logprob, **alternatives) -> dict:
    top = [{"token": t, "logprob": p, "bytes": None} for t, p in alternatives.items()]
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": top}


class Scripted:
    """A server that answers each request with `answer(content of the chat, how often it was asked before)`.

    An answer is a dict (a reply in JSON), or a status, headers and bytes. It notes what it was asked.
    """

    def __init__(self) -> None:
        self.answer = lambda content, before: completion(f"echo {content}")
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.release = threading.Event()  # set when the server is shut down, or by the test
        lock, scripted = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    before = scripted.asked[body["messages"][-1]["content"]]
                    scripted.times.append(time.monotonic())
                    scripted.headers.append({name.lower(): value for name, value in self.headers.items()})
                    scripted.bodies.append(body)
                    scripted.at_once += 1
                    scripted.most_at_once = max(scripted.most_at_once, scripted.at_once)
                try:
                    answer = scripted.answer(body["messages"][-1]["content"], before)
                finally:
                    with lock:
                        scripted.at_once -= 1
                if isinstance(answer, dict):
                    answer = (200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
                status, headers, content = answer
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(content)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    pass  # the client has given up
                self.close_connection = "Content-Length" in headers  # half a reply was meant

            def log_message(self, *arguments) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def asked(self) -> Counter:
        return Counter(body["messages"][-1]["content"] for body in self.bodies)

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture(autouse=True)
def quick_and_keyless(monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def endpoint(server, tmp_path):
    return Endpoint(server.url, "m", cache=tmp_path / "replies", timeout=5)


def files(endpoint: Endpoint) -> list[Path]:
    return sorted(Path(endpoint.cache).glob("*"))


def wait_until(condition) -> None:
    """Within 20 seconds, or the test fails."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


# --- A real server ---------------------------------------------------------------------------------------------------

QUESTIONS = [chat("What is the capital of France?"), chat("Name a colour.")]


@contextmanager
def transformers_serve(model: str, log: Path):
    """``transformers serve`` with the embedded model, as a process that is gone afterwards whatever happens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    # One thread: where other programs want the cores too, threads that wait for each other are many times slower.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.embedded
def test_transformers_serve_writes_what_generate_writes(embedded, tmp_path):
    expected = [(g.text, g.finish_reason) for g in nb.generate(embedded, QUESTIONS, 10)]
    case = {"question": "What do bees make?", "answer": "Honey."}
    verdicts = nb.judge(embedded, YES_NO, [case], read="text")
    folder = str(embedded_folder())
    with transformers_serve(folder, tmp_path / "log") as url:
        endpoint = Endpoint(url, folder, cache=tmp_path / "replies", timeout=120)
        replies = complete(endpoint, QUESTIONS, 10)
        (stopped,) = complete(endpoint, QUESTIONS[:1], 10, stop=" of France")
        assert nb.judge(endpoint, YES_NO, [case], read="text") == verdicts  # the same judge, wherever it runs
        with pytest.raises(RuntimeError, match="log-probabilities were asked for and the reply has none"):
            complete(endpoint, QUESTIONS[:1], 2, top_logprobs=2)
        with pytest.raises(RuntimeError, match=r"the server answered 400: .*pinned"):
            complete(Endpoint(url, "gpt2", cache=None), QUESTIONS[:1], 2)
    assert [(r.text, r.finish_reason) for r in replies] == expected
    assert replies[0].text == "The capital of France is Paris." and not any(r.cached for r in replies)
    assert (stopped.text, stopped.finish_reason) == ("The capital", "stop")
    again = complete(endpoint, QUESTIONS, 10)  # the server is gone
    assert again == replies and all(r.cached for r in again)
    with pytest.raises(RuntimeError, match=r"1 of 1 requests .* the connection failed"):
        complete(endpoint, [chat("Something new?")], 10)


# --- What is sent, and what comes back -------------------------------------------------------------------------------


def test_a_request_holds_what_was_asked_and_nothing_else(server, endpoint):
    complete(endpoint, [chat("plain")], 7)
    plain = {"model": "m", "messages": chat("plain"), "max_tokens": 7, "temperature": 0.0, "seed": 0}
    assert server.bodies == [plain]
    server.answer = lambda content, before: completion("x", {"content": [entry("x", -0.1, x=-0.1)]})
    complete(endpoint, [chat("rich")], 7, temperature=1, seed=3, stop="END", top_logprobs=5)
    rich = {"temperature": 1.0, "seed": 3, "stop": ["END"], "logprobs": True, "top_logprobs": 5}
    assert server.bodies[1] == {**plain, "messages": chat("rich"), **rich}


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


def test_a_stop_string_that_the_server_left_in_is_cut_off(server, endpoint):
    server.answer = lambda content, before: completion("one two three")
    for stop, text in (("two", "one "), (["three", " t"], "one"), ((), "one two three")):
        assert complete(endpoint, [chat("?")], 9, stop=stop)[0].text == text


def test_unicode_survives_both_ways(server, endpoint):
    texts = ["naïve café, 東京", "😀 and 🏳️‍🌈", "line\u2028separator \x00 \\", "half a character \ud83d"]
    server.answer = lambda content, before: completion(texts[int(content[-1])])
    chats = [chat(f"Grüße, 世界 {i}") for i in range(4)]
    for cached in (False, True):
        replies = complete(endpoint, chats, 9)
        assert [r.text for r in replies] == texts and {r.cached for r in replies} == {cached}
    assert [server.asked[c[0]["content"]] for c in chats] == [1, 1, 1, 1]
    kept = b"".join(file.read_bytes() for file in files(endpoint))
    assert all(f"Grüße, 世界 {i}".encode() in kept for i in range(4)) and texts[0].encode() in kept


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


def test_it_works_where_an_event_loop_is_running(endpoint):
    async def cell():
        return complete(endpoint, [chat("hello")], 1)

    assert asyncio.run(cell())[0].text == "echo hello"


def test_a_proxy_is_not_asked_for_this_machine(endpoint, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert complete(endpoint, [chat("hello")], 1)[0].text == "echo hello"


# --- Faults that pass ------------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(completion("good")).encode()


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
            server.release.wait(5)
        return completion("good")

    server.answer = slow_at_first
    endpoint = Endpoint(server.url, "m", timeout=0.5, cache=None)
    assert complete(endpoint, [chat("?")], 1)[0].text == "good"
    assert len(server.bodies) == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(server, endpoint, as_date):
    """A date has whole seconds, so that "in 2 s" may be little more than 1."""

    def busy_at_first(content, before):
        wait = formatdate(time.time() + 2, usegmt=True) if as_date else "0.5"
        return (429, {"Retry-After": wait}, b"") if not before else completion("good")

    server.answer = busy_at_first
    complete(endpoint, [chat("?")], 1)
    first, second = server.times
    assert (1.0 if as_date else 0.5) <= second - first < 10


def test_the_waits_grow_and_leave_the_global_random_numbers_alone(server, endpoint, monkeypatch):
    monkeypatch.setattr(module, "FIRST_WAIT", 0.1)
    server.answer = lambda content, before: (500, {}, b"") if before < 3 else completion("good")
    random.seed(1)
    state = random.getstate()
    complete(endpoint, [chat("?")], 1)
    assert random.getstate() == state
    waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    for wait, pause in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert 0.75 * pause <= wait < 1.25 * pause + 1


# --- Faults that stay ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "logprobs",
    [
        None,  # the server ignores the question
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
    assert complete(endpoint, [chat("?")], 1)[0].text == "x"  # not asked for, not missed


def test_a_server_that_is_never_done_is_given_up(server, tmp_path):
    server.answer = lambda content, before: server.release.wait(5) and completion("too late")
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
    error = caught.value.with_traceback(caught.tb.tb_next)  # without this function, whose variables hold the key
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


# --- The cache -------------------------------------------------------------------------------------------------------


def test_a_kept_reply_can_be_read_by_a_person_and_needs_neither_server_nor_client(server, endpoint, monkeypatch):
    (reply,) = complete(endpoint, [chat("Grüß Gott")], 1)
    server.close()
    monkeypatch.setitem(sys.modules, "openai", None)  # as if it were not installed
    assert complete(endpoint, [chat("Grüß Gott")], 1) == [reply]
    with pytest.raises(ImportError, match="needs the package openai: run pip install openai"):
        complete(endpoint, [chat("new")], 1)
    (file,) = files(endpoint)
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["request"]["messages"] == chat("Grüß Gott") and record["request"]["base_url"] == endpoint.base_url
    assert record["reply"]["choices"][0]["message"]["content"] == reply.text
    assert "Grüß Gott" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        lambda good, other: b"",
        lambda good, other: good[: len(good) // 2],
        lambda good, other: good.replace(b"echo a", b"echo z"),  # JSON still, and not what the server said
        lambda good, other: other,  # whole, and about another request
        lambda good, other: json.dumps({**json.loads(other), "request": json.loads(good)["request"]}).encode(),
        lambda good, other: json.dumps({**json.loads(good), "request": json.loads(other)["request"]}).encode(),
        lambda good, other: b"[]",
        lambda good, other: b"{}",
        lambda good, other: b"\xff" + good,
    ],
)
def test_a_damaged_file_is_noticed_and_replaced(server, endpoint, damage):
    for content in "ba":
        (reply,) = complete(endpoint, [chat(content)], 1)
    contents = [file.read_bytes() for file in files(endpoint)]
    good, other = sorted(contents, key=lambda c: b"echo b" in c)
    (path,) = (file for file in files(endpoint) if file.read_bytes() == good)
    path.write_bytes(damage(good, other))
    (again,) = complete(endpoint, [chat("a")], 1)
    assert again == reply and not again.cached and server.asked["a"] == 2
    assert path.read_bytes() == good and len(files(endpoint)) == 2


def test_a_folder_that_cannot_be_made_or_written_is_an_error(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot make the folder .*: give cache another path"):
        complete(Endpoint(server.url, "m", cache=tmp_path / "file" / "replies"), [chat("a")], 1)
    monkeypatch.setattr(module.os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    endpoint = Endpoint(server.url, "m", cache=tmp_path / "replies")
    with pytest.raises(OSError, match="disk full"):
        complete(endpoint, [chat("a")], 1)
    assert files(endpoint) == []


def test_replies_are_kept_beside_the_models_unless_told_otherwise(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NBHELPERS_CACHE", str(tmp_path))
    assert Endpoint(server.url, "m").cache == tmp_path / "replies"
    complete(Endpoint(server.url, "m", cache=None), [chat("a")], 1)
    assert list(tmp_path.iterdir()) == []


# --- Interruptions ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as at a keyboard: a job in the background begins with it switched off, and these tests send it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with Ctrl-C switched off
from nbhelpers.endpoint import Endpoint, complete
chats = [[{"role": "user", "content": str(i)}] for i in range(6)]
complete(Endpoint(sys.argv[1], "m", cache=sys.argv[2], concurrency=2), chats, 1)
"""


def three_then_none(server):
    def answer(content, before):
        if int(content) >= 3:
            server.release.wait(20)
        return completion(f"echo {content}")

    return answer


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_program_ends_at_once_and_the_next_asks_only_for_the_rest(server, endpoint, end):
    server.answer = three_then_none(server)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, endpoint.base_url, str(endpoint.cache)], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: len(server.bodies) == 5 and len(files(endpoint)) == 3)
        started = time.monotonic()
        child.send_signal(end)
        _, told = child.communicate(timeout=10)
        assert time.monotonic() - started < 5 and child.returncode == -end
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
    server.answer = lambda content, before: (429, {"Retry-After": "60"}, b"")

    def interrupt():
        wait_until(lambda: server.bodies)
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = threading.active_count()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        complete(endpoint, [chat("?")], 1)
    wait_until(lambda: not [t for t in threading.enumerate() if "(work)" in t.name])
    assert threading.active_count() <= before + 2 and len(server.bodies) == 1


# --- Bad arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"base_url": "localhost:8000/v1"}, ValueError, "base_url='localhost:8000/v1': give the whole address"),
        ({"base_url": "http://"}, ValueError, "give the whole address"),
        ({"base_url": "ftp://localhost/v1"}, ValueError, "give the whole address"),
        ({"base_url": "http://localhost:port/v1"}, ValueError, "give the whole address"),
        ({"base_url": "http://local host/v1"}, ValueError, "give the whole address"),
        ({"base_url": f"http://me:{KEY}@localhost/v1"}, ValueError, "a user name, a password or a query"),
        ({"base_url": f"me:{KEY}@localhost/v1"}, ValueError, "a user name, a password or a query"),
        ({"base_url": f"https://localhost/v1?key={KEY}"}, ValueError, "a user name, a password or a query"),
        ({"base_url": None}, TypeError, "base_url must be text, not NoneType"),
        ({"model": " "}, ValueError, "model is empty"),
        ({"model": Path("m")}, TypeError, "model must be text, not PosixPath"),
        ({"key_variable": KEY}, ValueError, "give the name of the variable that holds the key"),
        ({"concurrency": 0}, ValueError, "concurrency=0"),
        ({"concurrency": 2.0}, ValueError, "concurrency=2.0"),
        ({"timeout": 0}, ValueError, "timeout=0"),
        ({"timeout": math.nan}, ValueError, "timeout=nan"),
        ({"retries": -1}, ValueError, "retries=-1"),
        ({"cache": 7}, TypeError, "cache=7"),
    ],
)
def test_a_bad_endpoint_is_named(options, error, message):
    with pytest.raises(error, match=message) as caught:
        Endpoint(**{"base_url": "http://[::1]:8000/v1", "model": "m", **options})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "chats, options, error, message",
    [
        ("Hello", {}, TypeError, "chats must be a list of chats such as .*, not 'Hello'"),
        (chat("Hello"), {}, TypeError, "chats is a single chat: for one chat give a list of one"),
        ({"role": "user"}, {}, TypeError, "chats must be a list of chats"),
        ([chat("a"), "Hello"], {}, TypeError, "chat 1 must be a list of messages such as .*, not 'Hello'"),
        ([[]], {}, ValueError, "chat 0 has no messages"),
        ([[{"role": "user", "content": None}]], {}, TypeError, "chat 0 must be a list of messages"),
        ([[{"role": "user"}]], {}, TypeError, "chat 0 must be a list of messages"),
        ([[{"role": "robot", "content": "a"}]], {}, ValueError, "chat 0 has the role 'robot': give one of system,"),
        ([[{"content": "a"}]], {}, ValueError, "chat 0 has the role None"),
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
