"""What a check found: one finding for each property, and all of them for a person to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .request_list import Request

Verdict = Literal["holds", "fails", "undecided", "not asked"]

# The properties, and what each promises.
PROPERTIES = {
    "shift": "an answer's number is that of its own tokens, each given all before it",
    "BOS": "the start tokens that the tokenizer puts stand before a text, once",
    "boundary": "the answer's tokens are those that overlap its characters",
    "padding": "a number is the same beside longer and shorter requests",
    "order": "numbers come back in the order of the requests, and do not depend on it",
    "cache": "a number is the same whatever text was read before, or is shared",
    "concurrency": "a number is the same while others are asked",
    "long context": "a text as long as the context is read whole, and a longer one is no other text's number",
    "precision": "numbers are those of float64 within the tolerance",
}


@dataclass(frozen=True)
class Finding:
    """Whether one property holds, and the smallest request that shows that it does not.

    Attributes
    ----------
    name : str
        Of `PROPERTIES`.
    verdict : str
        "holds"; "fails"; "undecided", where another fault hides it; or "not asked".
    asked : int
        How many numbers were compared.
    largest_error : float
        The largest error among them, in nats per token of the answer; infinite where there was no number.
    detail : str
        What is known about the fault. Empty if the property holds.
    request : Request or None
        The smallest request with a wrong number.
    expected : float
        Its number, in nats; of a backend that is wrong in a known way, such as a second BOS, what that makes of it.
    got : float or str
        What the backend gave: a number in nats, or what it said.
    beside : tuple of Request
        What has to be asked in the same call for it to go wrong.
    """

    name: str
    verdict: Verdict
    asked: int = 0
    largest_error: float = 0.0
    detail: str = ""
    request: Request | None = None
    expected: float = math.nan
    got: float | str = math.nan
    beside: tuple[Request, ...] = ()

    def __str__(self) -> str:
        line = f"{self.name:13} {self.verdict if self.verdict != 'fails' else 'FAILS':10}"
        line += f" {self.asked:4} asked, largest error {self.largest_error:.1e}" if self.asked else ""
        lines = [line.rstrip(), self.detail] if self.detail else [line.rstrip()]
        if self.request is not None:
            got = f"{self.got:.4f}" if isinstance(self.got, float) else self.got
            expected = "an error" if math.isnan(self.expected) else f"{self.expected:.4f}"
            lines.append(f"{self.request}: expected {expected}, got {got}")
            if len(self.beside) == 1:
                lines.append(f"  in one call with {self.beside[0]}")
            elif self.beside:
                lines.append(f"  in one call with {len(self.beside)} others")
        return "\n                ".join(lines)


@dataclass(frozen=True)
class Conformance:
    """Which properties a backend has on one model.

    Attributes
    ----------
    architecture : str
    tolerance : float
        Nats per token of an answer.
    findings : tuple of Finding
        One for each of `PROPERTIES`, in that order.
    """

    architecture: str
    tolerance: float
    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        """The finding on a property."""
        return next(finding for finding in self.findings if finding.name == name)

    @property
    def passed(self) -> bool:
        """Whether all that was asked holds."""
        return all(finding.verdict in ("holds", "not asked") for finding in self.findings)

    @property
    def failures(self) -> Sequence[str]:
        """The properties that fail."""
        return [finding.name for finding in self.findings if finding.verdict == "fails"]

    def __str__(self) -> str:
        hold = sum(finding.verdict == "holds" for finding in self.findings)
        head = f"{self.architecture}: {hold} of {len(self.findings)} properties hold"
        head += f" (nats per token, tolerance {self.tolerance:.0e})"
        return "\n  ".join([head, *map(str, self.findings)])
