"""`complete` and a judge against a real server, ``transformers serve`` with the embedded model."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from scripted_server import chat

import nbhelpers as nb
from nbhelpers.embedded import embedded_folder
from nbhelpers.judging.templates import YES_NO
from nbhelpers.servers import Endpoint, complete

QUESTIONS = [chat("What is the capital of France?"), chat("Name a colour.")]


@contextmanager
def transformers_serve(model: str, log: Path):
    """Run ``transformers serve`` and yield its base URL; the process is gone afterwards, whatever happens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    # One thread: on a busy machine, threads that wait for each other are many times slower.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        until = time.monotonic() + 120
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


@pytest.mark.server
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
