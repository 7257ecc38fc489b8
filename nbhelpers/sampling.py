"""What may be asked of a generation, here or on a server: its length, temperature, seed and stop strings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from numbers import Integral, Real

import numpy as np


def check_sampling(
    max_new_tokens: int, temperature: float, seed: int, stop: str | Sequence[str], samples: int | None = None
) -> list[str]:
    """The stop strings as a list; a clear error for an option that is out of range."""
    if not isinstance(max_new_tokens, Integral) or max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens!r}: give the number of tokens to write at most, 1 or more")
    if not isinstance(temperature, Real) or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature!r}: give 0 for the most likely token, or a positive number to draw")
    if not isinstance(seed, Integral):
        raise TypeError(f"seed={seed!r}: give a whole number")
    if samples is not None and (not isinstance(samples, Integral) or samples < 1):
        raise ValueError(f"samples={samples!r}: give how many texts to draw for each prompt, 1 or more")
    if samples is not None and samples > 1 and temperature == 0:
        raise ValueError(
            f"samples={samples} with temperature=0: all would be the same text; give a temperature, such as 0.7"
        )
    stops = [stop] if isinstance(stop, str) else list(stop)
    if not all(isinstance(s, str) and s for s in stops):
        raise ValueError(f"stop={stop!r}: a stop string is empty, or none: every text holds the empty string")
    return stops


def generator_of(seed: int, index: int, sample: int = 0) -> np.random.Generator:
    """The random numbers of one sample of one item: others for any other seed, index or sample, however large."""
    words = f"{int(seed)} {index} {sample}" if sample else f"{int(seed)} {index}"
    return np.random.default_rng(int.from_bytes(sha256(words.encode()).digest()))


def before_stop(text: str, stops: Iterable[str]) -> str:
    """The text up to the first stop string in it."""
    found = [position for stop in stops if (position := text.find(stop)) >= 0]
    return text[: min(found, default=len(text))]
