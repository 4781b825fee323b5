"""Raspberry Pi, Zero 2 W to 5.

https://www.raspberrypi.com/documentation/computers/processors.html
https://www.raspberrypi.com/documentation/computers/config_txt.html (temp_limit, temp_soft_limit)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from targets.boards.kind import Kind
from targets.readings.sysfs import CPUFREQ, THERMAL
from targets.readings.vcgencmd import CLOCK, PMIC, TEMPERATURE, THROTTLED, VOLTS

_PI: Final = Kind(
    name="",
    family="Raspberry Pi",
    soc="",
    parts=(),
    slows_c=80.0,
    readings=(THROTTLED, TEMPERATURE, CLOCK, VOLTS, CPUFREQ, THERMAL),
)
_PMIC: Final = (("PMIC",),)
_PMIC_IS: Final = "all rails of the power chip, without USB and the losses before it"


_SETTINGS: Final = {
    "BCM2710A1": "raspberry-pi-zero-2-w",
    "BCM2837": "raspberry-pi-3",
    "BCM2837B0": "raspberry-pi-3",
    "BCM2711": "raspberry-pi-4",
    "BCM2712": "raspberry-pi-5",
}


def _pi(name: str, soc: str, *parts: str, slows_c: float = 80.0) -> Kind:
    kind = replace(
        _PI,
        name=f"Raspberry Pi {name}",
        soc=soc,
        parts=tuple(f"raspberrypi,{part}" for part in parts),
        slows_c=slows_c,
        settings=_SETTINGS[soc],
    )
    if soc != "BCM2712":
        return kind
    return replace(kind, power=_PMIC, power_is=_PMIC_IS, readings=(*kind.readings, PMIC))


KINDS: Final = (
    _pi("Zero 2 W", "BCM2710A1", "model-zero-2-w", "model-zero-2"),
    _pi("3 Model B+", "BCM2837B0", "3-model-b-plus", slows_c=60.0),
    _pi("3 Model A+", "BCM2837B0", "3-model-a-plus", slows_c=60.0),
    _pi("3 Model B", "BCM2837", "3-model-b"),
    _pi("Compute Module 3", "BCM2837", "3-compute-module.*"),
    _pi("4 Model B", "BCM2711", "4-model-b"),
    _pi("400", "BCM2711", "400"),
    _pi("Compute Module 4", "BCM2711", "4-compute-module.*"),
    _pi("5 Model B", "BCM2712", "5-model-b"),
    _pi("500", "BCM2712", "500"),
    _pi("Compute Module 5", "BCM2712", "5-compute-module.*"),
    replace(_PI, name="Raspberry Pi", soc="Broadcom", parts=(r"raspberrypi,.*",)),
)
