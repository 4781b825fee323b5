"""`cpu.min_khz` and `cpu.max_khz`: limits of the clock of each cpufreq policy.

Linux, admin-guide/pm/cpufreq: `scaling_min_freq` and `scaling_max_freq` within `cpuinfo_min_freq`
and `cpuinfo_max_freq`, all in kHz.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from targets.firmware.settings.kind import KEEP, Kind, Knob, Row, Seen, Value, absent, numbers
from targets.firmware.settings.policies import FILES, SNAPSHOT, Policy, chosen

_MOST_KHZ: Final = 10_000_000
_FORM: Final = '"highest", "lowest", "keep", a share such as "60%", or a clock in kHz'


def check(value: Value) -> str | None:
    """A word, a share of the highest clock, or kHz."""
    if isinstance(value, bool | tuple):
        return _FORM
    if isinstance(value, int):
        return None if 1000 <= value <= _MOST_KHZ else f"{_FORM} (1,000 to {_MOST_KHZ:,})"
    share = re.fullmatch(r"([0-9]{1,3})%", value)
    if share:
        return None if 1 <= int(share[1]) <= 100 else "a share from 1% to 100%"
    return None if value in ("highest", "lowest", KEEP) else _FORM


def rows(base: str, name: str, key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One for each policy.  base: the key without a policy; name: of the file."""
    found = []
    for policy in chosen(key, base, seen):
        path = policy.path(name)
        now = seen.text(path)
        khz, note = _khz(wanted, policy, seen)
        if khz is None:
            found.append(Row(key, policy.name, now, None, note=note))
        else:
            found.append(Row(key, policy.name, now, str(khz), Knob("file", path), str(khz), note))
    return found or absent(key, "the kernel offers no control of clocks (cpufreq)")


def _khz(wanted: Value, policy: Policy, seen: Seen) -> tuple[int | None, str]:
    """The clock that is meant on this policy, and what is to be said of it."""
    if wanted == KEEP:
        return None, ""
    low = seen.number(policy.path("cpuinfo_min_freq"))
    high = seen.number(policy.path("cpuinfo_max_freq"))
    if low is None or high is None:
        return None, "the hardware does not say its lowest and highest clock"
    if isinstance(wanted, str) and wanted in ("highest", "lowest"):
        return (high if wanted == "highest" else low), ""
    if isinstance(wanted, str):
        return _step_below(max(low, high * int(wanted[:-1]) // 100), policy, seen), ""
    assert isinstance(wanted, int)
    if not low <= wanted <= high:
        return None, f"{wanted} kHz is outside of what the hardware has, {low} to {high}"
    return wanted, ""


def _step_below(khz: int, policy: Policy, seen: Seen) -> int:
    """The highest clock that the hardware has at or below `khz`; `khz` where it does not say."""
    steps = sorted(numbers(seen.text(policy.path("scaling_available_frequencies"))))
    return max((step for step in steps if step <= khz), default=steps[0] if steps else khz)


def _kind(key: str, name: str) -> Kind:
    return Kind(
        key,
        "kHz",
        check,
        partial(rows, key, name),
        files=FILES,
        snapshot=SNAPSHOT,
        by_policy=True,
    )


MIN_KHZ = _kind("cpu.min_khz", "scaling_min_freq")
MAX_KHZ = _kind("cpu.max_khz", "scaling_max_freq")
