"""INA3221 power monitors in sysfs, as Jetsons have them: volts and amperes of named rails.

https://docs.kernel.org/hwmon/ina3221.html; before L4T 34 NVIDIA's own driver shows them under iio.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from targets.readings.reading import Reading, whole
from targets.readings.sysfs import dump, files

_SUM = "sum of shunt voltages"


@dataclass(frozen=True)
class Rail:
    """One channel.  name: its label; a channel without one is left out, as nobody wired it.

    limit_ma: above it the board may throttle (the driver's critical current).
    """

    name: str
    mv: int | None = None
    ma: int | None = None
    limit_ma: int | None = None

    @property
    def mw(self) -> float | None:
        """Power."""
        return None if self.mv is None or self.ma is None else self.mv * self.ma / 1000


@dataclass(frozen=True)
class Rails:
    """All channels of all chips."""

    rails: tuple[Rail, ...] = ()

    @property
    def rails_mw(self) -> Mapping[str, float]:
        """By name, those that are known."""
        return {rail.name: rail.mw for rail in self.rails if rail.mw is not None}


def parse_rails(text: str) -> Rails:
    """From `dump` of hwmon (in1_label, in1_input, curr1_input) or iio (rail_name_0, ...) files."""
    contents = files(text)
    rails = []
    for path, label in contents.items():
        folder, _, name = path.rpartition("/")
        hwmon = re.fullmatch(r"in([0-9]{1,2})_label", name)
        iio = re.fullmatch(r"rail_name_([0-9]{1,2})", name)
        if not label or label in (_SUM, "NC") or not (hwmon or iio):
            continue
        if hwmon:
            names = ("in{}_input", "curr{}_input", "curr{}_crit")
        else:
            names = ("in_voltage{}_input", "in_current{}_input", "crit_current_limit_{}")
        channel = (hwmon or iio)[1]  # type: ignore[index]
        values = (whole(contents.get(f"{folder}/{file.format(channel)}")) for file in names)
        rails.append(Rail(label[:60], *values))
    return Rails(tuple(rails))


_HWMON = "/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*"
_IIO = "/sys/bus/i2c/drivers/ina3221x/*/iio:device*"
RAILS: Final = Reading(
    "ina3221",
    dump(
        *(f"{_HWMON}/{name}" for name in ("in*_label", "in*_input", "curr*_input", "curr*_crit")),
        *(
            f"{_IIO}/{name}"
            for name in ("rail_name_*", "in_voltage*_input", "in_current*_input", "crit_current_*")
        ),
    ),
    parse_rails,
)
