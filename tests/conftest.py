"""Models that many tests share."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing may wait for a hub
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is: its threads would spin while they wait
# Where every model of the tests is put. The expected numbers are a CPU's; `NBHELPERS_DEVICE=cuda` tries the engines out
# on a GPU (tests/engine, test_scoring.py, test_perplexity.py, test_generation.py and `make fuzz`).
os.environ.setdefault("NBHELPERS_DEVICE", "cpu")

import oracle
import pytest
from tiny_models import DEVICE, make_model, make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import nbhelpers as nb


@pytest.fixture(scope="session", params=["gpt2", "llama", "olmo2", "gpt_neox"])
def tiny(request):
    """A small model; Llama's with a tokenizer that puts BOS before every text, the others' without."""
    tokenizer = make_tokenizer(bos=request.param == "llama", trim_offsets=request.param == "olmo2")
    return nb.wrap_model(make_model(request.param, len(tokenizer)).to(DEVICE), tokenizer, f"tiny {request.param}")


@pytest.fixture(scope="session")
def tiny64(tiny):
    return oracle.in_float64(tiny.model)


@pytest.fixture(scope="session")
def tiny_oracles(tiny, tiny64):
    """The model in float64, in torch and, where there is a forward pass for it, in NumPy."""
    return [leg for leg in (tiny64, oracle.in_numpy(tiny.model)) if leg is not None]


@pytest.fixture(scope="session")
def gpt2():
    tokenizer = make_tokenizer()
    return nb.wrap_model(make_model("gpt2", len(tokenizer)).to(DEVICE), tokenizer, "tiny gpt2")


@pytest.fixture(scope="session")
def sentencepiece_like():
    """A tokenizer that writes spaces as ▁ and puts one before every text, as Llama 2's and Mistral's do."""
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>"], show_progress=False)
    core.train_from_iterator(["the capital of France is Paris return ret urn"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", unk_token="<unk>")
    return nb.wrap_model(make_model("llama", len(tokenizer)), tokenizer, "sentencepiece-like")


@pytest.fixture(scope="session")
def embedded():
    return nb.load_model(dtype="float32")


@pytest.fixture(scope="session")
def embedded64(embedded):
    return oracle.in_float64(embedded.model)
