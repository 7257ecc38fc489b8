"""What a judge said about an item, or about two answers shown in both orders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from .templates import Template


@dataclass(frozen=True)
class Verdict:
    """What a judge said about one item.

    Attributes
    ----------
    verdict : str or None
        The most probable legal verdict, or the one found in the reply; None if the reply held none.
    value : float or None
        What this verdict is worth in the template.
    score : float or None
        Read as a probability: the expected value over the legal verdicts, as in G-Eval (Liu et al., 2023). Parsed from
        text: the same as `value`.
    probabilities : tuple of float, or None
        Of the legal verdicts in the template's order, adding up to 1. None if the verdict was parsed from text.
    outside : float or None
        The probability of all replies that begin with no legal verdict: what the judge would rather have said.
    reply : str or None
        What the judge wrote, if it was let to write; of several draws, the first.
    problem : str or None
        Why there is no verdict, where it is more than a reply that holds none: a refusal, a filter, reasoning that was
        cut off, probability that could not be told apart.
    draws : tuple of (str or None)
        The verdict of each draw, if the judge was asked several times. `verdict` is then the one given most often.
    """

    verdict: str | None
    value: float | None
    score: float | None
    probabilities: tuple[float, ...] | None = None
    outside: float | None = None
    reply: str | None = None
    problem: str | None = None
    draws: tuple[str | None, ...] = ()

    @property
    def flip_rate(self) -> float | None:
        """Share of the pairs of draws that disagree. None for fewer than two draws; without a verdict counts as one."""
        pairs = list(combinations(self.draws, 2))
        return sum(one != other for one, other in pairs) / len(pairs) if pairs else None


def from_log_probabilities(template: Template, logprobs: Sequence[float]) -> Verdict:
    """The verdict of a judge whose replies begin with the template's verdicts with these log-probabilities, in nats.

    Normalised without underflow: all verdicts may be very unlikely, and one of them still the likeliest.
    """
    top = max(logprobs)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    probabilities = tuple(weight / math.fsum(weights) for weight in weights)
    score = math.fsum(p * value for p, value in zip(probabilities, template.values, strict=True))
    best = logprobs.index(top)
    outside = 1 - math.fsum(map(math.exp, logprobs))
    return Verdict(
        template.verdicts[best], float(template.values[best]), score, probabilities, min(max(outside, 0.0), 1.0)
    )


@dataclass(frozen=True)
class PairVerdict:
    """What a judge said about two answers, shown in both orders.

    Attributes
    ----------
    straight : Verdict
        With the item's `first` answer shown first.
    swapped : Verdict
        With the item's `second` answer shown first.
    """

    straight: Verdict
    swapped: Verdict

    @property
    def parsed(self) -> bool:
        """Whether both orders gave a legal verdict."""
        return self.straight.score is not None and self.swapped.score is not None

    @property
    def winner(self) -> Literal["first", "second", "tie"] | None:
        """The answer that wins in both orders, else a tie (the rule of MT-Bench). None if not `parsed`."""
        if not self.parsed:
            return None
        sides = _side(self.straight), -_side(self.swapped)
        return {(1, 1): "first", (-1, -1): "second"}.get(sides, "tie")

    @property
    def consistent(self) -> bool | None:
        """Whether both orders say the same about the answers. None if not `parsed`."""
        return _side(self.straight) == -_side(self.swapped) if self.parsed else None

    @property
    def preference(self) -> float | None:
        """Preference for the item's `first` answer, from 0 to 1, averaged over both orders. None if not `parsed`."""
        return (self.straight.score + 1 - self.swapped.score) / 2 if self.parsed else None

    @property
    def position_preference(self) -> float | None:
        """Preference for whichever answer is shown first, from 0 to 1; 0.5 is no bias. None if not `parsed`."""
        return (self.straight.score + self.swapped.score) / 2 if self.parsed else None


def _side(verdict: Verdict) -> int:
    """1 for the answer shown first, -1 for the other, 0 for a tie."""
    return (verdict.value > 0.5) - (verdict.value < 0.5)
