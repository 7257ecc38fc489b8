"""A stand-in for a server of OpenAI's protocol, on loopback, that serves a model whose answers are known."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nbhelpers.conformance.truth import Truth
from nbhelpers.conformance.vocabulary import encode, vocabulary

NAMES = list(vocabulary())


class CompletionsServer:
    """Answers ``POST /v1/completions``. A test may set `spoil`, which takes the JSON and returns JSON or bytes.

    Its own shape is vLLM's: every token of the text, BOS included, a null for the first, and one token it generated.
    """

    def __init__(self, architecture: str) -> None:
        self.truth, self.spoil, self.status = Truth(architecture), lambda body: body, 200
        self.bodies, self.headers = [], []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.bodies.append(asked)
                served.headers.append(dict(self.headers.items()))
                content = served.spoil(served.answer(asked))
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(served.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, asked: dict) -> dict:
        texts = [asked["prompt"]] if isinstance(asked["prompt"], str) else asked["prompt"]
        choices = [self.choice(index, text) for index, text in enumerate(texts)]
        return {"object": "text_completion", "model": asked["model"], "choices": choices[::-1]}  # in any order

    def choice(self, index: int, text: str) -> dict:
        start = [self.truth.architecture.start_id] * self.truth.own_starts
        ids = encode(text)
        ids = ids if ids[:1] == start else start + ids
        logprobs = [None]
        if len(ids) <= 128:
            table = self.truth._table(ids)
            ids = [*ids, int(table[-1].argmax())]
            logprobs += [float(table[i - 1, ids[i]]) for i in range(1, len(ids))]
        else:
            raise ValueError("too long")  # the connection breaks, as it does when a server fails
        tokens = [NAMES[token] for token in ids]
        return {"index": index, "text": text, "logprobs": {"tokens": tokens, "token_logprobs": logprobs}}

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
