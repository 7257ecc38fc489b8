"""Nats, and the units that people report."""

from __future__ import annotations

import math


def perplexity_of(nats: float, count: int) -> float:
    """exp(nats / count): the effective number of equally likely choices. Infinite where a float cannot hold it."""
    try:
        return math.exp(nats / count)
    except OverflowError:
        return math.inf


def bits_per_byte_of(nats: float, text_bytes: int) -> float:
    """Nats to bits, per byte of UTF-8."""
    return nats / math.log(2) / text_bytes
