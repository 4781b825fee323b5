"""One file a kind of setting: what may be asked, how it is read on a board, how it is written."""

from __future__ import annotations

from typing import Final

from targets.firmware.settings.clocks import CLOCKS
from targets.firmware.settings.cpu_frequency import MAX_KHZ, MIN_KHZ
from targets.firmware.settings.cpu_governor import GOVERNOR
from targets.firmware.settings.fan import FAN
from targets.firmware.settings.kind import Kind
from targets.firmware.settings.pi_config import PI_CONFIG
from targets.firmware.settings.power_mode import POWER_MODE
from targets.firmware.settings.swap import DISK, SWAPPINESS, ZRAM

# In the order in which they are put in force: a power mode changes the limits of the clocks.
KINDS: Final[dict[str, Kind]] = {
    kind.key: kind
    for kind in (
        POWER_MODE,
        MAX_KHZ,
        MIN_KHZ,
        GOVERNOR,
        CLOCKS,
        FAN,
        SWAPPINESS,
        DISK,
        ZRAM,
        PI_CONFIG,
    )
}


def kind_of(key: str) -> Kind | None:
    """The kind of a key; `cpu.governor.policy4` is `cpu.governor` for one policy."""
    found = KINDS.get(key)
    if found is None and (parted := key.rpartition("."))[2].startswith("policy"):
        found = KINDS.get(parted[0])
        return (
            found if found is not None and found.by_policy and parted[2][6:].isdecimal() else None
        )
    return found
