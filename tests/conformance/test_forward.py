"""The NumPy forward passes are transformers' in float64, and the model that counts can be worked out by hand."""

import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from nbhelpers.conformance import ARCHITECTURES, expected, requests, write_model
from nbhelpers.conformance.counting import by_counting
from nbhelpers.conformance.forward import logprob_table
from nbhelpers.conformance.models import config_of
from nbhelpers.conformance.truth import Truth
from nbhelpers.conformance.vocabulary import encode


def make_exact(model, config) -> None:
    """Even in a float64 model, transformers computes angles and RMSNorm in float32: 2e-5 nats."""
    model.model.rotary_emb = ExactRotary(config["head_dim"], config["rope_theta"])
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(exact_norm, module)


def exact_norm(module, x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon) * module.weight


class ExactRotary(torch.nn.Module):
    def __init__(self, size: int, theta: float) -> None:
        super().__init__()
        self.frequencies = theta ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)

    def forward(self, x, position_ids):
        angles = position_ids[..., None].double() * self.frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_forward_pass_is_that_of_transformers(name, tmp_path):
    architecture = ARCHITECTURES[name]
    config = config_of(architecture)
    model = AutoModelForCausalLM.from_pretrained(write_model(tmp_path, name)).double().eval()
    if "head_dim" in config:
        make_exact(model, config)
    ids = np.random.default_rng(1).integers(0, config["vocab_size"], 128)
    with torch.no_grad():
        theirs = model(torch.from_numpy(ids)[None]).logits[0].log_softmax(-1).numpy()
    ours = logprob_table(config, architecture.weights(config), ids)
    assert np.abs(ours - theirs).max() < 1e-11
    assert np.allclose(np.exp(ours).sum(-1), 1)


def test_the_counting_model_can_be_checked_by_hand():
    """The example of the docstring: n = 8 with the start token, " red" four times, and 461 tokens."""
    ids = [1, *encode(" red red red red blue blue green red")]
    odds = {"red": 16, "blue": 4, "green": 2}  # each of eight tokens doubles
    by_hand = math.log(odds["red"] / (sum(odds.values()) + 461 - len(odds)))
    assert by_hand == pytest.approx(math.log(1 / 30))
    assert by_counting(ids)[-1] == pytest.approx(by_hand)
    truth = Truth("counts")
    table = truth._table(ids)
    assert table[-2, ids[-1]] == pytest.approx(by_hand, abs=1e-5)


def test_the_counting_model_follows_its_closed_form_on_every_request():
    truth = Truth("counts")
    for request in requests("counts"):
        ids, first = truth.row(request)
        assert truth.total(request) == pytest.approx(sum(by_counting(ids)[first - 1 :]), abs=1e-5 * len(ids)), request


def test_some_numbers_as_they_always_were():
    """Whatever changes in the models, the requests or the arithmetic shows here."""
    wanted = {
        "llama": [-23.1853503828, -13.353862727, -35.0074201555, -669.7822302074],
        "qwen2": [-40.2733033693, -9.5393946475, -48.8018161821, -709.6335993514],
        "qwen3": [-34.9003606348, -12.0551048541, -47.6394717765, -766.4869890742],
        "gpt2": [-36.3757091258, -6.83865261, -38.1634883288, -730.912137706],
        "counts": [-18.429457353, -6.133398043, -23.8303406866, -377.6205175421],
    }
    for name, numbers in wanted.items():
        asked = requests(name)
        some = [expected(name, asked)[place] for place in (0, 60, 100, 250)]
        assert some == pytest.approx(numbers, abs=1e-9)


def test_an_unknown_architecture_and_too_long_a_text_are_named():
    config = config_of(ARCHITECTURES["gpt2"])
    weights = ARCHITECTURES["gpt2"].weights(config)
    with pytest.raises(ValueError, match="129 tokens, and there are 128 positions"):
        logprob_table(config, weights, [0] * 129)
    with pytest.raises(ValueError, match="model_type='mamba': there is a forward pass for gpt2, llama"):
        logprob_table({"model_type": "mamba"}, {}, [0])


def test_numbers_need_neither_torch_nor_transformers_nor_tokenizers():
    code = """
import sys
from nbhelpers.conformance import expected, requests
assert len(expected("llama", requests("llama"))) > 200
print([name for name in ("torch", "transformers", "tokenizers", "safetensors") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
