"""Requests and runs of lm-evaluation-harness, with our model and with its own `hf`, for tests/harness."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbhelpers as nb

TASKS = Path(__file__).parent / "harness" / "tasks"


def instances(*arguments: tuple) -> list[Any]:
    """Requests as the harness hands them to a model."""
    return [
        SimpleNamespace(args=args, task_name="own", doc_id=number, idx=0, repeats=1)
        for number, args in enumerate(arguments)
    ]


def hf_of(lm: nb.LanguageModel, **options: Any):
    """lm-eval's own model around the same weights."""
    from lm_eval.models.huggingface import HFLM

    settings = {"logits_cache": False, "batch_size": 4, **options}
    return HFLM(lm.model, tokenizer=copy.deepcopy(lm.tokenizer), **settings)


def evaluate(model: Any, task: str, **options: Any) -> dict[str, Any]:
    """One of our tasks; the working folder must be `TASKS`, because its files name their data relative to it."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    return lm_eval.simple_evaluate(model=model, tasks=[task], task_manager=manager, bootstrap_iters=0, **options)


def answers(results: dict[str, Any], task: str) -> list[Any]:
    """What the model returned, for each document each choice."""
    return [
        response[0]
        for sample in sorted(results["samples"][task], key=lambda s: s["doc_id"])
        for response in sample["resps"]
    ]
