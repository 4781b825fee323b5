"""`nvpmodel -q`: the power mode of a Jetson.

https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from targets.readings.reading import LONGEST, Reading, plain, whole


@dataclass(frozen=True)
class PowerMode:
    """name: as NVIDIA calls it ("MAXN_SUPER").  number: what `nvpmodel -m` takes.

    errors: what the tool could not read (without root it complains, and tells the mode none the
    less).
    """

    name: str | None = None
    number: int | None = None
    errors: tuple[str, ...] = ()


def parse_power_mode(text: str) -> PowerMode:
    """`NV Power Mode: MAXN_SUPER`, the mode's number on the next line, complaints after it."""
    name, number, errors = None, None, []
    for line in (line.strip() for line in text[:LONGEST].splitlines()):
        if match := re.fullmatch(r"NV Power Mode\s*:\s*(\S.{0,80})", line):
            name = match[1].strip()
        elif re.fullmatch(r"[0-9]{1,4}", line) and number is None:
            number = whole(line)
        elif "error" in line.lower():
            errors.append(plain(line))
    return PowerMode(name, number, tuple(errors[:20]))


POWER_MODE: Final = Reading("power-mode", ("nvpmodel", "-q"), parse_power_mode)
