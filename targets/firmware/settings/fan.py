"""`fan.pwm`: fans that the kernel drives by pulse width (hwmon `pwm1`, 0 to 255).

Only "full" can be asked for: a fan is never held back.  On a Jetson nvfancontrol would set it anew
each second, and is stopped for as long.  How a fan goes back to its own control:
targets/provision/on_board/fans.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from targets.firmware.settings.kind import KEEP, Kind, Knob, Row, Seen, Value, absent

SERVICE: Final = "nvfancontrol"
ACTIVE: Final = f"systemctl is-active {SERVICE}"
_PWM: Final = r"(/sys/class/hwmon/(hwmon\d+))/(pwm\d+)"
_FULL: Final = "255"


def check(value: Value) -> str | None:
    """ "full" or "keep"."""
    return None if value in ("full", KEEP) else '"full" or "keep"; a fan is never held back'


def rows(key: str, wanted: Value, seen: Seen) -> Sequence[Row]:
    """One for each fan, and before them one for the service that would set them anew."""
    fans = seen.matching(_PWM)
    if not fans:
        return absent(key, "there is no fan that the kernel drives")
    found = []
    said = seen.commands.get(ACTIVE)
    if wanted != KEEP and said is not None and said.text.strip() == "active":
        found.append(Row(key, SERVICE, "active", "inactive", Knob("service", SERVICE), "inactive"))
    for path, match in fans:
        where = f"{seen.text(f'{match[1]}/name') or match[2]} {match[3]}"
        if wanted == KEEP:
            found.append(Row(key, where, seen.text(path), None))
        else:
            found.append(Row(key, where, seen.text(path), _FULL, Knob("file", path), _FULL))
    return found


FAN = Kind(
    "fan.pwm",
    "duty cycle, 0 to 255",
    check,
    rows,
    files=("/sys/class/hwmon/hwmon[0-9]*/name", "/sys/class/hwmon/hwmon[0-9]*/pwm[0-9]"),
    commands=(ACTIVE,),
)
