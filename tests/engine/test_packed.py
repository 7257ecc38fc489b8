"""The packed engine on models of many kinds: the oracle's numbers, with nothing read twice."""

import oracle
import pytest
import torch
from cases import matches_the_oracle, random_requests
from tiny_models import WIDER, make_model, model_of

import nbhelpers as nb
from nbhelpers.engine import head, verify


@pytest.mark.parametrize(
    "architecture, options",
    [
        ("Granite", {**WIDER, "logits_scaling": 3.0}),  # logits are scaled after the head
        ("Gemma2", {**WIDER, "head_dim": 8, "sliding_window": 64}),  # and capped
        ("Llama", {**WIDER, "attn_implementation": "eager"}),  # adds the mask instead of asking it
    ],
)
def test_other_kinds_of_models_can_be_packed(architecture, options):
    lm = model_of(architecture, **options)
    prompts, answers = random_requests(1)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="packed", token_budget=17)


def test_requests_of_one_repeated_token_are_tried_out_too(tiny, tiny64):
    prompts, answers = [" the the the the"] * 9, [" the" * n for n in range(1, 10)]
    assert matches_the_oracle(tiny, tiny64, prompts, answers, engine="packed", token_budget=5)


def test_bfloat16_is_packed_and_stays_near_float32(gpt2):
    half = nb.wrap_model(make_model("llama", len(gpt2.tokenizer)).bfloat16(), gpt2.tokenizer, "half")
    full = nb.wrap_model(make_model("llama", len(gpt2.tokenizer)), gpt2.tokenizer, "full")
    prompts, answers = random_requests(5)
    ours, theirs = (nb.score_answers(lm, prompts, answers, engine="packed") for lm in (half, full))
    apart = [abs(a.mean - b.mean) for a, b in zip(ours, theirs, strict=True)]
    assert sum(apart) / len(apart) < 0.1


def test_every_distinct_prefix_is_read_once(gpt2, monkeypatch):
    read = []
    original = gpt2.model.transformer.forward
    monkeypatch.setattr(
        gpt2.model.transformer,
        "forward",
        lambda *args, **options: read.append(options.get("input_ids", *args[:1])) or original(*args, **options),
    )
    answers = [" of France", " of Germany", " of", " of France"]
    nb.score_answers(gpt2, "The capital", answers, engine="packed")  # the first call tries the engine out
    read.clear()
    nb.score_answers(gpt2, "The capital", answers, engine="packed")
    rows = [gpt2.tokenizer.encode("The capital" + answer)[:-1] for answer in answers]
    assert sum(ids.numel() for ids in read) == len({tuple(row[: i + 1]) for row in rows for i in range(len(row))})


def test_many_answers_after_one_prompt_ask_for_its_logits_once(gpt2, monkeypatch):
    seen = []
    original = gpt2.model.lm_head.forward
    letters = [f" {letter}" for letter in "ABCDEFGHIJ"]
    monkeypatch.setattr(gpt2.model.lm_head, "forward", lambda x: seen.append(len(x)) or original(x))
    nb.score_answers(gpt2, "The end", letters, engine="packed")  # the first call tries the engine out
    seen.clear()
    monkeypatch.setattr(verify, "SPOT_CHECK_FROM", 100)  # or one request is read a second time
    monkeypatch.setattr(head, "LOGIT_ROWS", 3)  # fewer than the answers: the pairs of one node are split, too
    scores = nb.score_answers(gpt2, "The end", letters, engine="packed")
    distinct = {
        tuple(gpt2.tokenizer.encode("The end" + a)[: -len(s.token_ids) + i])
        for a, s in zip(letters, scores, strict=True)
        for i in range(len(s.token_ids))
    }
    assert sum(seen) == len(distinct)


def test_no_chunk_waits_for_a_result(gpt2, monkeypatch):
    """A GPU would stand still while Python waits, and then while Python prepares the next chunk."""
    prompts, answers = random_requests(7)
    nb.score_answers(gpt2, prompts, answers, engine="packed", token_budget=9)  # the first call tries the engine out
    fetched, original = [], verify.score_packed

    def watched(*arguments):
        with monkeypatch.context() as patch:
            for name in ("cpu", "item", "tolist", "numpy", "__bool__", "__int__", "__float__"):
                method = getattr(torch.Tensor, name)
                patch.setattr(
                    torch.Tensor, name, lambda *a, name=name, method=method: fetched.append(name) or method(*a)
                )
            return original(*arguments)

    monkeypatch.setattr(verify, "score_packed", watched)
    nb.score_answers(gpt2, prompts, answers, engine="packed", token_budget=9)
    assert fetched == []
