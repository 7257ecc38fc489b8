"""Small random-weight models of several architectures, and tokenizers of several habits."""

import os

import torch
import transformers
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

DEVICE = os.environ["NBHELPERS_DEVICE"]  # set by conftest

TRAINING_TEXT = [
    "The capital of France is Paris, and the capital of Germany is Berlin.",
    "def returned(value):\n    return value + 1\n\n\nprint(returned(41))  # urn, return, ret",
    "naïve café, 東京, Zürich, 😀 and 🏳️‍🌈; the end. The end? Is it the end!",
    "is is is  is   is the the the and and London London Madrid",
]

# Options of `model_of`: two small layers with weights large enough for opinionated predictions.
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
WIDER = {**SIZE, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 64}
TOKENS = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}


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


def model_of(architecture: str, **options):
    """A small random-weight model by the name of its class in transformers."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture.removesuffix('LMHead')}Config")(
        vocab_size=len(tokenizer), **TOKENS, **options
    )
    kind = f"{architecture}Model" if architecture.endswith("LMHead") else f"{architecture}ForCausalLM"
    model = getattr(transformers, kind)(config)
    return nb.wrap_model(model, tokenizer, architecture)


def constant_model(logits: torch.Tensor):
    """A GPT-2 that gives the same logits whatever it reads."""
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(logits), n_embd=4, n_layer=1, n_head=1, n_positions=64, tie_word_embeddings=False)
    )
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, 0] = logits
    tokenizer = make_tokenizer()
    assert len(tokenizer) <= len(logits)
    return nb.wrap_model(model, tokenizer, "constant")
