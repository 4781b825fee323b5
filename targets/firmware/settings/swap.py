"""`swap.swappiness`, `swap.disk` and `swap.zram`: whether and how eagerly the kernel swaps.

/proc/sys/vm/swappiness holds the first; /proc/swaps lists the areas in use with their priorities.
An area is switched off only where its content fits in free memory, and comes back with the
priority that it had.  Nothing here touches /etc/fstab.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from targets.firmware.settings.kind import KEEP, Kind, Knob, Row, Seen, Value, absent

SWAPPINESS_PATH: Final = "/proc/sys/vm/swappiness"
SWAPS_PATH: Final = "/proc/swaps"


@dataclass(frozen=True)
class Area:
    """A line of /proc/swaps.  Sizes in bytes."""

    path: str
    size_bytes: int
    used_bytes: int
    priority: int

    @property
    def sort(self) -> str:
        """ "zram" for compressed memory, else "disk"."""
        return "zram" if self.path.startswith("/dev/zram") else "disk"


def parse_swaps(text: str) -> list[Area]:
    """/proc/swaps; lines of another form are left out."""
    line = r"^(/\S+)\s+\S+\s+(\d{1,15})\s+(\d{1,15})\s+(-?\d{1,6})\s*$"
    return [
        Area(path, int(size) * 1024, int(used) * 1024, int(priority))
        for path, size, used, priority in re.findall(line, text, re.MULTILINE)
    ]


def check_swappiness(value: Value) -> str | None:
    """0 to 200 (kernels before 5.8 end at 100)."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 200
    return None if fits or value == KEEP else 'a whole number from 0 to 200, or "keep"'


def swappiness_rows(key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One."""
    now = seen.text(SWAPPINESS_PATH)
    if now is None:
        return absent(key, "the kernel was built without swap")
    if wanted == KEEP:
        return [Row(key, "", now, None)]
    return [Row(key, "", now, str(wanted), Knob("file", SWAPPINESS_PATH), str(wanted))]


def check_area(value: Value) -> str | None:
    """ "off" or "keep"."""
    return None if value in ("off", KEEP) else '"off" or "keep"'


def area_rows(sort: str, key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One for each area of that sort that is in use."""
    areas = [a for a in parse_swaps(seen.text(SWAPS_PATH) or "") if a.sort == sort]
    if not areas:
        return [Row(key, "", "off", None if wanted == KEEP else "off")]
    if wanted == KEEP:
        return [Row(key, area.path, "on", None) for area in areas]
    return [Row(key, area.path, "on", "off", Knob("swap", area.path), "off") for area in areas]


SWAPPINESS = Kind(
    "swap.swappiness",
    "relative cost of swapping, 0 to 200",
    check_swappiness,
    swappiness_rows,
    files=(SWAPPINESS_PATH,),
    snapshot=(SWAPPINESS_PATH,),
)
DISK = Kind("swap.disk", "on or off", check_area, partial(area_rows, "disk"), files=(SWAPS_PATH,))
ZRAM = Kind("swap.zram", "on or off", check_area, partial(area_rows, "zram"), files=(SWAPS_PATH,))
