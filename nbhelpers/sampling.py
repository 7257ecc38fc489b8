"""What may be asked of a generation, here or on a server: its length, temperature, seed and stop strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from numbers import Integral, Real

import numpy as np


def check_sampling(max_new_tokens: int, temperature: float, seed: int, stop: str | Sequence[str]) -> list[str]:
    """The stop strings as a list; a clear error for an option that is out of range."""
    if not isinstance(max_new_tokens, Integral) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens!r}: give the number of tokens to write at most, 1 or more")
    if not isinstance(temperature, Real) or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature!r}: give 0 for the most likely token, or a positive number to draw")
    if not isinstance(seed, Integral):
        raise TypeError(f"seed={seed!r}: give a whole number")
    stops = [stop] if isinstance(stop, str) else list(stop)
    if not all(isinstance(s, str) and s for s in stops):
        raise ValueError(f"stop={stop!r}: a stop string is empty, or none: every text holds the empty string")
    return stops


def generator_of(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one item. Any two seeds and any two indices give different ones, however large they are."""
    words = f"{int(seed)} {index}"
    return np.random.default_rng(int.from_bytes(sha256(words.encode()).digest()))


def before_stop(text: str, stops: Iterable[str]) -> str:
    """The text up to the first stop string in it."""
    found = [position for stop in stops if (position := text.find(stop)) >= 0]
    return text[: min(found, default=len(text))]
