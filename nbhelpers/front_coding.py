"""Texts as what each adds to the one before it in sorted order, so that beginnings they share are worked on once.

Dictionaries and inverted indexes store sorted words this way (front coding; Witten, Moffat and Bell, Managing
Gigabytes, 1999). Here a text shares whole pieces, which may be cut only where `last_cut` allows it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

# From a text and a place in it to the last place before that at which it can be cut, or 0.
LastCut = Callable[[str, int], int]


class FrontCoded(NamedTuple):
    """One text: the first `kept` pieces of the text before it, then `pieces`.

    Attributes
    ----------
    number : int
        Which of the texts it is.
    kept : int
    pieces : list of str
        Neither the list nor any piece is empty, but for an empty text, which is one empty piece.
    """

    number: int
    kept: int
    pieces: list[str]


def front_code(texts: Sequence[str], last_cut: LastCut) -> Iterator[FrontCoded]:
    """All texts, in sorted order, cut wherever a later one parts from them.

    >>> for coded in front_code(["the end", "the cat sat", "the cat ran"], lambda text, end: text.rfind(" ", 0, end)):
    ...     print(*coded)
    2 0 ['the', ' cat', ' ran']
    1 2 [' sat']
    0 1 [' end']
    """
    order = sorted(range(len(texts)), key=texts.__getitem__)
    # Where each text parts from the one before it.
    shared = [0, *(_shared_cut(texts[a], texts[b], last_cut) for a, b in pairwise(order))][: len(order)]
    # Going backwards, `cuts` holds where the texts further on part from this one, in ascending order. Each of these
    # places ends a piece of one text only. `ends` takes them in reverse, so that going forwards they come off in order.
    cuts: list[int] = []
    ends: list[int] = []
    for number, begin in zip(reversed(order), reversed(shared), strict=True):
        ends.append(len(texts[number]))
        while cuts and cuts[-1] > begin:
            ends.append(cuts.pop())
        if begin and (not cuts or cuts[-1] < begin):
            cuts.append(begin)
    path = [0]  # where the pieces of this text end
    for number, begin in zip(order, shared, strict=True):
        text, pieces = texts[number], []
        kept = bisect_left(path, begin)
        del path[kept + 1 :]
        while not pieces or path[-1] < len(text):
            path.append(ends.pop())
            pieces.append(text[path[-2] : path[-1]])
        yield FrontCoded(number, kept, pieces)


def _shared_cut(one: str, other: str, last_cut: LastCut) -> int:
    """The last place at which both texts can be cut, with everything before it the same in both."""
    alike, longest = 0, min(len(one), len(other))  # the first `alike` characters are the same, not all of `longest + 1`
    while alike < longest:
        middle = (alike + longest + 1) // 2
        if one[alike:middle] == other[alike:middle]:
            alike = middle
        else:
            longest = middle - 1
    return last_cut(one, alike)
