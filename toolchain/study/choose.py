"""Which cells go on: those that nobody beats in both, few bits and little lost; then the next ones.

Ranks by non-dominated sorting (Deb et al., NSGA-II, 2002): rank 0 is what no other point beats in
both; rank 1 what remains so once these are taken out; and so on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Generic, TypeVar

N = TypeVar("N")


@dataclasses.dataclass(frozen=True)
class Candidate(Generic[N]):
    """bits: a weight.  cost: what is lost, in any unit.  family: compared only with its own.

    free: whether it may be chosen; the others only stand for what is known already.
    """

    name: N
    bits: float
    cost: float
    family: str = ""
    free: bool = True


def best(candidates: Sequence[Candidate[N]], count: int) -> list[N]:
    """The names of `count` free candidates at most, of the lowest ranks; of equals the first."""
    ranked = sorted(
        (rank, place) for place, rank in enumerate(ranks(candidates)) if candidates[place].free
    )
    return [candidates[place].name for _, place in ranked[:count]]


def ranks(candidates: Sequence[Candidate[N]]) -> list[int]:
    """Of each candidate, in order."""
    found = [-1] * len(candidates)
    left, rank = set(range(len(candidates))), 0
    while left:
        front = {
            place
            for place in left
            if not any(_beats(candidates[other], candidates[place]) for other in left)
        }
        for place in front:
            found[place] = rank
        left -= front
        rank += 1
    return found


def _beats(one: Candidate[N], other: Candidate[N]) -> bool:
    if one.family != other.family or one.bits > other.bits or one.cost > other.cost:
        return False
    return one.bits < other.bits or one.cost < other.cost
