"""A scheme, a granularity and bits for each filter, so that all together keep a budget.

Of each filter only candidates on the lower convex hull of cost over bits are worth taking: for any
price of a bit, one of them is the best (Shoham and Gersho, "Efficient bit allocation for an
arbitrary set of quantizers", 1988).  All begin with their smallest; then steps along the hulls are
taken in the order of what a bit of them saves, for as long as there is room.  What is left after
that goes to whatever saves most of all that fits, on a hull or not.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from toolchain.quantize.candidates import Candidate


def allocate(
    candidates: Mapping[int, Sequence[Candidate]], room_bits: float
) -> dict[int, Candidate] | None:
    """One of its candidates for each filter; None where the smallest of all exceed the room."""
    hulls = {key: hull(found) for key, found in candidates.items()}
    taken = dict.fromkeys(hulls, 0)
    left = room_bits - sum(line[0].bits for line in hulls.values())
    if left < 0:
        return None
    queue = [(-_saved(line, 0), key) for key, line in hulls.items() if len(line) > 1]
    heapq.heapify(queue)
    while queue:
        _, key = heapq.heappop(queue)
        line, place = hulls[key], taken[key]
        more = line[place + 1].bits - line[place].bits
        if more > left:
            continue  # what follows on this hull would be larger still
        left -= more
        taken[key] = place + 1
        if place + 2 < len(line):
            heapq.heappush(queue, (-_saved(line, place + 1), key))
    chosen = {key: hulls[key][place] for key, place in taken.items()}
    _fill(chosen, candidates, left)
    return chosen


def _fill(
    chosen: dict[int, Candidate], candidates: Mapping[int, Sequence[Candidate]], left: float
) -> None:
    while True:
        better = [
            (chosen[key].cost - one.cost, key, one)
            for key, found in candidates.items()
            for one in found
            if one.cost < chosen[key].cost and one.bits - chosen[key].bits <= left
        ]
        if not better:
            return
        _, key, one = max(better, key=lambda entry: entry[0])
        left -= one.bits - chosen[key].bits
        chosen[key] = one


def hull(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that are the cheapest for some price of a bit, from the smallest to the largest."""
    found: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.bits, c.cost)):
        if found and one.cost >= found[-1].cost:
            continue
        while len(found) > 1 and _slope(found[-2], found[-1]) <= _slope(found[-1], one):
            found.pop()
        found.append(one)
    return found


def _saved(line: Sequence[Candidate], place: int) -> float:
    return _slope(line[place], line[place + 1])


def _slope(one: Candidate, next_: Candidate) -> float:
    """Cost that each bit more saves."""
    return (one.cost - next_.cost) / (next_.bits - one.bits)
