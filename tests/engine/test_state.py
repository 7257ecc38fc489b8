"""Nothing that others do to a model or to torch changes a number in silence, and scoring changes nothing for them."""

import io
import os
import pickle
import threading

import oracle
import pytest
import torch
from cases import matches_the_oracle, random_requests
from tiny_models import SIZE, make_model, make_tokenizer, model_of

import nbhelpers as nb
from nbhelpers.engine import attention, packed, verify


@pytest.fixture
def lm():
    tokenizer = make_tokenizer()
    return nb.wrap_model(make_model("llama", len(tokenizer)), tokenizer, "own")


def totals(lm, **options):
    prompts, answers = random_requests(11)
    return [score.total for score in nb.score_answers(lm, prompts, answers, **options)]


def doubled(module, inputs, output):
    output.logits = output.logits * 2
    return output


def squashed(module, inputs, output):
    return output.tanh()


def replace_forward(model):
    original = model.forward
    model.forward = lambda *arguments, **options: doubled(model, arguments, original(*arguments, **options))


CHANGES = [
    (lambda model: model.register_forward_hook(doubled), "a hook on the model"),
    (lambda model: model.lm_head.register_forward_hook(squashed), "a hook on the head"),
    (lambda model: model.model.layers[0].mlp.register_forward_hook(squashed), "a hook inside the body"),
    (
        lambda model: vars(model).update(
            forward=lambda *a, **o: doubled(None, None, type(model).forward(model, *a, **o))
        ),
        "forward",
    ),
    (lambda model: model.set_output_embeddings(torch.nn.Sequential(model.lm_head, torch.nn.Tanh())), "another head"),
]


@pytest.mark.parametrize("engine", ["auto", "plain", "packed"])
@pytest.mark.parametrize("change, what", CHANGES)
def test_what_is_put_on_a_model_after_a_first_scoring_counts(lm, change, what, engine):
    before = totals(lm, engine=engine)
    change(lm.model)
    fresh = make_model("llama", len(lm.tokenizer))
    change(fresh)
    expected = totals(nb.wrap_model(fresh, lm.tokenizer, "fresh"), engine="plain")
    after = totals(lm, engine=engine)
    assert after == pytest.approx(expected, abs=1e-3), what
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) > 0.01, "the change must change something"


class Adapted(torch.nn.Module):
    """A layer with an adapter that is switched off by an attribute, as PEFT's are."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self._disable_adapters = layer, False

    def forward(self, states):
        return self.layer(states) if self._disable_adapters else self.layer(states) * 1.5


def test_an_adapter_that_is_switched_off_and_on_is_noticed(lm, monkeypatch):
    tried = []
    original = verify._try_packing
    monkeypatch.setattr(verify, "_try_packing", lambda *arguments: tried.append(1) or original(*arguments))
    adapter = lm.model.model.layers[0].mlp.up_proj = Adapted(lm.model.model.layers[0].mlp.up_proj)
    on = totals(lm)
    adapter._disable_adapters = True
    off = totals(lm)
    adapter._disable_adapters = False
    assert totals(lm) == pytest.approx(on, abs=1e-4) and max(abs(a - b) for a, b in zip(on, off, strict=True)) > 0.01
    assert len(tried) == 3


def test_a_default_dtype_of_the_caller_rounds_nothing(lm):
    before = totals(lm), [g.total for g in nb.generate(lm, ["The end", "The capital of"], 5)]
    torch.set_default_dtype(torch.bfloat16)
    try:
        after = totals(lm), [g.total for g in nb.generate(lm, ["The end", "The capital of"], 5)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert after == before


def test_autocast_of_the_caller_rounds_nothing(lm):
    text = "The capital of France is Paris."
    before = totals(lm), nb.perplexity(lm, text).nats, nb.generate(lm, ["The end", "The capital of"], 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        after = totals(lm), nb.perplexity(lm, text).nats, nb.generate(lm, ["The end", "The capital of"], 5)
    assert after == before


def test_a_default_device_of_the_caller_is_not_used(lm):
    before = totals(lm)
    torch.set_default_device("meta")  # a GPU would do; this one computes nothing at all
    try:
        after = totals(lm)
    finally:
        torch.set_default_device(None)
    assert after == before


def test_dropout_that_is_on_in_a_part_of_the_model_is_refused(lm):
    lm.model.model.layers[1].train()
    with pytest.raises(ValueError, match=r"training mode, where dropout changes every score: call lm.model.eval\(\)"):
        totals(lm)


def test_precision_and_device_are_those_of_the_model_now(lm):
    assert (lm.dtype, lm.device.type) == (torch.float32, "cpu")
    lm.model.bfloat16()
    assert lm.dtype == torch.bfloat16 and "bfloat16" in repr(lm)
    assert len(totals(lm)) == 30


class Paused:
    """The packed engine of one thread, held in the middle of a chunk until it is released."""

    def __init__(self, lm, monkeypatch):
        self.reached, self.release, self.found = threading.Event(), threading.Event(), []
        original = packed._read_chunk

        def wait(*arguments):
            if threading.current_thread() is self.thread:
                self.reached.set()
                assert self.release.wait(60)
            return original(*arguments)

        totals(lm, engine="packed")  # tried out before
        monkeypatch.setattr(packed, "_read_chunk", wait)
        self.thread = threading.Thread(target=lambda: self.found.append(totals(lm, engine="packed")), daemon=True)
        self.thread.start()
        assert self.reached.wait(60)

    def finish(self):
        self.release.set()
        self.thread.join(60)
        return self.found[0]


def test_while_one_thread_scores_the_model_is_the_same_for_all_others(lm, monkeypatch):
    before = totals(lm, engine="packed")
    config = lm.model.config.to_json_string(use_diff=False)
    ids = torch.tensor([[3, 4, 5]])
    plain = lm.model(ids).logits
    paused = Paused(lm, monkeypatch)
    try:
        assert lm.model.config._attn_implementation == "sdpa"
        assert lm.model.config.to_json_string(use_diff=False) == config
        assert torch.equal(lm.model(ids).logits, plain)
        buffer = io.BytesIO()
        pickle.dump(lm.model, buffer)
        assert b"nbhelpers" not in buffer.getvalue(), "a pickle must not need this package"
        assert totals(lm, engine="packed") == pytest.approx(before, abs=1e-4)
    finally:
        assert paused.finish() == pytest.approx(before, abs=1e-4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_while_a_thread_scores_can_score(lm, monkeypatch):
    paused = Paused(lm, monkeypatch)
    try:
        child = os.fork()
        if child == 0:  # nothing of pytest may run here
            status = 1
            try:
                torch.set_num_threads(1)
                status = 0 if len(totals(lm, engine="packed")) == 30 else 2
            finally:
                os._exit(status)
        for _ in range(600):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            threading.Event().wait(0.1)
        else:
            os.kill(child, 9)
            pytest.fail("the child waits for ever")
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        paused.finish()


def test_transformers_gets_its_own_attention_back_after_an_interruption(lm, monkeypatch):
    from transformers import AttentionInterface

    totals(lm, engine="packed")
    before = AttentionInterface()["sdpa"]

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(packed, "_read_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        totals(lm, engine="packed")
    assert AttentionInterface()["sdpa"] is before is not attention._sdpa_or_blocks
    assert not attention._this_thread.in_blocks


@pytest.mark.parametrize(
    "architecture, options",
    [
        ("RemBert", {"input_embedding_size": 16, "output_embedding_size": 24}),
        ("Electra", {"embedding_size": 16}),
    ],
)
def test_a_projection_between_body_and_head_is_no_obstacle(architecture, options):
    lm = model_of(architecture, **SIZE, intermediate_size=64, is_decoder=True, **options)
    prompts, answers = random_requests(12)
    assert matches_the_oracle(lm, oracle.in_float64(lm.model), prompts, answers, engine="plain")
