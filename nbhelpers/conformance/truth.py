"""What each request's number is, and what it would be under faults that have a name.

A backend that is wrong is wrong in some way. `Truth.total` gives the true number, and also that of a backend which
reads rows one late, or puts a second start token: where a backend's numbers are those, the fault is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .forward import logprob_table
from .models import config_of, find_architecture
from .request_list import Request
from .vocabulary import encode, first_of_answer

# How a backend may read the answer's tokens from the rows: its name, and what to say of it. Token i is predicted by
# row i - 1. `after` and `before` take the neighbouring row; the others move an end of the span.
READINGS = {
    "right": "each answer token is read from the row before it",
    "row after": "each token's number is read one row late, where the model has seen it already",
    "row before": "each token's number is read one row early, without the token before it",
    "first lost": "the answer's first token is not scored",
    "last lost": "the answer's last token is not scored",
    "one more": "the prompt's last token is scored with the answer",
    "span early": "the span is one token early: the prompt's last token counts, the answer's last does not",
}
# Where the answer begins among the tokens.
BOUNDARIES = {
    "joint": "the tokens of prompt + answer count that overlap the answer's characters",
    "split": "prompt and answer are encoded apart",
    "counted": "as many tokens of prompt + answer are dropped as the prompt alone has",
    "moved": "white space at the prompt's end moves to the answer, and then tokens are counted as those of the prompt",
}


@dataclass(frozen=True)
class Convention:
    """What a backend does, right or wrong.

    Attributes
    ----------
    starts : int or None
        How many start tokens stand before every text; None for as many as the tokenizer puts.
    reading, boundary : str
        Of `READINGS` and `BOUNDARIES`.
    """

    starts: int | None = None
    reading: str = "right"
    boundary: str = "joint"


RIGHT = Convention()


class Truth:
    """The numbers of one architecture, from float64 NumPy. Texts that were read are remembered."""

    def __init__(self, architecture: str) -> None:
        self.architecture = find_architecture(architecture)
        self.config = config_of(self.architecture)
        self._tables: dict[tuple[int, ...], np.ndarray] = {}

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return self.architecture.weights(self.config)

    @property
    def own_starts(self) -> int:
        """How many start tokens the tokenizer puts before a text."""
        return int(self.architecture.puts_start)

    def row(self, request: Request, convention: Convention = RIGHT) -> tuple[list[int], int]:
        """The token ids that are read, and the place of the answer's first."""
        prompt, answer = request.pair
        ids = encode(prompt + answer)
        if convention.boundary == "joint":
            first = first_of_answer(prompt, ids)
        else:
            first = len(encode(prompt.rstrip() if convention.boundary == "moved" else prompt))
            if convention.boundary == "split":
                ids = encode(prompt) + encode(answer)
        starts = self.own_starts if convention.starts is None else convention.starts
        written = ids[:1] == [self.architecture.start_id]
        if convention.starts is None and written:  # the text brings its own
            starts = 0
        if starts == 0 and first == 0:  # nothing stands before the answer: the start token stands in
            starts = 1
        return [self.architecture.start_id] * starts + ids, starts + first

    def total(self, request: Request, convention: Convention = RIGHT) -> float:
        """Log-probability of the answer in nats; NaN where the convention cannot read the request at all."""
        ids, first = self.row(request, convention)
        places = range(first, len(ids))  # of the answer's tokens
        if convention.reading in ("one more", "span early"):
            places = range(first - 1, len(ids) - (convention.reading == "span early"))
        elif convention.reading in ("first lost", "last lost"):
            places = places[1:] if convention.reading == "first lost" else places[:-1]
        shift = {"row after": 0, "row before": -2}.get(convention.reading, -1)
        if places and places[0] + shift < 0:
            return math.nan
        try:
            table = self._table(ids)
        except ValueError:  # more tokens than GPT-2 has positions
            return math.nan
        return math.fsum(table[place + shift, ids[place]] for place in places)

    def scored(self, request: Request) -> int:
        """How many tokens the answer has."""
        ids, first = self.row(request)
        return len(ids) - first

    def _table(self, ids: Sequence[int]) -> np.ndarray:
        key = tuple(ids)
        if key not in self._tables:
            self._tables[key] = logprob_table(self.config, self.weights, key)
        return self._tables[key]


def expected(architecture: str, asked: Sequence[Request]) -> list[float]:
    """Log-probability of each request's answer in nats, from a forward pass in float64 NumPy without torch.

    An answer's tokens are those of prompt + answer, encoded at once, that overlap its characters; one that straddles
    the end of the prompt counts whole. Before the text stands what the tokenizer puts there, unless the text brings it;
    where nothing stands before the answer, the tokenizer's BOS (else EOS) token does. Those are the conventions of
    :func:`nbhelpers.score_answers`. NaN if GPT-2 has too few positions; Llama and Qwen read on beyond their limit.
    """
    truth = Truth(architecture)
    return [truth.total(request) for request in asked]
