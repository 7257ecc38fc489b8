"""The tokenizer of every model here: a byte-level BPE built from a list of words, and a second encoder in plain Python.

The merges follow from the words by a rule and are not trained, so that no version of a library has a say. `encode`
shares no code with the library ``tokenizers``; the tests compare the two on every text that is asked.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

START = "<s>"
END = "<|endoftext|>"
SPECIAL = (END, START)  # ids 0 and 1

# The words whose counts the model "counts" keeps: one token each, with a space before it.
COUNTED = ("red", "blue", "green", "gold", "black", "white", "pink", "grey")
WORDS = (
    *COUNTED,
    *("the", "and", "is", "of", "a", "in", "not", "to", "one", "two", "three", "five", "ten", "old", "new", "far"),
    *("ret", "urn", "return", "def", "end", "ending", "bee", "tree", "street", "sea", "river", "stone", "cloud"),
    *("rain", "snow", "wind", "fire", "night", "day", "moon", "star", "bird", "fish", "horse", "wolf", "bread"),
    *("salt", "milk", "door", "key", "ship", "king", "queen", "road", "hill", "lake", "leaf", "root"),
)

# GPT-2 cuts a text so before it merges (Radford et al., 2019). Python's `re` has no \p{L}; this stands for it.
_PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
_SPECIALS = re.compile("|".join(map(re.escape, SPECIAL)))


def _letters() -> list[str]:
    """The printable letter for each byte, by GPT-2's rule: 0 to 255 in order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


LETTERS = _letters()


def _spell(text: str) -> tuple[str, ...]:
    return tuple(LETTERS[byte] for byte in text.encode())


def _merge(pieces: tuple[str, ...], ranks: dict[tuple[str, str], int]) -> tuple[str, ...]:
    """Join the pair of the lowest rank, everywhere, until no pair has one."""
    parts = list(pieces)
    while len(parts) > 1:
        pairs = list(pairwise(parts))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined, i = [], 0
        while i < len(parts):
            width = 2 if tuple(parts[i : i + 2]) == best else 1
            joined.append("".join(parts[i : i + width]))
            i += width
        parts = joined
    return tuple(parts)


@lru_cache(maxsize=1)
def merges() -> dict[tuple[str, str], int]:
    """The pairs that are merged, with their ranks: enough for each word to be one token, bare and after a space."""
    ranks: dict[tuple[str, str], int] = {}
    for word in WORDS:
        for text in (word, f" {word}"):
            while len(pieces := _merge(_spell(text), ranks)) > 1:
                ranks[pieces[:2]] = len(ranks)
    return ranks


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Each token as the files spell it, with its id: the special tokens, the 256 bytes, the merges in their order."""
    names = [*SPECIAL, *LETTERS, *("".join(pair) for pair in merges())]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def encode(text: str) -> list[int]:
    """Token ids of a text, without any that a tokenizer would put before it. Special tokens written out are read."""
    return list(_encode(text))


@lru_cache(maxsize=10_000)
def _encode(text: str) -> tuple[int, ...]:
    ids: list[int] = []
    position = 0
    for special in [*_SPECIALS.finditer(text), None]:
        stretch = text[position : special.start() if special else len(text)]
        for piece in _PIECES.findall(stretch):
            ids += [vocabulary()[name] for name in _merge(_spell(piece), merges())]
        if special:
            ids.append(vocabulary()[special[0]])
            position = special.end()
    return tuple(ids)


@lru_cache(maxsize=1)
def _widths() -> list[int]:
    """Bytes of text that each token stands for: a name has one letter for each byte."""
    return [len(name) for name in vocabulary()]


def first_of_answer(prompt: str, ids: list[int]) -> int:
    """The place in `ids`, the tokens of prompt + answer, of the first one that overlaps the answer.

    Bytes are counted, not a library's offsets. A token that straddles the end of the prompt overlaps the answer.
    """
    end, length = 0, len(prompt.encode())
    for place, token in enumerate(ids):
        end += _widths()[token]
        if end > length:
            return place
    raise ValueError("the answer is empty: it has no token")


def tokenizer_files(puts_start: bool, start_token: str | None) -> dict[str, Any]:
    """tokenizer.json and tokenizer_config.json. `puts_start`: it puts <s> before every text, as Llama's does."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    start = [{"SpecialToken": {"id": START, "type_id": 0}}] if puts_start else []
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocabulary()[name], "content": name, **plain} for name in SPECIAL],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [*start, first],
            "pair": [*start, first, second],
            "special_tokens": {START: {"id": START, "ids": [vocabulary()[START]], "tokens": [START]}},
        },
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary(),
            "merges": [list(pair) for pair in merges()],
        },
    }
    config = {
        "add_bos_token": puts_start,
        "bos_token": start_token,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "pad_token": END,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}
