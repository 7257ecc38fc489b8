"""A server inside the test process that answers as a test tells it to, and what tests need to use it."""

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nbhelpers.servers import Endpoint

KEY = "sk-not-a-real-key-0123456789"


def chat(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def completion(text, logprobs=None, finish_reason="stop") -> dict:
    """What a server's JSON looks like."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": logprobs}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


def entry(token: str, logprob, **alternatives) -> dict:
    """One token of a completion's log-probabilities."""
    top = [{"token": t, "logprob": p, "bytes": None} for t, p in alternatives.items()]
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": top}


class ScriptedServer:
    """A server that answers each request with `answer(content of the chat, how often it was asked before)`.

    An answer is a dict (sent as JSON), a tuple of status, headers and bytes, or a function that gets the connection's
    file and writes to it what it likes. The server records what it was asked. It listens on 127.0.0.1 only.
    """

    def __init__(self) -> None:
        self.answer = lambda content, before: completion(f"echo {content}")
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.release = threading.Event()  # set by the test, or when the server is shut down
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
                if callable(answer):
                    self.close_connection = True
                    with suppress(OSError):  # the client has given up
                        answer(self.wfile)
                    return
                if isinstance(answer, dict):
                    answer = (200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
                status, headers, content = answer
                try:
                    self.send_response(status)
                    for name, value in ({"Content-Length": str(len(content))} | headers).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    pass  # the client has given up
                self.close_connection = "Content-Length" in headers  # the test wants a truncated reply

            def log_message(self, *arguments) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def asked(self) -> Counter:
        """How often each content was asked."""
        return Counter(body["messages"][-1]["content"] for body in self.bodies)

    def close(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()


def refusal(text) -> dict:
    body = completion(None)
    body["choices"][0]["message"]["refusal"] = text
    return body


def error_body(message, **fields) -> bytes:
    """OpenAI's form of an error."""
    return json.dumps({"error": {"message": message, "type": None, "param": None, "code": None, **fields}}).encode()


def trickle(head: bytes, piece: bytes, release: threading.Event):
    """An answer that begins with `head` and then sends `piece` for 20 s, or until the server is released."""

    def write(file) -> None:
        file.write(head)
        for _ in range(1000):
            if release.wait(0.02):
                break
            file.write(piece)
            file.flush()

    return write


def files(endpoint: Endpoint) -> list[Path]:
    """What lies in the endpoint's cache, temporary folders included."""
    return sorted(Path(endpoint.cache).glob("*"))


def wait_until(condition) -> None:
    """Wait for `condition()`; fail rather than hang."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
