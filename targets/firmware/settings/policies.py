"""The cpufreq policies of a board: cores that share a clock.

On older kernels each core has a folder of its own; those of one cluster lead to one policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from targets.firmware.settings.kind import Seen, numbers

_CPU: Final = "/sys/devices/system/cpu"
_NAMES: Final = (
    "scaling_governor",
    "scaling_available_governors",
    "scaling_min_freq",
    "scaling_max_freq",
    "scaling_available_frequencies",
    "cpuinfo_min_freq",
    "cpuinfo_max_freq",
    "related_cpus",
)
FILES: Final = tuple(
    f"{_CPU}/{folder}/{name}"
    for folder in ("cpufreq/policy[0-9]*", "cpu[0-9]*/cpufreq")
    for name in _NAMES
)
SNAPSHOT: Final = tuple(
    f"{_CPU}/{folder}/{name}"
    for folder in ("cpufreq/policy[0-9]*", "cpu[0-9]*/cpufreq")
    for name in ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "scaling_setspeed")
)


@dataclass(frozen=True)
class Policy:
    """name: "policy4".  folder: in sysfs.  cpus: numbers of its cores."""

    name: str
    folder: str
    cpus: tuple[int, ...]

    def path(self, name: str) -> str:
        """Of one of its files."""
        return f"{self.folder}/{name}"


def policies(seen: Seen) -> list[Policy]:
    """Every policy, each once.  Empty where the kernel has no cpufreq for the board."""
    found = [
        Policy(match[2], match[1], _cpus(seen, match[1]) or (int(match[3]),))
        for _, match in seen.matching(rf"({_CPU}/cpufreq/(policy(\d+)))/\w+_max_freq")
    ]
    if found:
        return list({policy.name: policy for policy in found}.values())
    for _, match in seen.matching(rf"({_CPU}/cpu(\d+)/cpufreq)/\w+_max_freq"):
        cpus = _cpus(seen, match[1]) or (int(match[2]),)
        if cpus[0] == int(match[2]):
            found.append(Policy(f"policy{match[2]}", match[1], cpus))
    return list({policy.name: policy for policy in found}.values())


def chosen(key: str, base: str, seen: Seen) -> list[Policy]:
    """Those that a key is about: all for `base` itself, one for `base.policy4`."""
    named = key.removeprefix(base).removeprefix(".")
    return [policy for policy in policies(seen) if named in ("", policy.name)]


def _cpus(seen: Seen, folder: str) -> tuple[int, ...]:
    return tuple(sorted(numbers(seen.text(f"{folder}/related_cpus"))))
