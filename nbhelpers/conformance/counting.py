"""A model to check by hand: its next token depends on the counts so far, and on nothing else.

It has the shape of Llama, with one layer. Of its 461 tokens it counts eight words (`COUNTED`: " red", " blue", ...).
Queries and keys are zero, so attention is uniform over everything read, and its mean of one-hot vectors is the share
of each word. After n tokens, the start token among them, c of which are the word w:

    odds(w) = 2 ** (8 * c / n),  every other token has odds 1,  and  p(w) = odds(w) / sum of all odds.

So after eight tokens, each occurrence doubles a word's odds. Read "<s> red red red red blue blue green": n = 8, the
odds are 16 for " red", 4 for " blue", 2 for " green", 1 for the other 458 tokens, and p(" red") = 16 / 480 = 1/30,
or -3.401 nats. A second <s> makes n = 9, a missing one n = 7, and a padding token that is attended to counts like any
other: each is a number that can be worked out on paper.

A constant 4,096 in one dimension keeps the norms from changing with what was read; the closed form holds to 1e-5 nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .vocabulary import COUNTED, LETTERS, vocabulary

DOUBLINGS = 8  # how many times a word's odds double if nothing else was read
_CONSTANT = 4096.0
_SIZES = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "intermediate_size": 8}


def counting_config(llama: Mapping[str, Any]) -> dict[str, Any]:
    """Llama's configuration with one layer and one head."""
    return {**llama, **_SIZES, "tie_word_embeddings": False}


def counted_ids() -> list[int]:
    """Ids of the words that are counted, each with the space before it."""
    space = LETTERS[ord(" ")]
    return [vocabulary()[space + word] for word in COUNTED]


def counting_weights(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Dimensions 0 to 7 say which word was read, 8 to 15 hold the share of each, 16 is the constant."""
    width, rows, words = config["hidden_size"], config["vocab_size"], len(COUNTED)
    ids, constant = counted_ids(), 2 * words
    embedding, head = np.zeros((2, rows, width), np.float32)
    embedding[:, constant] = _CONSTANT
    embedding[ids, range(words)] = 1
    head[ids, range(words, 2 * words)] = 1
    # A norm divides by the root of the mean square, _CONSTANT / sqrt(width): give that back, and the share stays.
    restore = np.float32(_CONSTANT / math.sqrt(width))
    value, output = np.zeros((2, width, width), np.float32)
    value[range(words), range(words)] = 1
    output[range(words, 2 * words), range(words)] = 1
    nothing = np.zeros((width, width), np.float32)
    name = "model.layers.0"
    return {
        "model.embed_tokens.weight": embedding,
        f"{name}.input_layernorm.weight": np.full(width, restore, np.float32),
        f"{name}.self_attn.q_proj.weight": nothing,
        f"{name}.self_attn.k_proj.weight": nothing.copy(),
        f"{name}.self_attn.v_proj.weight": value,
        f"{name}.self_attn.o_proj.weight": output,
        f"{name}.post_attention_layernorm.weight": np.ones(width, np.float32),
        f"{name}.mlp.gate_proj.weight": np.zeros((config["intermediate_size"], width), np.float32),
        f"{name}.mlp.up_proj.weight": np.zeros((config["intermediate_size"], width), np.float32),
        f"{name}.mlp.down_proj.weight": np.zeros((width, config["intermediate_size"]), np.float32),
        "model.norm.weight": np.full(width, restore * DOUBLINGS * math.log(2), np.float32),
        "lm_head.weight": head,
    }


def by_counting(ids: Sequence[int]) -> list[float]:
    """Log-probability in nats of every token but the first, given all before it, by the closed form above."""
    counted = dict.fromkeys(counted_ids(), 0)
    logprobs = []
    for n, token in enumerate(ids):
        if n:
            log_odds = {word: DOUBLINGS * count / n * math.log(2) for word, count in counted.items()}
            others = len(vocabulary()) - len(counted)
            total = others + math.fsum(map(math.exp, log_odds.values()))
            logprobs.append(log_odds.get(token, 0.0) - math.log(total))
        if token in counted:
            counted[token] += 1
    return logprobs
