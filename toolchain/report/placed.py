"""Threads and CPUs of runs, and how they were chosen, in words and rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from toolchain.report import text
from toolchain.report.figures import RunFigures
from toolchain.runmeta import TuningMeta
from toolchain.tuning.candidates import Placement


@dataclasses.dataclass(frozen=True)
class Row:
    """One way that was tried.  times: the time of the chosen one that it takes."""

    way: str
    median_ms: float
    times: float
    runs: int
    chosen: bool


def words(runs: Sequence[RunFigures]) -> str:
    """ "4 threads", or "4 threads or 2 threads on CPUs 4-5" where runs differ."""
    return " or ".join(dict.fromkeys(of_run(run) for run in runs))


def of_run(run: RunFigures) -> str:
    """Threads of one run, and the CPUs that they kept to."""
    return str(Placement(run.speed.threads, run.speed.cpus))


def rows(tuning: TuningMeta) -> list[Row]:
    """Every way that was tried, in the order of trying."""
    chosen = (tuning.threads, tuning.cpus)
    own = next((t.median_ms for t in tuning.tried if (t.threads, t.cpus) == chosen), None)
    return [
        Row(
            way=str(Placement(tried.threads, tried.cpus)),
            median_ms=tried.median_ms,
            times=tried.median_ms / own if own else 1.0,
            runs=tried.runs,
            chosen=(tried.threads, tried.cpus) == chosen,
        )
        for tried in tuning.tried
    ]


def how(tuning: TuningMeta) -> str:
    """When it was measured, and from which difference on one is real."""
    noise = "" if tuning.noise is None else f"; differences under {100 * tuning.noise:.1f} % are "
    noise += "noise" if noise else ""
    kept = "remembered from" if tuning.remembered else "measured"
    return f"{kept} {text.day(tuning.measured)}{noise}"


def line(run: RunFigures) -> str | None:
    """For the terminal; None where threads were given."""
    if run.tuning is None:
        return None
    tried = ", ".join(f"{row.way} {text.milliseconds(row.median_ms)}" for row in rows(run.tuning))
    chosen = Placement(run.tuning.threads, run.tuning.cpus)
    return f"{text.name_of(run)}: {chosen} chosen of {tried} ({how(run.tuning)})"
