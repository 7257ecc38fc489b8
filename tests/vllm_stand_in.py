"""Stand-ins for vLLM, on loopback, for tests that cannot wait for the real one."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from conformance_backends import truth_of
from vllm_recording import recorded

from nbhelpers.conformance.vocabulary import LETTERS, SPECIAL, encode, vocabulary

NAMES = list(vocabulary())
LONGEST = 127  # tokens of a prompt that vLLM takes from a model of 128

Answer = tuple[int, object]  # status, and what is sent as JSON, or bytes


class VllmStandIn:
    """Answers what `answer(path, body)` returns. A test may set `spoil`, which takes status and JSON and changes them.

    `asked` holds the path and the body of every request, `headers` its headers. While `gate` is cleared, requests wait.
    """

    def __init__(self, answer: Callable[[str, dict], Answer]) -> None:
        self.answer, self.spoil = answer, lambda path, body, status, reply: (status, reply)
        self.asked, self.headers = [], []
        self.gate = threading.Event()
        self.gate.set()
        served, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    served.asked.append((self.path, body))
                    served.headers.append(dict(self.headers.items()))
                    status, reply = served.answer(self.path, body)
                served.gate.wait(30)
                status, reply = served.spoil(self.path, body, status, reply)
                content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                with suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *arguments) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def prompts(self) -> list:
        """What was asked about, in the order in which it came."""
        return [body["prompt"] for _, body in self.asked]

    def close(self) -> None:
        self.gate.set()
        self.http.shutdown()
        self.http.server_close()


def from_recording(architecture: str) -> Callable[[str, dict], Answer]:
    """The real server's own answers, to nothing but what it was asked."""
    known = {(one["path"], _key(one["request"])): (one["status"], one["reply"]) for one in recorded()[architecture]}

    def answer(path: str, body: dict) -> Answer:
        body = {name: value for name, value in body.items() if name != "model"}
        return known.get((path, _key(body)), (501, {"error": {"message": f"not recorded: {path} {_key(body)}"}}))

    return answer


def _key(body: dict) -> str:
    return json.dumps(body, sort_keys=True)


def from_truth(architecture: str) -> Callable[[str, dict], Answer]:
    """A model whose answers are known, in vLLM's words, for whatever is asked."""
    truth = truth_of(architecture)
    start = [truth.architecture.start_id] * truth.own_starts

    def answer(path: str, body: dict) -> Answer:
        prompt, own = body["prompt"], body.get("add_special_tokens", True)
        ids = prompt if isinstance(prompt, list) else (start if own else []) + encode(prompt)
        if path == "/tokenize":
            return 200, {"count": len(ids), "max_model_len": LONGEST + 1, "tokens": ids, "token_strs": None}
        if len(ids) > LONGEST:
            return 400, {"error": {"message": "This model's maximum context length is 128 tokens", "code": 400}}
        table, spelled = truth._table(ids), spell(ids)
        entries = [None]
        for place in range(1, len(ids)):
            row = table[place - 1]
            logprob, rank = float(row[ids[place]]), int((row > row[ids[place]]).sum()) + 1
            entries.append({str(ids[place]): {"logprob": logprob, "rank": rank, "decoded_token": spelled[place]}})
        choice = {"index": 0, "text": "", "logprobs": None, "prompt_logprobs": entries, "prompt_token_ids": ids}
        return 200, {"object": "text_completion", "model": body["model"], "choices": [choice]}

    return answer


def spell(ids: list[int]) -> list[str]:
    """Each token as vLLM spells it: nothing for all but the last of the tokens that share a character."""
    spelled, held = [], b""
    for token in ids:
        name = NAMES[token]
        held += name.encode() if name in SPECIAL else bytes(map(LETTERS.index, name))
        try:
            spelled.append(held.decode())
            held = b""
        except UnicodeDecodeError:
            spelled.append("")
    return spelled
