"""The forward passes of GPT-2, Llama, Qwen2 and Qwen3 in float64 NumPy: one text, no batch, no cache, no torch.

Written from the papers and from the names in the checkpoints. This is what the numbers are checked against, so it is
plain and slow on purpose. n is the number of tokens, d the width, h the heads, s the size of a head, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray


def logprob_table(config: Mapping[str, Any], weights: Mapping[str, Array], ids: Sequence[int]) -> Array:
    """Log-probabilities in nats, float64, (n, V): row i holds those of what follows ``ids[: i + 1]``.

    Parameters
    ----------
    config : mapping
        The content of config.json.
    weights : mapping
        Arrays of any precision under the names that the checkpoint has.
    ids : sequence of int
        One text, at least one token.

    Raises
    ------
    ValueError
        If the architecture is another one, or the text is longer than learned positions allow.
    """
    forward = {"gpt2": _gpt2, "llama": _llama, "qwen2": _llama, "qwen3": _llama}.get(config["model_type"])
    if forward is None:
        raise ValueError(
            f"model_type={config['model_type']!r}: there is a forward pass for gpt2, llama, qwen2 and qwen3"
        )
    exact = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    logits = forward(config, exact, np.asarray(ids))  # (n, V)
    highest = logits.max(-1, keepdims=True)
    return logits - highest - np.log(np.exp(logits - highest).sum(-1, keepdims=True))


def _attention(q: Array, k: Array, v: Array) -> Array:
    """Causal attention, (h, n, s) each: every token sees itself and what is before it."""
    n, size = q.shape[1:]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(size)  # (h, n, n)
    scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True) @ v


def _heads(x: Array, size: int) -> Array:
    """(n, h * s) to (h, n, s)."""
    return x.reshape(len(x), -1, size).swapaxes(0, 1)


def _joined(x: Array) -> Array:
    """(h, n, s) to (n, h * s)."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


# --- GPT-2 (Radford et al., 2019) ----------------------------------------------------------------------------------


def _gpt2(config: Mapping[str, Any], weights: Mapping[str, Array], ids: Array) -> Array:
    if len(ids) > config["n_positions"]:
        raise ValueError(f"{len(ids)} tokens, and there are {config['n_positions']} positions")
    size, eps = config["n_embd"] // config["n_head"], config["layer_norm_epsilon"]

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return scaled * weights[f"transformer.{name}.weight"] + weights[f"transformer.{name}.bias"]

    def linear(name: str, x: Array) -> Array:  # the inputs are the rows
        return x @ weights[f"transformer.{name}.weight"] + weights[f"transformer.{name}.bias"]

    x = weights["transformer.wte.weight"][ids] + weights["transformer.wpe.weight"][: len(ids)]  # (n, d)
    for layer in range(config["n_layer"]):
        q, k, v = np.split(linear(f"h.{layer}.attn.c_attn", norm(f"h.{layer}.ln_1", x)), 3, -1)
        attended = _joined(_attention(_heads(q, size), _heads(k, size), _heads(v, size)))
        x = x + linear(f"h.{layer}.attn.c_proj", attended)
        inner = linear(f"h.{layer}.mlp.c_fc", norm(f"h.{layer}.ln_2", x))  # (n, 4 d)
        gelu = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + linear(f"h.{layer}.mlp.c_proj", gelu)
    return norm("ln_f", x) @ _head(config, weights, "transformer.wte.weight").T


# --- Llama (Touvron et al., 2023), Qwen2 (biases), Qwen3 (norms of queries and keys) ----------------------------------


def _llama(config: Mapping[str, Any], weights: Mapping[str, Array], ids: Array) -> Array:
    heads, eps = config["num_attention_heads"], config["rms_norm_eps"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    turns = np.arange(len(ids))[:, None] * theta ** (-np.arange(0, size, 2) / size)  # (n, s / 2)

    def norm(name: str, x: Array) -> Array:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weights[f"model.{name}.weight"]

    def linear(name: str, x: Array) -> Array:  # the outputs are the rows
        y = x @ weights[f"model.{name}.weight"].T
        bias = weights.get(f"model.{name}.bias")
        return y if bias is None else y + bias

    def queries_or_keys(name: str, x: Array) -> Array:
        split = _heads(linear(f"{name}_proj", x), size)
        split = norm(f"{name}_norm", split) if f"model.{name}_norm.weight" in weights else split
        return _turned(split, turns)

    x = weights["model.embed_tokens.weight"][ids]  # (n, d)
    for number in range(config["num_hidden_layers"]):
        layer = f"layers.{number}"
        read = norm(f"{layer}.input_layernorm", x)
        q, k = queries_or_keys(f"{layer}.self_attn.q", read), queries_or_keys(f"{layer}.self_attn.k", read)
        v = _heads(linear(f"{layer}.self_attn.v_proj", read), size)
        group = heads // len(k)  # so many heads in a row share keys and values
        attended = _attention(q, k.repeat(group, 0), v.repeat(group, 0))
        x = x + linear(f"{layer}.self_attn.o_proj", _joined(attended))
        read = norm(f"{layer}.post_attention_layernorm", x)
        gate = linear(f"{layer}.mlp.gate_proj", read)
        x = x + linear(f"{layer}.mlp.down_proj", gate / (1 + np.exp(-gate)) * linear(f"{layer}.mlp.up_proj", read))
    return norm("norm", x) @ _head(config, weights, "model.embed_tokens.weight").T


def _turned(x: Array, turns: Array) -> Array:
    """Rotary positions (Su et al., 2021): (h, n, s), the two of a pair half a head apart."""
    a, b = np.split(x, 2, -1)
    cos, sin = np.cos(turns), np.sin(turns)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def _head(config: Mapping[str, Any], weights: Mapping[str, Array], embedding: str) -> Array:
    """(V, d): the embedding, where the two are tied."""
    return weights[embedding if config.get("tie_word_embeddings") else "lm_head.weight"]
