"""`cpu.governor`: which cpufreq governor each policy has.

Linux, admin-guide/pm/cpufreq: `scaling_governor` is both read and written;
`scaling_available_governors` lists what the kernel has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from targets.firmware.settings.kind import KEEP, Kind, Knob, Row, Seen, Value, absent
from targets.firmware.settings.policies import FILES, SNAPSHOT, chosen

_KEY: Final = "cpu.governor"


def check(value: Value) -> str | None:
    """One name, or several of which the first that the kernel has is taken."""
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple) or not names:
        return 'a governor\'s name such as "performance", or a list of them'
    wrong = next((n for n in names if not re.fullmatch(r"[a-z_]{1,32}", n)), None)
    return None if wrong is None else f"{wrong!r} is no governor's name"


def rows(key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One for each policy."""
    names = (wanted,) if isinstance(wanted, str) else wanted
    assert isinstance(names, tuple)
    found = []
    for policy in chosen(key, _KEY, seen):
        path = policy.path("scaling_governor")
        now = seen.text(path)
        offered = (seen.text(policy.path("scaling_available_governors")) or "").split()
        name = next((n for n in names if n in offered or not offered), None)
        if KEEP in names:
            found.append(Row(key, policy.name, now, None))
        elif name is None:
            note = f"the kernel has {', '.join(offered)}, and not {' or '.join(names)}"
            found.append(Row(key, policy.name, now, None, note=note))
        else:
            found.append(Row(key, policy.name, now, name, Knob("file", path), name))
    return found or absent(key, "the kernel offers no control of clocks (cpufreq)")


GOVERNOR = Kind(
    _KEY,
    "governor of each cpufreq policy",
    check,
    rows,
    files=FILES,
    snapshot=SNAPSHOT,
    by_policy=True,
)
