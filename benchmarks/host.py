"""What a request costs outside the model: `.venv/bin/python benchmarks/host.py`, or `--parts host` of bench.py.

The model has one layer of width 16 and random weights, so that little but our own work is left: workload A, one thread,
processor time. The model's forward pass and its head are counted apart, because they are the model's arithmetic; all
the rest is the **host's share**. `--growth` takes ten and a hundred times as many requests, each in a fresh process.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before anything with threads is imported; where bench.py imports this, threads are its own
    os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import workloads
from worker import peak_of_memory, start_of_memory

# Our functions by what they do, as module.function below nbhelpers. Time inside another of them counts for that one.
STEPS = {
    "checks of the input": ["scoring.pair_up"],
    "encoding": ["scoring.encode_items"],
    "tree": ["engine.run.request_tree"],
    "places of the results": ["engine.packed._walk", "engine.packed.last_nodes"],
    "masks": ["engine.packed.chunk_mask"],
    "forward passes": ["engine.packed._read_chunk"],
    "head and softmax": ["engine.packed.reduce_states", "engine.plain.reduce_states"],
    "spot check, its forward pass included": ["engine.verify.require_agreement"],
    "results": ["scoring._answer_score"],
}
OF_THE_MODEL = ("forward passes", "head and softmax")
REST = "everything else"
SIZES = (250, 2_500, 25_000)  # questions, of four requests each
ROUNDS = 5


class Clock:
    """Processor time by step, each moment counted once: for the innermost step that is running."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.running = [REST]
        self.since = time.process_time()

    def switch(self) -> None:
        now = time.process_time()
        self.seconds[self.running[-1]] = self.seconds.get(self.running[-1], 0.0) + now - self.since
        self.since = now

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def measured(*arguments: Any, **options: Any) -> Any:
            self.switch()
            self.running.append(step)
            try:
                found = function(*arguments, **options)
                return list(found) if hasattr(found, "__next__") else found  # the work of a generator counts here
            finally:
                self.switch()
                self.running.pop()

        return measured


def one_layer() -> Any:
    """A model of one layer, 16 wide, with the embedded model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    import nbhelpers as nb
    from nbhelpers.embedded import embedded_folder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(embedded_folder())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2_048,
    )
    return nb.wrap_model(LlamaForCausalLM(config), tokenizer, "one layer")


def numbered_questions(questions: int) -> list[workloads.Request]:
    """A with a number before each question: the passages are too short for thousands of different ones."""
    numbered = []
    for i, (prompt, answer) in enumerate(workloads.requests("A", questions)):
        examples, passage, asked = prompt.rpartition("Passage:")
        numbered.append((f"{examples}{passage} {i // workloads.CHOICES}. {asked.strip()}", answer))
    return numbered


def measure(questions: int, rounds: int) -> dict[str, Any]:
    """Seconds of processor time by step, in each round, and the peak of memory above the loaded model."""
    import importlib

    import nbhelpers as nb

    lm = one_layer()
    nb.score_answers(lm, *zip(*workloads.requests("A", 10), strict=True))  # tries the engine out
    before = start_of_memory("cpu")
    prompts, answers = zip(*numbered_questions(questions), strict=True)
    clock = Clock()
    for step, names in STEPS.items():
        for name in names:
            module, _, function = f"nbhelpers.{name}".rpartition(".")
            module = importlib.import_module(module)
            setattr(module, function, clock.timed(step, getattr(module, function)))
    found = []
    for _ in range(rounds):
        clock.seconds, clock.since = {}, time.process_time()
        nb.score_answers(lm, prompts, answers)
        clock.switch()
        found.append(clock.seconds)
    return {"requests": len(prompts), "rounds": found, "extra_bytes": peak_of_memory("cpu") - before}


def in_its_own_process(questions: int, rounds: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--questions", str(questions), "--rounds", str(rounds), "--json"]
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONPATH": path})
    return json.loads(done.stdout)


def measure_sizes() -> list[dict[str, Any]]:
    """1,000 requests several times, then 10,000 and 100,000 (some minutes)."""
    return [in_its_own_process(size, ROUNDS if size == SIZES[0] else 1) for size in SIZES]


def milliseconds(found: dict[str, Any], step: str) -> list[float]:
    """Processor time of a step per request, in each round."""
    return [1_000 * seconds.get(step, 0.0) / found["requests"] for seconds in found["rounds"]]


def share_of_host(found: dict[str, Any]) -> list[float]:
    """Milliseconds a request, in each round, that are not the model's."""
    times = [milliseconds(found, step) for step in (*STEPS, REST) if step not in OF_THE_MODEL]
    return [sum(steps) for steps in zip(*times, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=SIZES[0], help="of A, four requests each (default 250)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often (default {ROUNDS})")
    parser.add_argument("--growth", action="store_true", help="1,000, 10,000 and 100,000 requests")
    parser.add_argument("--json", action="store_true", help="print what was measured, for bench.py")
    options = parser.parse_args()
    runs = measure_sizes() if options.growth else [measure(options.questions, options.rounds)]
    if options.json:
        print(json.dumps(runs[0]))
        return
    from report import host

    print(host(runs))


if __name__ == "__main__":
    main()
