"""Any other Linux board: named as it names itself."""

from __future__ import annotations

from targets.agent.records import Facts
from targets.boards.kind import Kind
from targets.readings.sysfs import CPUFREQ, THERMAL


def kind_of(facts: Facts) -> Kind:
    """The model as the name; the last entry of `compatible` is the SoC's, by custom."""
    soc = facts.compatible[-1] if len(facts.compatible) > 1 else ""
    return Kind(
        name=facts.board_model or "a Linux board",
        family="Linux",
        soc=soc.rpartition(",")[2],
        parts=(),
        readings=(CPUFREQ, THERMAL),
    )
