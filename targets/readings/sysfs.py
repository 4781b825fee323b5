"""Files of /sys and /proc: many in one command, and what clocks and temperatures among them say.

https://docs.kernel.org/admin-guide/pm/cpufreq.html
https://docs.kernel.org/driver-api/thermal/sysfs-api.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from targets.agent.board import cpu_list
from targets.readings.reading import LONGEST, Reading, whole

_SENSIBLE_C = (-100.0, 250.0)


def dump(*patterns: str) -> tuple[str, ...]:
    """A command that prints files with their paths; what cannot be read is left empty.

    patterns: of the shell, without blanks.  Inverse: `files`.
    """
    script = (
        f"for f in {' '.join(patterns)}; do "
        '[ -f "$f" ] || continue; echo "==> $f <=="; cat "$f" 2>/dev/null; echo; done'
    )
    return "sh", "-c", script


def files(text: str) -> dict[str, str]:
    """Contents by path, without blanks and NULs at their ends; empty where it cannot be read."""
    found: dict[str, str] = {}
    pieces = re.split(r"^==> (/[^\n]{1,400}) <==\n", text[:LONGEST], flags=re.M)
    for path, content in zip(pieces[1::2], pieces[2::2], strict=False):
        found.setdefault(path, content.strip("\0 \t\r\n"))
    return found


@dataclass(frozen=True)
class Policy:
    """Cores that share a clock, in kHz.

    max_khz: the limit in force (scaling_max_freq); hardware_max_khz: what the cores can do.
    """

    name: str
    cpus: tuple[int, ...] = ()
    governor: str | None = None
    governors: tuple[str, ...] = ()
    min_khz: int | None = None
    max_khz: int | None = None
    hardware_max_khz: int | None = None
    now_khz: int | None = None


@dataclass(frozen=True)
class Cpufreq:
    """clusters: by their first core."""

    clusters: tuple[Policy, ...] = ()

    @property
    def big(self) -> tuple[int, ...]:
        """The cores with the highest limit, where not all have the same."""
        limits = [policy.max_khz for policy in self.clusters if policy.max_khz is not None]
        if len(set(limits)) < 2:
            return ()
        return tuple(
            cpu for p in self.clusters if p.max_khz == max(limits) for cpu in sorted(p.cpus)
        )


@dataclass(frozen=True)
class Thermal:
    """Degrees Celsius by zone; None where it is there and says nothing sensible."""

    temps_c: Mapping[str, float | None] = field(default_factory=dict)


def parse_cpufreq(text: str) -> Cpufreq:
    """From `dump` of policies (policy0/...), or of the cores' own folders (cpu0/cpufreq/...)."""
    folders: dict[str, dict[str, str]] = {}
    for path, content in files(text).items():
        match = re.search(r"/(?:policy|cpu)([0-9]{1,4})(?:/cpufreq)?/(\w+)$", path)
        if match:
            folders.setdefault(match[1], {})[match[2]] = content
    clusters: dict[tuple[int, ...], Policy] = {}
    for number in sorted(folders, key=int):
        policy = _policy(number, folders[number])
        clusters.setdefault(policy.cpus, policy)
    return Cpufreq(tuple(clusters.values()))


def parse_thermal(text: str) -> Thermal:
    """From `dump` of thermal_zone*/type and temp (thousandths of a degree)."""
    contents = files(text)
    temps: dict[str, float | None] = {}
    for path in contents:
        match = re.fullmatch(r"(.*/(thermal_zone[0-9]{1,6}))/type", path)
        if match:
            kind = contents[path] or match[2]
            name = f"{kind} ({match[2]})" if kind in temps else kind
            temps[name] = celsius(contents.get(f"{match[1]}/temp"))
    return Thermal(temps)


def celsius(millidegrees: str | None) -> float | None:
    """Degrees of a sensor's text; None for what no board can have (off, or broken)."""
    number = whole(millidegrees)
    if number is None or not _SENSIBLE_C[0] < number / 1000 < _SENSIBLE_C[1]:
        return None
    return number / 1000


def _policy(number: str, told: Mapping[str, str]) -> Policy:
    return Policy(
        name=f"policy{number}",
        cpus=cpu_list(told.get("related_cpus") or told.get("affected_cpus")) or (int(number),),
        governor=told.get("scaling_governor") or None,
        governors=tuple(told.get("scaling_available_governors", "").split()[:40]),
        min_khz=whole(told.get("scaling_min_freq")),
        max_khz=whole(told.get("scaling_max_freq")),
        hardware_max_khz=whole(told.get("cpuinfo_max_freq")),
        now_khz=whole(told.get("scaling_cur_freq")),
    )


_CPU = "/sys/devices/system/cpu"
_TOLD = (
    "related_cpus", "scaling_governor", "scaling_available_governors", "scaling_min_freq",
    "scaling_max_freq", "scaling_cur_freq", "cpuinfo_max_freq",
)  # fmt: skip
CPUFREQ_FILES: Final = tuple(
    f"{folder}/{name}"
    for folder in (f"{_CPU}/cpufreq/policy*", f"{_CPU}/cpu[0-9]*/cpufreq")
    for name in _TOLD
)
THERMAL_FILES: Final = tuple(
    f"/sys/class/thermal/thermal_zone*/{name}" for name in ("type", "temp")
)
CPUFREQ: Final = Reading("cpufreq", dump(*CPUFREQ_FILES), parse_cpufreq)
THERMAL: Final = Reading("thermal", dump(*THERMAL_FILES), parse_thermal)
