"""One bar over a run that takes several calls."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from tqdm import tqdm


class Stretch:
    """A part of a longer bar, `length` units of it, that looks like a bar of its own with a total of its own."""

    def __init__(self, bar: tqdm, length: float) -> None:
        self.bar, self.length, self.begun = bar, length, bar.n
        self.scale = 1.0

    def reset(self, total: float | None = None) -> None:
        """Go back to the beginning; from now on, `total` steps are the whole length."""
        self.scale = self.length / (total or self.length or 1.0)
        self.bar.update(self.begun - self.bar.n)

    def update(self, n: float = 1) -> None:
        self.bar.update(n * self.scale)


Progress = bool | Stretch


def bar_of(progress: Progress, **options: Any) -> Any:
    """A context with a progress bar: the stretch that was given, or a new one, shown or not."""
    return nullcontext(progress) if isinstance(progress, Stretch) else tqdm(disable=not progress, **options)
