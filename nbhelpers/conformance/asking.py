"""Asking a backend, and holding its numbers against what they should be.

`Comparison` knows one backend and one model. `checker` decides what is asked.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ..reasons import reason
from .report import Finding
from .request_list import Request
from .truth import READINGS, RIGHT, Convention, Truth

# Takes pairs of prompt and answer; returns the log-probability of each answer, in nats.
Score = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
Got = float | str  # a number, or why there is none

MOST_TRIES = 30  # companions that are tried to make a failure smaller
# A median error of so many nats per token is still rounding, of bfloat16 or worse; more is another number.
STILL_ROUNDING = 0.1


class Comparison:
    """A backend, what it was found to do with a text, and the error that this leaves."""

    def __init__(self, score: Score, truth: Truth, tolerance: float) -> None:
        self.score, self.truth, self.tolerance = score, truth, tolerance
        self.convention: Convention | None = RIGHT
        self.slack = tolerance
        self.unexplained = ""
        self.numbers_alone: dict[Request, float] = {}

    def ask(self, asked: Sequence[Request]) -> list[Got]:
        """One call of the backend."""
        try:
            numbers = list(self.score([request.pair for request in asked]))
            if len(numbers) != len(asked):
                return [f"{len(numbers)} numbers for {len(asked)} requests"] * len(asked)
            values = [float(number) for number in numbers]
        except Exception as error:  # a backend may raise whatever it likes
            return [reason(error)] * len(asked)
        return [value if math.isfinite(value) else f"{value}" for value in values]

    def one_by_one(self, asked: Iterable[Request]) -> list[Got]:
        return [self.ask([request])[0] for request in asked]

    def want(self, request: Request) -> float:
        """The number that a request should have from this backend; NaN if that cannot be said."""
        if self.convention is not None:
            return self.truth.total(request, self.convention)
        return self.number_alone(request)

    def number_alone(self, request: Request) -> float:
        """The backend's own number for a request that is asked by itself; NaN if it gives none."""
        if request not in self.numbers_alone:
            (got,) = self.ask([request])
            self.numbers_alone[request] = math.nan if isinstance(got, str) else got
        return self.numbers_alone[request]

    def error(self, request: Request, got: Got, want: float) -> float:
        """Nats per token; infinite where there is no number."""
        return math.inf if isinstance(got, str) else abs(got - want) / self.truth.scored(request)

    def compare(
        self,
        name: str,
        asked: Sequence[Request],
        given: Sequence[Got],
        detail: str = "",
        *,
        limit: float | None = None,
        want: Callable[[Request], float] | None = None,
    ) -> Finding:
        """Hold numbers against what they should be; the smallest request that is wrong stands for all."""
        limit, want_of = self.slack if limit is None else limit, want or self.want
        triples = [(request, got, want_of(request)) for request, got in zip(asked, given, strict=True)]
        triples = [(r, got, want) for r, got, want in triples if not math.isnan(want)]
        errors = [self.error(*triple) for triple in triples]
        wrong = [triple for triple, error in zip(triples, errors, strict=True) if error > limit]
        largest = max(errors, default=0.0)
        if not wrong:
            return Finding(name, "holds", len(triples), largest)
        request, got, want = min(wrong, key=lambda triple: (triple[0].tokens, len("".join(triple[0].pair))))
        detail = f"{len(wrong)} of {len(triples)} numbers are wrong{': ' if detail else ''}{detail}"
        return Finding(name, "fails", len(triples), largest, detail, request, want, got)

    def compare_batch(self, name: str, asked: Sequence[Request], detail: str) -> Finding:
        """The same for one call with all requests; a failure is made smaller, to two requests where that is enough.

        A number that the backend gives without company, too, is no fault of the company.
        """
        given = self.ask(asked)
        found = self.compare(name, asked, given, detail)
        if found.request is None:
            return found
        found = self.compare(name, asked, given, detail, want=self.number_alone)
        if found.request is None:
            return found
        others = sorted((other for other in asked if other != found.request), key=lambda other: other.tokens)
        for other in others[:MOST_TRIES]:
            for pair in ([other, found.request], [found.request, other]):
                less = self.compare(name, pair, self.ask(pair), want=self.number_alone)
                if less.request is not None:
                    beside = tuple(request for request in pair if request != less.request)
                    return replace(found, request=less.request, expected=less.expected, got=less.got, beside=beside)
        return replace(found, beside=tuple(others))

    def explain(self, plain: Sequence[Request], alone: Sequence[Got]) -> Convention | None:
        """What the backend does with a text, right or wrong; None if that is no fault with a name."""

        def typical_error(convention: Convention) -> float:
            pairs = zip(plain, alone, strict=True)
            errors = [self.error(request, got, self.truth.total(request, convention)) for request, got in pairs]
            return statistics.median(math.inf if math.isnan(error) else error for error in errors)

        best, right = RIGHT, typical_error(RIGHT)
        if right > self.tolerance:
            starts = [None, *(number for number in (0, 1, 2) if number != self.truth.own_starts)]
            known = [Convention(number, reading) for number in starts for reading in READINGS]
            nearest = min(known, key=typical_error)
            # Rounding must not pass for a fault that happens to come nearer.
            best = nearest if typical_error(nearest) < right / 3 else RIGHT
        if typical_error(best) <= STILL_ROUNDING:
            return best
        self.unexplained = self.in_another_unit(plain, alone)
        return None

    def in_another_unit(self, plain: Sequence[Request], alone: Sequence[Got]) -> str:
        """What to say of numbers that no convention explains: perhaps they are right, and not in nats."""
        pairs = [(r, got, self.truth.total(r)) for r, got in zip(plain, alone, strict=True) if isinstance(got, float)]
        units = {
            "they are means per token, not totals": lambda r, total: total / self.truth.scored(r),
            "they are in bits, not in nats": lambda r, total: total / math.log(2),
            "they have the wrong sign": lambda r, total: -total,
            "they are probabilities, not their logarithms": lambda r, total: math.exp(total),
        }
        for said, convert in units.items():
            if len(pairs) > 1 and all(math.isclose(got, convert(r, total), rel_tol=1e-3) for r, got, total in pairs):
                return f"the numbers are right otherwise, but {said}"
        return "the numbers are wrong, and no known fault explains them"

    def allow_for_rounding(self, asked: Sequence[Request], alone: Sequence[Got]) -> float:
        """The error, in nats per token, that fails no property but precision."""
        if self.convention is None:
            return self.tolerance
        pairs = zip(asked, alone, strict=True)
        errors = sorted(self.error(request, got, self.want(request)) for request, got in pairs)
        errors = [error for error in errors if error < 10 * STILL_ROUNDING]  # more than that is a number of its own
        rounding = max(10 * statistics.median(errors), 4 * errors[len(errors) * 9 // 10])
        return max(self.tolerance, min(rounding, 10 * STILL_ROUNDING))
