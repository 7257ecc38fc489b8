"""Which replica of a server gets which request: one prefix, one replica.

Servers keep what they have read of a prompt, and whatever begins alike goes to where it lies already. Requests are
put in the order of a walk through the tree of their prefixes, depth first, and that order is cut into one piece for
each replica: near where the pieces weigh the same, and there at the place where the neighbours share least.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

# How far from equal weights a cut may lie, in parts of a replica's share, so that neighbours share less.
SLACK = 0.25


def spread(prefixes: Sequence[Sequence], costs: Sequence[float], replicas: int) -> list[list[int]]:
    """The numbers of the requests that each replica gets, in the order in which they should be sent.

    Parameters
    ----------
    prefixes : sequence of str, or of sequences of int
        What each request begins with. Requests with equal prefixes go to one replica, whatever they weigh.
    costs : sequence of float
        What each request weighs.
    replicas : int
        1 or more. A single one gets the requests in the given order. Of several, some stay without requests if there
        are fewer different prefixes.

    >>> spread(["b", "a", "b", "a"], [1, 1, 1, 1], replicas=2)
    [[1, 3], [0, 2]]
    """
    if replicas == 1:
        return [list(range(len(prefixes)))]
    order = sorted(range(len(prefixes)), key=lambda number: prefixes[number])
    before = [0, *accumulate(costs[number] for number in order)]  # what weighs before each place
    share = before[-1] / replicas
    open_places = [n for n in range(1, len(order)) if prefixes[order[n - 1]] != prefixes[order[n]]]

    def unfitness(place: int, ideal: float) -> tuple[float, ...]:
        distance = abs(before[place] - ideal)
        if distance > SLACK * share:
            return 1, distance
        return 0, _in_common(prefixes[order[place - 1]], prefixes[order[place]]), distance

    cuts = [0]
    for piece in range(1, replicas):
        later = [place for place in open_places if place > cuts[-1]]
        ideal = piece * share
        cuts.append(min(later, key=lambda place, ideal=ideal: unfitness(place, ideal), default=len(order)))
    return [order[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(order)], strict=True)]


def _in_common(one: Sequence, other: Sequence) -> int:
    """How many elements two sequences begin with together. Slices are compared, which is fast."""
    equal, differ = 0, min(len(one), len(other)) + 1
    while differ - equal > 1:
        middle = (equal + differ) // 2
        if one[:middle] == other[:middle]:
            equal = middle
        else:
            differ = middle
    return equal
