"""The training loop and the readings of the page on form and facts, on the architectures of GPT-2, Llama and OLMo-2."""

import copy

import numpy as np
import pytest
import torch
from notebook_code import definitions
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb

page = definitions("instruction_tuning/gpt2.ipynb")
PAIRS = [("The capital of France is", " Paris."), ("", "The end."), ("Is it", " returned to London and Madrid.")]


@pytest.fixture(params=["gpt2", "llama", "olmo2"])
def lm(request):
    tokenizer = make_tokenizer()
    return nb.wrap_model(make_model(request.param, len(tokenizer)).double(), tokenizer)


def alone(lm, prompt, answer):
    """Loss of one answer with the token that ends it, and how many tokens that is, read without padding."""
    end = lm.tokenizer.eos_token_id
    before = [end, *lm.tokenizer(prompt).input_ids]
    scored = [*lm.tokenizer(answer).input_ids, end]
    table = lm.model(torch.tensor([before + scored])).logits[0].log_softmax(-1)
    return -sum(table[len(before) + i - 1, token].item() for i, token in enumerate(scored)), len(scored)


def test_the_loss_is_that_of_the_answers_alone(lm):
    sums, counts = zip(*(alone(lm, *pair) for pair in PAIRS), strict=True)
    assert page.loss_of(lm, PAIRS).item() == pytest.approx(sum(sums) / sum(counts), abs=1e-6)


def test_the_loss_is_the_one_that_transformers_computes_from_the_labels(lm):
    inputs, labels = page.to_batch(lm, PAIRS)
    assert page.loss_of(lm, PAIRS).item() == pytest.approx(
        lm.model(input_ids=inputs, labels=labels).loss.item(), abs=1e-5
    )


def test_training_teaches_the_answers_and_yields_after_each_pass(lm):
    pupil = nb.wrap_model(copy.deepcopy(lm.model), lm.tokenizer)
    weights = copy.deepcopy(lm.model.state_dict())
    passes = page.train(pupil, 8, lambda rng: [PAIRS[:2], PAIRS[2:]] * 4, rate=1e-2)
    assert list(passes) == list(range(1, 9))
    assert page.loss_of(pupil, PAIRS) < 0.2 * page.loss_of(lm, PAIRS)
    assert all(torch.equal(one, weights[name]) for name, one in lm.model.state_dict().items())
    (written,) = nb.generate(pupil, [f"{lm.tokenizer.eos_token}The capital of France is"], 8, stop=".")
    assert written.text == " Paris"


def test_a_fact_is_measured_as_a_statement_and_as_a_reply(lm):
    """On a model that was trained to complete one statement rightly and one wrongly, and to answer one question."""
    start = lm.tokenizer.eos_token  # in training a text begins with it, and this tokenizer does not put it there
    entries = [
        (f"{start}The capital of France is", f"{start}Where?", "Paris", ["London", "Madrid"]),
        (f"{start}The end of it is", f"{start}What?", "Madrid", ["London", "Paris"]),
    ]
    taught = [("The capital of France is", " Paris."), ("The end of it is", " London."), ("What?", " Madrid.")]
    lessons = [*taught, ("Where?", " London.")]
    list(page.train(lm, 40, lambda rng: [lessons], rate=5e-3))
    ranked, wrote = page.measure(lm, entries)
    asked = [ask for _, ask, *_ in entries]
    replies = [reply.text.strip() for reply in nb.generate(lm, asked, 12, stop=".")]
    assert wrote.tolist() == [reply == right for reply, (_, _, right, _) in zip(replies, entries, strict=True)]
    totals = [
        [s.total for s in nb.score_answers(lm, stated, [f" {word}" for word in (right, *wrong)])]
        for stated, _, right, wrong in entries
    ]
    assert ranked.tolist() == [int(np.argmax(row)) == 0 for row in totals] == [True, False]
    assert wrote.tolist() == [False, True]
