"""What else a board did while a run was on, by the kernel's own counts, and what that took."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from targets.agent import wire
from toolchain.recorded import Run
from toolchain.report.figures import Doubt, RunFigures

SLOWED: Final = 0.9  # of the highest clock
OTHERS: Final = 0.3  # of one core, on average: an idle system with a desktop takes less
BUSY: Final = 1.0  # of load average above the threads of the run itself
SWAPPED_BYTES: Final = 32 * 2**20
_SHORTEST_NS: Final = 100_000_000  # between two readings: the kernel counts in steps of 10 ms
_WORKING: Final = 0.5  # of a core's time
_MIB: Final = 2**20


def doubts_of_clocks(run: Run, figures: RunFigures) -> Iterator[Doubt]:
    """Clocks below their highest."""
    facts = run.last(wire.Facts) or wire.Facts()
    every = [sample for sample in run.of(wire.Sample) if sample.cpu_khz]
    # Where loads are told, the first reading has none: it is of the time before the work began.
    told = [sample for sample in every if sample.cpu_load]
    readings = told or every
    highest = _highest_khz(facts, asked_for=run.meta.profile is not None)
    slowed = sum(_is_slowed(sample, highest, facts.clusters) for sample in readings)
    if slowed > _few(len(readings), bool(told), figures.target.governors):
        yield Doubt(
            "slowed",
            f"A CPU clock was below {SLOWED:.0%} of its maximum in {slowed} of {len(readings)} "
            "readings: throttled, or a governor that saves power.",
        )


def doubts_of_others(run: Run, figures: RunFigures) -> Iterator[Doubt]:
    """Processor time and memory that something else took."""
    threads = figures.speed.threads
    own = f"{threads} thread" + "s" * (threads != 1)
    taken = others_cores(run)
    loads = [s.load_1min for s in run.of(wire.Sample) if s.load_1min is not None]
    if taken is not None:
        if taken > OTHERS:
            yield Doubt(
                "busy",
                f"Something else was running: it took {taken:.1f} cores on average, beside "
                f"{own} of our own.",
            )
    elif loads and statistics.median(loads) > threads + BUSY:
        yield Doubt(
            "busy",
            f"Something else was running: load average {statistics.median(loads):.1f} with {own} "
            "of our own.",
        )
    if figures.memory.swap_bytes:
        yield Doubt(
            "swapped",
            f"{figures.memory.swap_bytes / _MIB:.0f} MiB of it were swapped out: memory reads "
            "low and time high.",
        )
    elif (swapped := swapped_bytes(run)) > SWAPPED_BYTES:
        yield Doubt(
            "swapped",
            f"The board swapped out {swapped / _MIB:.0f} MiB while it ran: memory was short, and "
            "times are high.",
        )


def others_cores(run: Run) -> float | None:
    """Cores that all else kept busy, on average over the run; None where that was not told.

    The work of all cores (/proc/stat) less the processor time of the agent itself.
    """
    samples = [s for s in run.of(wire.Sample) if s.at_ns is not None and s.cpu_ns is not None]
    others_ns, all_ns = 0.0, 0
    for before, now in itertools.pairwise(samples):
        span_ns = (now.at_ns or 0) - (before.at_ns or 0)
        own_ns = (now.cpu_ns or 0) - (before.cpu_ns or 0)
        known = [share for share in now.cpu_load.values() if share is not None]
        if known and span_ns >= _SHORTEST_NS and own_ns >= 0:
            others_ns += sum(known) * span_ns - own_ns
            all_ns += span_ns
    return max(0.0, others_ns / all_ns) if all_ns else None


def swapped_bytes(run: Run) -> int:
    """How far the free swap of the whole system fell below what it was at first."""
    free = [s.swap_free_bytes for s in run.of(wire.Sample) if s.swap_free_bytes is not None]
    return free[0] - min(free) if free else 0


def _few(readings: int, working: bool, governors: Sequence[str]) -> float:
    """So many slow readings prove nothing.

    Under `performance` a clock that is lower while its cores work was lowered by something.
    Elsewhere the governor may have been a little late; where nobody told whether cores worked,
    clocks were low before the work began, too.
    """
    if not working:
        return readings / 4
    return 0 if set(governors) == {"performance"} else max(1, readings / 20)


def _highest_khz(facts: wire.Facts, *, asked_for: bool) -> dict[str, int]:
    """By policy: what its cores can do, or the limit in force where settings were asked for."""
    found = dict(facts.cpu_max_khz)
    for cluster in facts.clusters if asked_for else ():
        if cluster.cpus and cluster.max_khz:
            found[f"policy{min(cluster.cpus)}"] = cluster.max_khz
    return found


def _is_slowed(
    sample: wire.Sample, highest_khz: Mapping[str, int], clusters: Sequence[wire.Cluster]
) -> bool:
    """Whether the clock of some policy was well below its highest while its cores worked."""
    return any(
        khz is not None
        and policy in highest_khz
        and khz < SLOWED * highest_khz[policy]
        and _works(sample, policy, clusters)
        for policy, khz in sample.cpu_khz.items()
    )


def _works(sample: wire.Sample, policy: str, clusters: Sequence[wire.Cluster]) -> bool:
    """True where nobody told."""
    mates = [c.cpus for c in clusters if c.cpus and f"policy{min(c.cpus)}" == policy]
    names = {f"cpu{cpu}" for cpu in mates[0]} if mates else set(sample.cpu_load)
    known = [sample.cpu_load.get(name) for name in names]
    return not sample.cpu_load or any(share is not None and share >= _WORKING for share in known)
