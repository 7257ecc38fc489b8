"""load_model: names, devices, precisions, and the sentence it says when one of them is wrong."""

import os
import subprocess
import sys

import pytest
import torch
from tiny_models import make_model, make_tokenizer

import nbhelpers as nb
from nbhelpers import models


@pytest.fixture
def saved(tmp_path, gpt2):
    """A folder as save_pretrained writes it."""
    gpt2.model.save_pretrained(tmp_path / "tiny")
    gpt2.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, nbhelpers; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_perplexity_is_the_function_whoever_imports_the_module_first():
    code = "import nbhelpers.perplexity as _; import nbhelpers as nb; assert callable(nb.perplexity)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.embedded
def test_the_default_is_the_embedded_model():
    embedded = nb.load_model()
    assert embedded.name == "SmolLM2-135M-Instruct"
    assert (embedded.dtype, embedded.context_length) == (torch.float32, 8192)
    assert repr(embedded).startswith("LanguageModel('SmolLM2-135M-Instruct', 134.5 M float32, ")
    assert not embedded.model.training


@pytest.mark.embedded
def test_the_default_prints_nothing_into_a_notebook():
    code = "import nbhelpers as nb; nb.load_model()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.embedded
def test_the_gguf_file_loads_to_the_same_model(embedded):
    from nbhelpers.embedded import embedded_gguf

    lm = nb.load_model(embedded_gguf())
    assert lm.name.endswith(".gguf") and lm.dtype == torch.float32
    (ours,), (theirs,) = (nb.score_answers(m, "The capital of France is", [" Paris"]) for m in (lm, embedded))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


@pytest.mark.parametrize("as_path", [str, lambda p: p])
def test_a_local_folder_loads(saved, gpt2, as_path):
    lm = nb.load_model(as_path(saved))
    assert lm.context_length == 64
    (ours,), (theirs,) = (nb.score_answers(m, "The capital", [" of"]) for m in (lm, gpt2))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


@pytest.mark.parametrize("given", ["bfloat16", torch.bfloat16])
def test_precision_is_as_asked_and_log_probabilities_are_float32(saved, gpt2, given):
    lm = nb.load_model(saved, dtype=given)
    assert lm.dtype == torch.bfloat16
    (ours,), (theirs,) = (nb.score_answers(m, "The capital", [" of"]) for m in (lm, gpt2))
    assert ours.total == pytest.approx(theirs.total, abs=0.5)
    # A bfloat16 has 8 bits of mantissa; a log-probability that was rounded to it would survive the round trip.
    assert any(torch.tensor(p).bfloat16().item() != p for p in ours.logprobs)


def test_the_environment_chooses_the_device_unless_the_call_does(saved, monkeypatch):
    monkeypatch.setenv("NBHELPERS_DEVICE", "cpu")
    assert nb.load_model(saved).device.type == "cpu"
    monkeypatch.setenv("NBHELPERS_DEVICE", "abacus")
    with pytest.raises(ValueError, match="'abacus' is no device: give 'auto', 'cpu', 'cuda'"):
        nb.load_model(saved)
    assert nb.load_model(saved, device="cpu").device.type == "cpu"


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"name": 7}, TypeError, "name must be a Hub id, a folder or a .gguf file, not int"),
        ({"name": " "}, ValueError, "name is empty"),
        ({"name": "nobody/no-such-model"}, ValueError, "cannot load 'nobody/no-such-model'.*Check the spelling"),
        ({"name": "/nowhere/model.gguf"}, ValueError, "there is no file /nowhere/model.gguf"),
        ({"dtype": "float33"}, ValueError, "'float33' is no precision for weights"),
        ({"dtype": torch.int8}, ValueError, "torch.int8 is no precision for weights"),
        ({"device": "meta"}, ValueError, "device 'meta' was asked for and this machine has none"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        nb.load_model(**arguments)


def test_pickled_weights_are_refused(saved):
    state = nb.load_model(saved).model.state_dict()
    (saved / "model.safetensors").unlink()
    torch.save(state, saved / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        nb.load_model(saved)


def test_code_that_comes_with_a_model_is_never_run(saved):
    import json

    ran = saved / "ran"
    config = json.loads((saved / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.C", "AutoModelForCausalLM": "odd.M"}}
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "odd.py").write_text(f"open({str(ran)!r}, 'w')")
    with pytest.raises(ValueError, match="cannot load"):
        nb.load_model(saved)
    assert not ran.exists()


def test_wrap_model_switches_dropout_off():
    tokenizer = make_tokenizer()
    model = make_model("gpt2", len(tokenizer)).train()
    assert not nb.wrap_model(model, tokenizer).model.training


def test_a_tokenizer_without_offsets_is_refused(gpt2):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"\(Slow\) reports no character offsets"):
        nb.wrap_model(gpt2.model, Slow())


def test_a_model_without_a_limit_has_no_context_length(gpt2):
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=len(gpt2.tokenizer), hidden_size=16, num_hidden_layers=1, state_size=4)
    lm = nb.wrap_model(MambaForCausalLM(config), gpt2.tokenizer, "mamba")
    assert lm.context_length is None
    assert nb.perplexity(lm, "The end. " * 40).window == 2048


# --- placement on GPUs, with a stand-in for the one number that only a GPU can give ------------------------------


def test_weight_bytes_is_the_size_of_the_saved_model(saved, gpt2):
    config = gpt2.model.config
    parameters = sum(p.numel() for p in gpt2.model.parameters())
    assert models._weight_bytes(config, torch.float32) == 4 * parameters
    assert models._weight_bytes(config, torch.bfloat16) == 2 * parameters


@pytest.mark.parametrize("free, expected", [(10**9, {"": "cuda:0"}), (10**4, "auto")])
def test_a_model_that_does_not_fit_one_gpu_is_spread(saved, monkeypatch, free, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    assert models._placement(str(saved), {}, torch.float32, torch.device("cuda:0")) == expected


@pytest.mark.parametrize(
    "device, computes_bfloat16, expected",
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float32),  # Colab's T4 only emulates it
        ("mps", True, torch.float32),
        ("cpu", True, torch.float32),
    ],
)
def test_the_automatic_precision_follows_the_device(monkeypatch, device, computes_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: computes_bfloat16)
    assert models._choose_dtype("auto", torch.device(device)) == expected


def test_on_a_cpu_nothing_is_spread(saved):
    assert models._placement(str(saved), {}, torch.float32, torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_scores_agree_with_the_cpu(saved):
    cpu, gpu = (nb.load_model(saved, device=d, dtype="float32") for d in ("cpu", "cuda"))
    (ours,), (theirs,) = (nb.score_answers(m, "The capital", [" of France"]) for m in (gpu, cpu))
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


@pytest.mark.hub
@pytest.mark.skipif(os.environ.get("NBHELPERS_TEST_HUB") != "1", reason="needs the Hub: set NBHELPERS_TEST_HUB=1")
def test_gpt2_from_the_hub():
    """The ids of the known notebook's answer, and its number for WikiText-like prose in the right order of size."""
    script = (
        "import nbhelpers as nb; lm = nb.load_model('gpt2'); "
        "assert lm.tokenizer.encode(' (B) Paris') == [357, 33, 8, 6342]; "
        "assert lm.context_length == 1024; "
        "assert nb.score_answers(lm, 'The capital of France is', [' Paris'])[0].total < 0"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
