"""Time scoring on our engine against scoring through a vLLM server on the same machine.

Run `make test-vllm` once, which installs vLLM for the CPU; then `.venv/bin/python benchmarks/through_vllm.py --help`.
The workload is A of bench.py: five solved examples before every question, four answers to each. The server starts once;
start-up counts for neither side. In a round, our engine scores all requests, then the server does, `--concurrency` at a
time and without a cache on our side. Ratios are taken within a round, and the median counts. Every total is compared.
Beside the time on the clock stands the processor's, which other load on the machine changes little, and the number of
tokens that there are to read.

`--forms` also compares ways to ask vLLM for the same numbers, one after the other in each round: bytes that come back,
and the server's processor time. Results go to results-vllm.json, a table to the screen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
import workloads
from vllm_recording import post
from vllm_server import NAME, Served, serving

import nbhelpers as nb
from nbhelpers.embedded import embedded_folder

HERE = Path(__file__).parent
SERVER = HERE.parent / "tests/real_vllm/.venv/bin/python"
LOGPROBS = {"echo": True, "max_tokens": 0, "temperature": 0.0}
# The same numbers, asked for in other ways: fields of a request, and how many texts go into one.
FORMS: dict[str, tuple[dict[str, Any], int]] = {
    "prompt_logprobs=0, one text (ours)": ({**LOGPROBS, "prompt_logprobs": 0, "return_token_ids": True}, 1),
    "the same, 16 texts in a request": ({**LOGPROBS, "prompt_logprobs": 0, "return_token_ids": True}, 16),
    "echo with logprobs=0": ({**LOGPROBS, "logprobs": 0}, 1),
    "echo with logprobs=1, one token written": ({**LOGPROBS, "logprobs": 1, "max_tokens": 1}, 1),
    "prompt_logprobs=5": ({**LOGPROBS, "prompt_logprobs": 5, "return_token_ids": True}, 1),
}


def measured(call: Callable[[], Any], processor: Callable[[], float]) -> tuple[dict[str, float], Any]:
    """Seconds on the clock and of the processor, and what the call returned."""
    begun, used = time.perf_counter(), processor()
    result = call()
    return {"clock": time.perf_counter() - begun, "processor": processor() - used}, result


def in_form(server: Served, name: str, texts: list[str], concurrency: int) -> int:
    """Ask about all texts in one of the forms; returns the bytes of the replies."""
    fields, together = FORMS[name]
    root = server.url.removesuffix("/v1")
    groups = [texts[begin : begin + together] for begin in range(0, len(texts), together)]

    def ask(group: list[str]) -> int:
        prompt = group[0] if together == 1 else group
        status, reply = post(root, "/v1/completions", {"model": NAME, "prompt": prompt, **fields}, timeout=600)
        if status != 200:
            sys.exit(f"{name}: the server answered {status}: {reply}")
        return len(json.dumps(reply))

    with ThreadPoolExecutor(max(1, concurrency // together)) as pool:
        return sum(pool.map(ask, groups))


def count_tokens(lm: nb.LanguageModel, requests: list[tuple[str, str]]) -> dict[str, int]:
    """Tokens of all requests, and distinct prefixes among them: what must be read, with and without sharing."""
    rows = [tuple(lm.tokenizer(prompt + answer)["input_ids"]) for prompt, answer in requests]
    return {"all": sum(map(len, rows)), "distinct": len({row[:end] for row in rows for end in range(1, len(row) + 1)})}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20, help="four requests each, default %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at once, default %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of either side, default %(default)s")
    parser.add_argument("--forms", action="store_true", help="compare forms of request as well")
    parser.add_argument("--python", default=str(SERVER), help="of the environment with vLLM, default %(default)s")
    parser.add_argument("--results", type=Path, default=HERE / "results-vllm.json", help="default %(default)s")
    options = parser.parse_args()
    if not Path(options.python).exists():
        sys.exit(f"there is no {options.python}: run make test-vllm first, or give --python")
    torch.set_num_threads(options.threads)
    lm = nb.load_model(device="cpu", dtype="float32")
    requests = workloads.shared_examples(options.questions)
    prompts, answers = map(list, zip(*requests, strict=True))
    texts = [prompt + answer for prompt, answer in requests]
    result: dict[str, Any] = {
        "requests": len(requests),
        "concurrency": options.concurrency,
        "threads": options.threads,
        "tokens": count_tokens(lm, requests),
        "rounds": [],
    }
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "log"
        with serving(
            embedded_folder(), log, "--max-model-len", "2048", python=options.python, threads=options.threads
        ) as server:
            endpoint = nb.Endpoint(server.url, NAME, cache=None, concurrency=options.concurrency, timeout=600)
            nb.score_answers(lm, prompts[:4], answers[:4])  # neither side's first call counts
            nb.score_answers(endpoint, "Passage:", [" a"])
            for number in range(options.rounds):
                ours, here = measured(lambda: nb.score_answers(lm, prompts, answers), time.process_time)
                theirs, there = measured(lambda: nb.score_answers(endpoint, prompts, answers), server.processor_seconds)
                furthest = max(abs(a.total - b.total) for a, b in zip(here, there, strict=True))
                one = {"nbhelpers": ours, "vllm": theirs, "largest_difference": furthest}
                if options.forms:
                    one["forms"] = {}
                    for name in FORMS:
                        seconds, size = measured(
                            lambda name=name: in_form(server, name, texts, options.concurrency),
                            server.processor_seconds,
                        )
                        one["forms"][name] = {**seconds, "bytes": size}
                result["rounds"].append(one)
                options.results.write_text(json.dumps(result, indent=1) + "\n")
                print(f"round {number + 1}: nbhelpers {ours['clock']:.1f} s, vLLM {theirs['clock']:.1f} s", flush=True)
    print(report(result))


def report(result: dict[str, Any]) -> str:
    """Markdown tables of what was measured."""
    rounds = result["rounds"]
    clock, processor = (
        [one["vllm"][kind] / one["nbhelpers"][kind] for one in rounds] for kind in ("clock", "processor")
    )
    seconds = {side: median(one[side]["clock"] for one in rounds) for side in ("nbhelpers", "vllm")}
    furthest = max(one["largest_difference"] for one in rounds)
    lines = [
        "| requests | tokens, all | tokens, distinct | vLLM | ours | times | by processor time | largest difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| {result['requests']} | {result['tokens']['all']:,} | {result['tokens']['distinct']:,} | "
        f"{seconds['vllm']:.1f} s | {seconds['nbhelpers']:.1f} s | "
        f"**{median(clock):.1f}** ({min(clock):.1f} to {max(clock):.1f}) | {median(processor):.1f} | "
        f"{furthest:.1g} nats |",
    ]
    if "forms" in rounds[0]:
        lines += ["", "| form of request | KB that come back | processor seconds of the server | clock |"]
        lines += ["| --- | --- | --- | --- |"]
        for name in FORMS:
            found = {
                kind: median(one["forms"][name][kind] for one in rounds) for kind in ("bytes", "processor", "clock")
            }
            lines.append(
                f"| {name} | {found['bytes'] / 1000:,.0f} | {found['processor']:.2f} | {found['clock']:.2f} s |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
