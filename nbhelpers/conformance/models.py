"""The checkpoints: configuration, seeded weights and tokenizer of each architecture, byte for byte the same everywhere.

The weights come from the raw bits of NumPy's PCG64, whose stream never changes, by one exact division and one rounding:
neither a distribution of NumPy's nor a function of the C library has a say. All have eleven bits or more, so that
bfloat16 cannot hold them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .counting import counting_config, counting_weights
from .vocabulary import END, START, tokenizer_files, vocabulary

CONTEXT = 128  # tokens that each model can read

_LLAMA = {
    "attention_dropout": 0.0,
    "dtype": "float32",
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": CONTEXT,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},  # read by version 5 of transformers
    "rope_theta": 1000.0,  # read by version 4 and by other tools
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "use_cache": True,
}
_QWEN = {**_LLAMA, "rms_norm_eps": 1e-6, "use_sliding_window": False}
# Qwen2's heads share the width: some servers pass over `head_dim`.
_QWEN2 = {**_QWEN, "hidden_size": 64, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1}
_GPT2 = {
    "activation_function": "gelu_new",
    "attn_pdrop": 0.0,
    "dtype": "float32",
    "embd_pdrop": 0.0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-5,
    "n_ctx": CONTEXT,
    "n_embd": 32,
    "n_head": 2,
    "n_inner": None,
    "n_layer": 2,
    "n_positions": CONTEXT,
    "resid_pdrop": 0.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "use_cache": True,
}

Config = dict[str, Any]
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Architecture:
    """What a checkpoint is made of.

    Attributes
    ----------
    name : str
    config : dict
        What config.json holds, but for the ids of special tokens.
    weights : callable
        From the configuration to the weights, float32, under the names that the checkpoints have.
    puts_start : bool
        Whether the tokenizer puts a start token before every text.
    start_token : str or None
        The tokenizer's BOS; where it has none, EOS stands in before a text that nothing precedes.
    """

    name: str
    config: Config
    weights: Callable[[Config], Weights]
    puts_start: bool
    start_token: str | None

    @property
    def start_id(self) -> int:
        """The token that stands before a text, or stands in where nothing does."""
        return vocabulary()[self.start_token or END]


def _llama(config: Config) -> Weights:
    """Llama, Qwen2 and Qwen3: RMSNorm, rotary positions, shared keys and values, SwiGLU."""
    draw = _Draw(seed=len(config["model_type"]) + config["num_attention_heads"])
    width, inner, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, shared = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    wider = math.sqrt(32 / width)  # the wider, the smaller: predictions stay as opinionated
    weights = {"model.embed_tokens.weight": draw(wider, config["vocab_size"], width)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        weights[f"{name}.input_layernorm.weight"] = draw.around_one(width)
        for part, rows in (("q", heads), ("k", shared), ("v", shared)):
            weights[f"{name}.self_attn.{part}_proj.weight"] = draw(0.3 * wider, rows, width)
            if config["model_type"] == "qwen2":
                weights[f"{name}.self_attn.{part}_proj.bias"] = draw(0.5, rows)
        if config["model_type"] == "qwen3":
            weights[f"{name}.self_attn.q_norm.weight"] = draw.around_one(size)
            weights[f"{name}.self_attn.k_norm.weight"] = draw.around_one(size)
        weights[f"{name}.self_attn.o_proj.weight"] = draw(0.3, width, heads)
        weights[f"{name}.post_attention_layernorm.weight"] = draw.around_one(width)
        weights[f"{name}.mlp.gate_proj.weight"] = draw(0.4 * wider, inner, width)
        weights[f"{name}.mlp.up_proj.weight"] = draw(0.4 * wider, inner, width)
        weights[f"{name}.mlp.down_proj.weight"] = draw(0.4, width, inner)
    weights["model.norm.weight"] = draw.around_one(width)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = draw(wider, config["vocab_size"], width)
    return weights


def _gpt2(config: Config) -> Weights:
    """GPT-2: learned positions, LayerNorm, biases; its matrices are stored with the inputs as rows."""
    draw = _Draw(seed=2)
    width = config["n_embd"]
    weights = {
        "transformer.wte.weight": draw(1.0, config["vocab_size"], width),
        "transformer.wpe.weight": draw(1.0, config["n_positions"], width),
    }
    for layer in range(config["n_layer"]):
        name = f"transformer.h.{layer}"
        for norm in ("ln_1", "ln_2"):
            weights[f"{name}.{norm}.weight"] = draw.around_one(width)
            weights[f"{name}.{norm}.bias"] = draw(0.2, width)
        for part, rows, columns in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            weights[f"{name}.{part}.weight"] = draw(0.35, rows, columns)
            weights[f"{name}.{part}.bias"] = draw(0.2, columns)
    weights["transformer.ln_f.weight"] = draw.around_one(width)
    weights["transformer.ln_f.bias"] = draw(0.2, width)
    return weights


class _Draw:
    """Weights from raw bits: 4,096 equally spaced values between -scale and scale."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def __call__(self, scale: float, *shape: int) -> np.ndarray:
        numbers = (self._bits.random_raw(math.prod(shape)) >> np.uint64(52)).astype(np.float64)
        return ((numbers - 2047.5) / 2048 * scale).astype(np.float32).reshape(shape)

    def around_one(self, width: int) -> np.ndarray:
        """The weight of a norm: not all ones, so that a norm without it gives other numbers."""
        return (1 + self(0.4, width)).astype(np.float32)


def _named(model_type: str, kind: str, config: Mapping[str, Any]) -> Config:
    return {"architectures": [kind], "model_type": model_type, **config}


ARCHITECTURES: dict[str, Architecture] = {
    made.name: made
    for made in (
        Architecture("llama", _named("llama", "LlamaForCausalLM", _LLAMA), _llama, True, START),
        Architecture("qwen2", _named("qwen2", "Qwen2ForCausalLM", _QWEN2), _llama, False, None),
        Architecture(
            "qwen3", _named("qwen3", "Qwen3ForCausalLM", {**_QWEN, "attention_bias": False}), _llama, False, None
        ),
        Architecture("gpt2", _named("gpt2", "GPT2LMHeadModel", _GPT2), _gpt2, False, END),
        Architecture(
            "counts", _named("llama", "LlamaForCausalLM", counting_config(_LLAMA)), counting_weights, True, START
        ),
    )
}


def find_architecture(name: str) -> Architecture:
    """The architecture of that name, or a clear error."""
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture={name!r} is unknown: give one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def config_of(architecture: Architecture) -> Config:
    """Everything that config.json holds."""
    ids = vocabulary()
    start = None if architecture.start_token is None else ids[architecture.start_token]
    tokens = {"bos_token_id": start, "eos_token_id": ids[END], "pad_token_id": ids[END], "vocab_size": len(ids)}
    return architecture.config | tokens


def files_of(architecture: Architecture) -> dict[str, bytes]:
    """The checkpoint: the names of its files and their bytes."""
    from safetensors.numpy import save

    config = config_of(architecture)
    texts = {"config.json": config, **tokenizer_files(architecture.puts_start, architecture.start_token)}
    files = {name: json.dumps(content, indent=1).encode() + b"\n" for name, content in texts.items()}
    return files | {"model.safetensors": save(architecture.weights(config), metadata={"format": "pt"})}


def write_model(folder: str | os.PathLike[str], architecture: str) -> Path:
    """Write a tiny checkpoint, whose log-probabilities are known, as any tool reads it.

    Parameters
    ----------
    folder : str or path
        It is made if need be. A folder that holds other files is left alone.
    architecture : str
        "llama", "qwen2", "qwen3", "gpt2", each of 44,000 to 61,000 random weights; or "counts", which can be checked by
        hand: see `nbhelpers.conformance.counting`.

    Returns
    -------
    Path
        The folder, with config.json, model.safetensors (float32), tokenizer.json and tokenizer_config.json. Each has
        the same bytes on every machine.

    Raises
    ------
    ValueError
        If there is no such architecture, or the folder holds something else.
    OSError
        If the folder cannot be written.
    """
    files = files_of(find_architecture(architecture))
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in files)
    if others:
        raise ValueError(f"{path} holds {others[0]!r}, which is no part of such a model: give an empty or a new folder")
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def written_architecture(folder: str | os.PathLike[str]) -> str:
    """Which of the models a folder holds, or a ValueError: numbers are known only of what `write_model` wrote."""
    path = Path(folder)
    for name, architecture in ARCHITECTURES.items():
        files = files_of(architecture)
        if all((path / file).is_file() and (path / file).read_bytes() == content for file, content in files.items()):
            return name
    raise ValueError(f"{path} holds no model whose answers are known, or a changed one: write it anew with --write")
