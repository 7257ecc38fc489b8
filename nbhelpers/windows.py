"""Sliding windows that score every token of a text exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral


def sliding_windows(tokens: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Windows over a text of `tokens` tokens, as (begin, scored, end).

    The model predicts tokens `begin` to `end` (exclusive) and reads as many: the one before `begin`, then all but the
    last. Only the tokens from `scored` on count; an earlier window has counted the others.

    >>> list(sliding_windows(10, window=4, stride=2))
    [(0, 0, 4), (2, 4, 6), (4, 6, 8), (6, 8, 10)]
    """
    scored = 0
    end = min(window, tokens)
    while scored < tokens:
        yield max(0, end - window), scored, end
        scored, end = end, min(end + stride, tokens)


def check_windows(name: str, context_length: int | None, window: int | None, stride: int | None) -> tuple[int, int]:
    """Window and stride, the usual ones for None; a clear error if a model called `name` cannot read them."""
    if window is None:
        window = context_length or 2_048
    limit = context_length or window
    if not isinstance(window, Integral) or not 1 <= window <= limit:
        raise ValueError(f"window={window!r}: {name!r} reads from 1 to {limit} tokens at once")
    if stride is None:
        stride = max(1, window // 2)
    if not isinstance(stride, Integral) or not 1 <= stride <= window:
        raise ValueError(
            f"stride={stride!r} with window={window}: give 1 to {window}, or tokens would be skipped between windows"
        )
    return int(window), int(stride)
