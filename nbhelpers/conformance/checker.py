"""`check_backend`: ask a backend in every way that has gone wrong somewhere, and say which properties hold.

Requests are first asked one by one. If their numbers are wrong in a way that has a name (`truth.Convention`), every
later number is compared with what that fault makes of it: so a doubled BOS fails "BOS", and not everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

from .asking import Comparison, Got, Score
from .models import CONTEXT
from .report import Conformance, Finding
from .request_list import Request, requests
from .truth import BOUNDARIES, READINGS, Convention, Truth

ROUNDS = 3  # how often each request is asked concurrently, and in how many orders


def check_backend(
    score: Score,
    architecture: str = "llama",
    *,
    tolerance: float = 1e-4,
    concurrency: int = 8,
    longest: int = CONTEXT,
) -> Conformance:
    """Find out whether a backend returns true log-probabilities.

    Parameters
    ----------
    score : callable
        Takes a list of pairs (prompt, answer) and returns the log-probability of each answer after its prompt, in nats,
        from the model that ``write_model(folder, architecture)`` wrote. It is called with one pair and with many, and
        from several threads at once.
    architecture : str
        As for :func:`write_model`.
    tolerance : float
        Allowed error in nats per token of the answer. 1e-4 is right for float32; a bfloat16 backend needs about 0.5.
    concurrency : int
        Threads that ask at once; with 1 that property is not asked. A race shows itself only when it happens: that no
        number was wrong does not prove that there is none.
    longest : int
        Tokens of the longest row that the backend scores, start token included.

    Returns
    -------
    Conformance
        A finding for each property, with the smallest failing request. ``print`` it.

    Raises
    ------
    ValueError
        If an argument is out of range.
    RuntimeError
        If the backend answers none of the first requests; the message says what it said.

    Notes
    -----
    What it can see is what it asks: a few hundred short requests to a tiny model. A backend may pass and still fail on
    another architecture, a longer text or another precision. With numbers that no known fault explains, the properties
    that need them are "undecided", and the rest are compared with the backend's own numbers, asked one by one.
    """
    check_arguments(tolerance, concurrency)
    return _Check(score, architecture, tolerance, longest).run(concurrency)


def check_arguments(tolerance: float, concurrency: int) -> None:
    """A clear error if one of the two is out of range."""
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance={tolerance!r}: give nats per token, above 0")
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency={concurrency!r}: give a number of threads, 1 or more")


class _Check(Comparison):
    """The properties, one method each."""

    def __init__(self, score: Score, architecture: str, tolerance: float, longest: int) -> None:
        super().__init__(score, Truth(architecture), tolerance)
        self.by_kind: dict[str, list[Request]] = {}
        for request in requests(architecture, longest):
            self.by_kind.setdefault(request.kind, []).append(request)

    def run(self, concurrency: int) -> Conformance:
        plain, unlikely = self.by_kind["plain"], self.by_kind["unlikely"]
        alone = self.one_by_one(plain)
        if all(isinstance(got, str) for got in alone):
            raise RuntimeError(f"the backend answered none of {len(alone)} requests; the first: {alone[0]}")
        all_alone = [*alone, *self.one_by_one(unlikely)]
        self.convention = self.explain(plain, alone)
        self.slack = self.allow_for_rounding([*plain, *unlikely], all_alone)
        order = self.order()
        found = [
            self.shift(plain, alone),
            self.bos(plain, alone),
            self.boundary(),
            self.padding(order),
            order,
            self.cache(order),
            self.concurrency(plain, alone, concurrency),
            self.long_context(),
            self.precision([*plain, *unlikely], all_alone),
        ]
        return Conformance(self.truth.architecture.name, self.tolerance, tuple(found))

    # --- one by one: what the backend does with a single request --------------------------------------------------

    def undecided(self, name: str, why: str = "") -> Finding:
        return Finding(name, "undecided", detail=why or self.unexplained)

    def shift(self, plain: Sequence[Request], alone: Sequence[Got]) -> Finding:
        if self.convention is None:
            return self.undecided("shift")
        if self.convention.reading != "right":
            detail = READINGS[self.convention.reading]
            return self.compare("shift", plain, alone, detail, limit=self.tolerance, want=self.truth.total)
        return self.compare("shift", plain, alone, "some plain requests, and not all")

    def bos(self, plain: Sequence[Request], alone: Sequence[Got]) -> Finding:
        if self.convention is None:
            return self.undecided("BOS")
        if self.convention.starts is not None:
            detail = f"{self.convention.starts} start tokens before every text, for {self.truth.own_starts}"
            return self.compare("BOS", plain, alone, detail, limit=self.tolerance, want=self.truth.total)
        asked = self.by_kind["bos"]
        detail = "the prompt is empty, or begins with the start token already"
        return self.compare("BOS", asked, self.one_by_one(asked), detail)

    def boundary(self) -> Finding:
        if self.convention is None:
            return self.undecided("boundary")
        asked = self.by_kind["boundary"]
        given = self.one_by_one(asked)
        found = self.compare("boundary", asked, given)
        if found.request is None:
            return found
        return self.compare("boundary", asked, given, self.name_the_boundary(asked, given))

    def name_the_boundary(self, asked: Sequence[Request], given: Sequence[Got]) -> str:
        """Which other boundary most of the wrong numbers follow."""
        starts, reading = self.convention.starts, self.convention.reading
        pairs = list(zip(asked, given, strict=True))
        wrong = [
            pair for pair in pairs if isinstance(pair[1], float) and self.error(*pair, self.want(pair[0])) > self.slack
        ]
        like: dict[str, int] = {}
        for boundary in ("counted", "split", "moved"):
            other = Convention(starts, reading, boundary)
            like[boundary] = sum(self.error(r, got, self.truth.total(r, other)) <= self.slack for r, got in wrong)
        most = max(like, key=like.__getitem__)
        return f"{like[most]} follow another rule, that {BOUNDARIES[most]}" if 2 * like[most] > len(wrong) else ""

    def long_context(self) -> Finding:
        if self.convention is None:
            return self.undecided("long context")
        asked, over = self.by_kind["long"], self.by_kind["over"]
        found = self.compare("long context", asked, self.one_by_one(asked))
        if found.request is not None:
            return found
        for request, got in zip(over, self.one_by_one(over), strict=True):
            want = self.want(request)
            if not isinstance(got, str) and not self.error(request, got, want) <= self.slack:
                detail = f"{request.tokens} tokens are cut, and the number is that of another text: an error is right"
                error = math.inf if math.isnan(want) else self.error(request, got, want)
                return Finding("long context", "fails", len(asked) + len(over), error, detail, request, want, got)
        return Finding("long context", "holds", len(asked) + len(over), found.largest_error)

    def precision(self, asked: Sequence[Request], alone: Sequence[Got]) -> Finding:
        if self.convention is None:
            return self.undecided("precision")
        # What is too far off for rounding is another fault's, of "shift"; but what is unlikely is asked for this one.
        pairs = list(zip(asked, alone, strict=True))
        kept = [(r, got) for r, got in pairs if r.kind == "unlikely" or self.error(r, got, self.want(r)) <= self.slack]
        return self.compare("precision", *zip(*kept, strict=True), limit=self.tolerance)

    # --- in company ---------------------------------------------------------------------------------------------------

    def order(self) -> Finding:
        """Rows of one length, which need no padding, in several orders; and whether uneven ones come back mixed up."""
        even, uneven, largest = self.by_kind["even"], self.by_kind["uneven"], 0.0
        for asked in (even, even[::-1], *(Random(seed).sample(even, len(even)) for seed in range(ROUNDS))):
            found = self.compare_batch("order", asked, "rows of one length, in another order")
            if found.request is not None:
                return found
            largest = max(largest, found.largest_error)
        shuffled = Random(0).sample(uneven, len(uneven))
        given = self.ask(shuffled)
        if self.only_mixed(shuffled, given):
            return self.compare("order", shuffled, given, "the numbers are right, and in another order")
        return Finding("order", "holds", (2 + ROUNDS) * len(even) + len(uneven), largest)

    def only_mixed(self, asked: Sequence[Request], given: Sequence[Got]) -> bool:
        """Whether the numbers are right as a set, and wrong one by one."""
        if any(isinstance(got, str) for got in given) or self.compare("order", asked, given).request is None:
            return False
        wanted, slack = sorted(map(self.want, asked)), self.slack * max(map(self.truth.scored, asked))
        return all(abs(a - b) <= slack for a, b in zip(sorted(given), wanted, strict=True))

    def padding(self, order: Finding) -> Finding:
        uneven = self.by_kind["uneven"]
        found = []
        for asked in (uneven, uneven[::-1], Random(0).sample(uneven, len(uneven))):
            found.append(self.compare_batch("padding", asked, "beside requests of other lengths"))
            if found[-1].request is None or self.only_mixed(asked, self.ask(asked)):
                continue
            if order.verdict == "fails":
                return self.undecided("padding", "in one call even rows of one length go wrong")
            return found[-1]
        largest = 0.0 if order.verdict == "fails" else max(each.largest_error for each in found)
        return Finding("padding", "holds", 3 * len(uneven), largest)

    def cache(self, order: Finding) -> Finding:
        """Shared beginnings: in one call, in calls that follow each other, and the same again. No row needs padding."""
        cuts, answers, short = self.by_kind["cuts"], self.by_kind["answers"], self.by_kind["short cuts"]
        again = [request for request in (*cuts[:8], *answers[:8]) for _ in range(2)]
        one_by_one = [*short, *cuts, *again, *cuts[:8]]
        found = self.compare("cache", one_by_one, self.one_by_one(one_by_one), "asked one after another")
        if found.request is not None:
            return found
        counted, largest = len(one_by_one), found.largest_error
        mixed = Random(0).sample(cuts + answers, len(cuts + answers))
        for asked in (short, cuts, cuts[::-1], answers, again, mixed, cuts):
            found = self.compare_batch("cache", asked, "requests that share text, in one call")
            counted, largest = counted + len(asked), max(largest, found.largest_error)
            if found.request is None or self.only_mixed(asked, self.ask(asked)):
                continue
            if order.verdict == "fails":
                return self.undecided("cache", "in one call even requests that share nothing go wrong")
            return found
        return Finding("cache", "holds", counted, largest)

    def concurrency(self, plain: Sequence[Request], alone: Sequence[Got], threads: int) -> Finding:
        if threads == 1:
            return Finding("concurrency", "not asked")
        asked = [request for _ in range(ROUNDS) for request in plain]
        with ThreadPoolExecutor(threads) as pool:
            given = [answer[0] for answer in pool.map(lambda request: self.ask([request]), asked)]
        own = {request: math.nan if isinstance(got, str) else got for request, got in zip(plain, alone, strict=True)}
        detail = f"{threads} threads asked at once"
        found = self.compare("concurrency", asked, given, detail, want=own.__getitem__)
        if found.request is None:
            return found
        # Asked again, one by one: a number that changes with each asking is no fault of the threads.
        return self.compare("concurrency", asked, given, detail, want=self.number_alone)
