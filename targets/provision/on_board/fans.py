"""A fan that was at full goes back to whoever controls it: the kernel, a service, or nobody.

The kernel's control (thermal zones, step_wise) writes a fan only when what it wants changes, and so
does not notice what was written meanwhile.  So an old value is written only where nothing else
has moved the fan since: on a board that has become hot it would hold the fan back.
"""

import contextlib
import glob
from typing import List, Optional, Tuple

from targets.provision.on_board.knobs import Knob, text

FULL = "255"
_HOT_MILLIDEGREES = 70_000  # a Pi 5's control wants all of its fan from 75 C to 70 C
_OFF_MILLIDEGREES = 100_000  # the PMIC's zone on Jetsons says so at all times


def is_fan(knob: Knob) -> bool:
    """Whether its value may move by itself."""
    return knob.kind == "file" and knob.path.startswith("/sys/class/hwmon/")


def is_controlled(now: Optional[str], before: List[Tuple[Knob, str]]) -> bool:
    """Whether a fan that stands at `now`, after "full", is its control's own affair.

    before: the backup.
    """
    if now is not None and now.strip() != FULL:
        return True  # moved since
    if any(knob.kind == "service" and value == "active" for knob, value in before):
        return True  # which is started again, and sets it
    return _of_kernel() and _is_hot()


def _of_kernel() -> bool:
    kinds = map(_said, glob.glob("/sys/class/thermal/cooling_device[0-9]*/type"))
    return any("fan" in kind for kind in kinds)


def _is_hot() -> bool:
    for said in map(_said, glob.glob("/sys/class/thermal/thermal_zone[0-9]*/temp")):
        with contextlib.suppress(ValueError):
            if _HOT_MILLIDEGREES <= int(said) < _OFF_MILLIDEGREES:
                return True
    return False


def _said(path: str) -> str:
    with contextlib.suppress(OSError):
        return text(path).strip()
    return ""
