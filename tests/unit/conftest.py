"""Small random-weight models of four architectures, tokenizers of several habits, and the embedded model."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: nothing may wait for a hub
# Where every model of the tests is put. The expected numbers are a CPU's; `NBHELPERS_DEVICE=cuda` tries the engines out
# on a GPU (tests/unit/test_engines.py, test_scoring.py, test_perplexity.py, test_generation.py and `make fuzz`).
os.environ["NBHELPERS_DEVICE"] = os.environ.get("NBHELPERS_DEVICE", "cpu")

import oracle
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedTokenizerFast,
)

import nbhelpers as nb

DEVICE = os.environ["NBHELPERS_DEVICE"]

TRAINING_TEXT = [
    "The capital of France is Paris, and the capital of Germany is Berlin.",
    "def returned(value):\n    return value + 1\n\n\nprint(returned(41))  # urn, return, ret",
    "naïve café, 東京, Zürich, 😀 and 🏳️‍🌈; the end. The end? Is it the end!",
    "is is is  is   is the the the and and London London Madrid",
]


def make_tokenizer(*, bos: bool = False, eos: bool = True, trim_offsets: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 400 tokens. With `bos`, it puts <s> before every text, as Llama's does."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TRAINING_TEXT, trainer)
    steps = [processors.ByteLevel(trim_offsets=trim_offsets)]
    if bos:
        steps.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)]))
    core.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>" if bos else None, eos_token="<|endoftext|>" if eos else None
    )


def make_model(architecture: str, vocabulary: int, context: int = 64):
    """A model of two small layers whose random weights are large enough for opinionated predictions."""
    torch.manual_seed(0)
    shared = {"vocab_size": vocabulary, "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": 0}
    llama_like = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "pad_token_id": 0,
    }
    if architecture == "gpt2":
        config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=context, **shared)
        return GPT2LMHeadModel(config).eval()
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**llama_like, **shared)).eval()
    if architecture == "olmo2":
        return Olmo2ForCausalLM(Olmo2Config(**llama_like, **shared)).eval()
    if architecture == "gpt_neox":
        neox = {name: value for name, value in llama_like.items() if name != "num_key_value_heads"}
        return GPTNeoXForCausalLM(GPTNeoXConfig(**neox, **shared)).eval()
    raise ValueError(architecture)


@pytest.fixture(scope="session", params=["gpt2", "llama", "olmo2", "gpt_neox"])
def tiny(request):
    """A small model; Llama's with a tokenizer that puts BOS before every text, the others' without."""
    tokenizer = make_tokenizer(bos=request.param == "llama", trim_offsets=request.param == "olmo2")
    return nb.wrap_model(make_model(request.param, len(tokenizer)).to(DEVICE), tokenizer, f"tiny {request.param}")


@pytest.fixture(scope="session")
def tiny64(tiny):
    return oracle.in_float64(tiny.model)


@pytest.fixture(scope="session")
def gpt2():
    tokenizer = make_tokenizer()
    return nb.wrap_model(make_model("gpt2", len(tokenizer)).to(DEVICE), tokenizer, "tiny gpt2")


@pytest.fixture(scope="session")
def embedded():
    return nb.load_model(dtype="float32")


@pytest.fixture(scope="session")
def embedded64(embedded):
    return oracle.in_float64(embedded.model)
