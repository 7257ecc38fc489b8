"""What could be faster on a GPU: tokens in a forward pass, slices of the head, and attention that skips hidden keys.

None of this changes the package. The figures say which change would pay.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import workloads

import nbhelpers as nb
from nbhelpers.engine import attention as engine_attention
from nbhelpers.engine import head, packed
from nbhelpers.engine.prefix_tree import Chunk, PrefixTree, build_tree, cut_chunks

if TYPE_CHECKING:
    from gpu_tools import InProcess

Save = Callable[[Any], None]
# Of each setting, the fastest of this many runs after the first counts: the question is what is possible.
REPEATS = 3


def budgets(ours: InProcess, questions: int, save: Save) -> dict[str, dict[str, float]]:
    """Seconds for A and for E over disjoint windows, by the number of tokens in a forward pass."""
    tiny = ours.device == "cpu"
    prompts, answers = zip(*workloads.requests("A", questions), strict=True)
    found: dict[str, dict[str, float]] = {"A": {}, "E": {}}
    jobs = {
        "A": lambda budget: nb.score_answers(ours.lm, prompts, answers, token_budget=budget),
        "E": lambda budget: nb.perplexity(ours.lm, workloads.long_text(), 1024, 1024, token_budget=budget),
    }
    sizes = {"A": (1_024, 2_048, 4_096, 8_192), "E": (4_096, 8_192, 16_384, 32_768)}
    for workload, job in jobs.items():
        for size in sizes[workload][:1] if tiny else sizes[workload]:
            found[workload][str(size)] = fastest(lambda job=job, size=size: job(size), ours.device, tiny)
            save(found)
    return found


def slices(ours: InProcess, questions: int, save: Save) -> dict[str, float]:
    """Seconds for E over disjoint windows, by states and words of a slice of the head."""
    tiny = ours.device == "cpu"
    usual = head.SLICE_ELSEWHERE, head.SLICE_ON_CPU
    found = {}
    candidates = [(2_048, 8_192), (1_024, 8_192), (2_048, 4_096), (1_024, 6_144), (512, 8_192), (512, 16_384)]
    try:
        for states, words in candidates[:1] if tiny else candidates:
            head.SLICE_ELSEWHERE = head.SLICE_ON_CPU = states, words
            run = lambda: nb.perplexity(ours.lm, workloads.long_text(), 1024, 1024)  # noqa: E731
            found[f"{states:,} x {words:,}"] = fastest(run, ours.device, tiny)
            save(found)
    finally:
        head.SLICE_ELSEWHERE, head.SLICE_ON_CPU = usual
    return found


def blocks(ours: InProcess, questions: int, save: Save) -> dict[str, dict[str, float]]:
    """Seconds for A with attention in blocks of queries, which the engine has on a CPU only, and what it changes.

    A block of queries attends to the keys that any of them may see. "off" is one call for all, with the mask.
    """
    prompts, answers = zip(*workloads.requests("A", questions), strict=True)
    usual = packed.attention_in_blocks, engine_attention.ATTENTION_BLOCK
    found: dict[str, dict[str, float]] = {}
    first: list[float] = []
    try:
        for size in (None, 128) if ours.device == "cpu" else (None, 256, 512, 1_024, 2_048):
            packed.attention_in_blocks = lambda model, on_cpu, size=size: usual[0](model, size is not None)
            engine_attention.ATTENTION_BLOCK = size or usual[1]
            totals = [score.total for score in nb.score_answers(ours.lm, prompts, answers)]
            first = first or totals
            run = lambda: nb.score_answers(ours.lm, prompts, answers)  # noqa: E731
            found["off" if size is None else str(size)] = {
                "seconds": fastest(run, ours.device, ours.device == "cpu"),
                "apart": max(abs(a - b) for a, b in zip(first, totals, strict=True)),
            }
            save(found)
    finally:
        packed.attention_in_blocks, engine_attention.ATTENTION_BLOCK = usual
    return found


def flex(ours: InProcess, questions: int, save: Save) -> list[dict[str, Any]]:
    """One layer's attention over a chunk of A's tree: sdpa with the mask, as the engine has it, against FlexAttention.

    On a CPU, FlexAttention is not compiled: then only its numbers mean anything.
    """
    config, tiny = ours.lm.model.config, ours.device == "cpu"
    tree = tree_of(ours.lm, questions)
    found: list[dict[str, Any]] = []
    for budget in (256,) if tiny else (2_048, 4_096, 8_192):
        # The widest chunk that has a path before it, if there is one.
        chunk = max(cut_chunks(tree, budget), key=lambda chunk: (chunk.end - chunk.begin, len(chunk.path)))
        found.append({"budget": budget, **one_layer(tree, chunk, config, ours.device, tiny)})
        save(found)
    return found


def tree_of(lm: nb.LanguageModel, questions: int) -> PrefixTree:
    texts = ["".join(pair) for pair in workloads.requests("A", questions)]
    return build_tree([np.array(lm.tokenizer(text)["input_ids"][:-1], dtype=np.int32) for text in texts])


def one_layer(tree: PrefixTree, chunk: Chunk, config: Any, device: str, tiny: bool) -> dict[str, Any]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    queries, keys = chunk.end - chunk.begin, len(chunk.path) + chunk.end - chunk.begin
    heads, key_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    torch.manual_seed(0)
    dtype = torch.float32 if tiny else torch.bfloat16
    q = torch.randn(1, heads, queries, width, device=device, dtype=dtype)  # (1, heads, nodes, width)
    k, v = torch.randn(2, 1, key_heads, keys, width, device=device, dtype=dtype)  # (1, key heads, path + nodes, width)
    visible = tree_rule(tree, chunk, device)
    mask = whole_mask(visible, queries, keys, device)[None, None]  # (1, 1, nodes, path + nodes)
    grouped = {"enable_gqa": heads != key_heads}

    def with_mask() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, **grouped)

    begun = time.perf_counter()
    block_mask = create_block_mask(visible, None, None, queries, keys, device=device)
    made = time.perf_counter() - begun
    attend = flex_attention if tiny else torch.compile(flex_attention, dynamic=True)

    def in_blocks() -> torch.Tensor:
        return attend(q, k, v, block_mask=block_mask, **grouped)

    begun = time.perf_counter()
    expected, got = with_mask(), in_blocks()
    finish(device)
    first = time.perf_counter() - begun
    return {
        "queries": queries,
        "keys": keys,
        "pairs_visible": mask.float().mean().item(),
        "blocks_visited": 1 - block_mask.sparsity() / 100,
        "apart": (expected.float() - got.float()).abs().max().item(),
        "sdpa_seconds": fastest(with_mask, device, tiny),
        "flex_seconds": fastest(in_blocks, device, tiny),
        "flex_first_call_seconds": first,
        "block_mask_seconds": made,
    }


def tree_rule(tree: PrefixTree, chunk: Chunk, device: str) -> Callable[..., torch.Tensor]:
    """FlexAttention's rule for a tree: a node sees those whose subtree it is in.

    Key k is an ancestor of query q, or q itself, if the walk enters k no later than q and leaves it later.
    """
    nodes = np.concatenate([chunk.path, np.arange(chunk.begin, chunk.end)])  # the keys, in the order of the cache
    entry, leave = (torch.from_numpy(column).to(device) for column in (nodes, tree.exits[nodes]))
    first = len(chunk.path)

    def visible(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        own = entry[query + first]
        return (entry[key] <= own) & (own < leave[key])

    return visible


def whole_mask(visible: Callable[..., torch.Tensor], queries: int, keys: int, device: str) -> torch.Tensor:
    """A rule as a mask, bool (queries, keys)."""
    nothing = torch.zeros((), dtype=torch.long, device=device)
    return visible(nothing, nothing, torch.arange(queries, device=device)[:, None], torch.arange(keys, device=device))


def finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def fastest(run: Callable[[], Any], device: str, once: bool) -> float:
    """Seconds of the fastest run after a first one, which prepares."""
    times = []
    for _ in range(1 if once else 1 + REPEATS):
        finish(device)
        begun = time.perf_counter()
        run()
        finish(device)
        times.append(time.perf_counter() - begun)
    return min(times[1:] or times)


LEVERS = {
    "tokens in a pass": budgets,
    "slices of the head": slices,
    "attention in blocks": blocks,
    "FlexAttention": flex,
}
