"""Ways to place a model's threads on a board that are worth a try."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from targets.agent.records import Cluster, Facts

ALL_COUNTS: Final = 8
"""Up to this many CPUs every number of threads is tried, above it those that are multiples of 4."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """threads: of the runtime.  cpus: that they keep to; empty: the scheduler's choice."""

    threads: int
    cpus: tuple[int, ...] = ()

    def __str__(self) -> str:
        words = f"{self.threads} thread" + "s" * (self.threads != 1)
        return f"{words} on CPUs {ranges(self.cpus)}" if self.cpus else words


def candidates(facts: Facts) -> list[Placement]:
    """From 1 thread to as many as there are CPUs; then the fast cores alone, where some are slow.

    Never more threads than CPUs.  Where cores are alike but in clusters (of one clock, and mostly
    of one cache), the largest cluster is tried by itself with as many threads as it has cores.
    """
    allowed = facts.allowed_cpus or tuple(range(facts.cpus_allowed or 1))
    found = [Placement(threads) for threads in counts(len(allowed))]
    kinds = _kinds(facts.clusters, allowed)
    for cpus in _fast(kinds):
        found += [Placement(threads, cpus) for threads in counts(len(cpus))]
    if kinds:
        fastest = set(kinds[0].cpus)
        inside = [_within(cluster, allowed) for cluster in facts.clusters]
        clusters = [c for c in inside if 1 < len(c) < len(fastest) and fastest.issuperset(c)]
        if clusters:
            largest = max(clusters, key=len)
            found.append(Placement(len(largest), largest))
    return list(dict.fromkeys(found))


def counts(cpus: int) -> list[int]:
    """Numbers of threads to try on so many CPUs."""
    return [n for n in range(1, cpus + 1) if n <= ALL_COUNTS or n % 4 == 0 or n == cpus]


def ranges(cpus: Iterable[int]) -> str:
    """ "0-3, 6"."""
    words: list[list[int]] = []
    for cpu in sorted(cpus):
        if words and cpu == words[-1][-1] + 1:
            words[-1].append(cpu)
        else:
            words.append([cpu])
    return ", ".join(f"{w[0]}-{w[-1]}" if len(w) > 1 else f"{w[0]}" for w in words)


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Cores of one kind.  khz: the highest clock that they are allowed; None: unknown."""

    cpus: tuple[int, ...]
    khz: int | None


def _kinds(clusters: Sequence[Cluster], allowed: Sequence[int]) -> list[_Kind]:
    """The fastest first; in the board's order where clocks are not known."""
    found: dict[tuple[object, ...], tuple[int, ...]] = {}
    for cluster in clusters:
        khz = cluster.max_khz or cluster.hardware_max_khz
        kind = (cluster.kind, cluster.part, khz)
        found[kind] = (*found.get(kind, ()), *_within(cluster, allowed))
    kinds = [
        _Kind(tuple(sorted(cpus)), khz if isinstance(khz, int) else None)
        for (_, _, khz), cpus in found.items()
        if cpus
    ]
    return sorted(kinds, key=lambda kind: -(kind.khz or 0))


def _fast(kinds: Sequence[_Kind]) -> list[tuple[int, ...]]:
    """The fastest kind, the two fastest and so on, never all; each by itself where none is known
    to be faster.
    """
    if len(kinds) < 2:
        return []
    clocks = [kind.khz for kind in kinds]
    if None in clocks or len(set(clocks)) < len(clocks):
        return [kind.cpus for kind in kinds]
    return [
        tuple(sorted(cpu for kind in kinds[:count] for cpu in kind.cpus))
        for count in range(1, len(kinds))
    ]


def _within(cluster: Cluster, allowed: Sequence[int]) -> tuple[int, ...]:
    return tuple(cpu for cpu in cluster.cpus if cpu in allowed)
