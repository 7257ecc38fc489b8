"""The output head: logits in pieces give what all of them would have given."""

import copy

import numpy as np
import pytest
import torch

import nbhelpers as nb
from nbhelpers.engine import LOG_PROBABILITIES, Reduction
from nbhelpers.engine import head as heads
from nbhelpers.engine.head import log_probabilities, reduce_states

STATES, WIDTH, VOCABULARY = 11, 8, 50


@pytest.fixture
def small_slices(monkeypatch):
    monkeypatch.setattr(heads, "SLICE_ON_CPU", (4, 7))


def pairs():
    """Every state once at least, some with several targets; among the targets the first word and the last."""
    which = np.sort(np.concatenate([np.arange(STATES), [0, 3, 3, 10]]))
    targets = torch.arange(len(which)) * 17 % VOCABULARY
    targets[0], targets[-1] = 0, VOCABULARY - 1
    return which, targets


def matrix(bias: bool = False, seed: int = 0) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(WIDTH, VOCABULARY, bias=bias).requires_grad_(False)


def expected(head, states, which, targets):
    logprobs = head(states).double().log_softmax(-1)[torch.from_numpy(which)]
    return logprobs.gather(-1, targets[:, None])[:, 0], logprobs.argmax(-1) == targets


@pytest.mark.parametrize("bias", [False, True])
def test_slices_of_the_vocabulary_add_up(small_slices, bias):
    head, states = matrix(bias), torch.randn(STATES, WIDTH) * 3
    which, targets = pairs()
    targets[5] = head(states[which[5]]).argmax()  # one of them is greedy for sure
    logprobs, greedy = reduce_states(head, states, which, targets, LOG_PROBABILITIES)
    true, true_greedy = expected(head, states, which, targets)
    assert torch.allclose(logprobs.double(), true, atol=1e-5)
    assert greedy.tolist() == true_greedy.tolist() and greedy[5] and not greedy.all()


def test_of_equally_likely_tokens_the_first_is_greedy_in_slices_as_in_whole_rows(small_slices):
    head = matrix()
    head.weight[[9, 30, 44]] = head.weight[9] * 0 + 1  # three equal rows in three slices
    states = torch.ones(1, WIDTH) * 5  # for which they are the best
    which, targets = np.zeros(3, dtype=np.int64), torch.tensor([9, 30, 44])
    for way in (head, hooked(head)):
        assert reduce_states(way, states, which, targets, LOG_PROBABILITIES)[1].tolist() == [True, False, False]


def test_words_that_a_model_forbids_do_not_spoil_the_sum(small_slices):
    """A bias of minus infinity, for a whole slice and for single words."""
    head, states = matrix(bias=True), torch.randn(STATES, WIDTH)
    head.bias[7:14] = -torch.inf
    head.bias[49] = -torch.inf
    which, targets = pairs()
    targets[:] = 20
    targets[-1] = 49
    logprobs, _ = reduce_states(head, states, which, targets, LOG_PROBABILITIES)
    true, _ = expected(head, states, which, targets)
    assert torch.allclose(logprobs[:-1].double(), true[:-1], atol=1e-5)
    assert logprobs[-1] == -torch.inf


@pytest.mark.parametrize("word", [0, 13, 49])
def test_nan_reaches_every_log_probability_of_its_state(small_slices, word):
    head = matrix(bias=True)
    head.bias[word] = torch.nan
    which, targets = pairs()
    targets[:] = 20
    logprobs, _ = reduce_states(head, torch.randn(STATES, WIDTH), which, targets, LOG_PROBABILITIES)
    assert logprobs.isnan().all()


def hooked(head):
    """A head that has to be called, as one under an adapter or on several devices has to be."""
    head = copy.deepcopy(head)
    head.register_forward_hook(lambda module, inputs, output: output * 2)
    return head


def replaced(head):
    head = copy.deepcopy(head)
    original = head.forward
    head.forward = lambda states: original(states) * 2  # accelerate does it this way
    return head


class Doubled(torch.nn.Linear):
    def forward(self, states):
        return super().forward(states) * 2


def derived(head):
    other = Doubled(WIDTH, VOCABULARY, bias=False).requires_grad_(False)
    other.load_state_dict(head.state_dict())
    return other


@pytest.mark.parametrize("change", [hooked, replaced, derived])
def test_a_head_that_does_more_than_multiply_is_called(small_slices, change):
    head, states = change(matrix()), torch.randn(STATES, WIDTH)
    which, targets = pairs()
    logprobs, _ = reduce_states(head, states, which, targets, LOG_PROBABILITIES)
    assert torch.allclose(logprobs.double(), expected(head, states, which, targets)[0], atol=1e-5)
    assert not torch.allclose(logprobs.double(), expected(matrix(), states, which, targets)[0], atol=1e-2)


@pytest.mark.parametrize("rows, reduced_rows", [(1, 1), (3, 2), (100, 100)])
def test_any_reduction_gets_whole_rows_a_few_at_a_time(monkeypatch, rows, reduced_rows):
    monkeypatch.setattr(heads, "LOGIT_ROWS", rows)
    monkeypatch.setattr(heads, "REDUCED_ROWS", reduced_rows)
    head, states = matrix(), torch.randn(STATES, WIDTH)
    which, targets = pairs()
    sizes = []

    def total(logits, targets):
        sizes.append(len(logits))
        return log_probabilities(logits, targets)[0], logits.sum(-1)

    for way in ((head, states), (None, head(states))):
        logprobs, sums = reduce_states(*way, which, targets, Reduction(total))
        assert torch.allclose(logprobs.double(), expected(head, states, which, targets)[0], atol=1e-5)
        assert torch.allclose(sums, head(states).sum(-1)[torch.from_numpy(which)], atol=1e-4)
    assert max(sizes) <= reduced_rows


def test_a_text_never_has_all_its_logits_at_once(gpt2, monkeypatch):
    """However long the window: no piece is larger than a slice, and together they are what is needed."""
    for device in ("SLICE_ON_CPU", "SLICE_ELSEWHERE"):
        monkeypatch.setattr(heads, device, (10, 64))
    text, sizes = "The capital of France is Paris. " * 4, []
    whole = nb.perplexity(gpt2, text, 64, 64)
    original = torch.nn.functional.linear

    def linear(states, weight, bias=None):
        logits = original(states, weight, bias)
        if weight.shape[0] != gpt2.model.config.n_embd:
            sizes.append(logits.shape)
        return logits

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    again = nb.perplexity(gpt2, text, 64, 64)
    assert again.nats == pytest.approx(whole.nats, abs=1e-3)
    assert all(rows <= 10 and words <= 64 for rows, words in sizes)
    assert sum(rows * words for rows, words in sizes) == again.tokens * len(gpt2.tokenizer)
