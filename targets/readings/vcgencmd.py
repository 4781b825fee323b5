"""`vcgencmd`, which asks the firmware of a Raspberry Pi.

https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from targets.readings.reading import LONGEST, Reading, complaint, decimal

FLAGS: Final = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Bits of get_throttled; 16 higher they say the same of the time since boot."""

NO_ACCESS: Final = "no access to the firmware interface; the user is not in the video group"
NOT_REGISTERED: Final = "this firmware does not know the command"


@dataclass(frozen=True)
class Throttled:
    """bits: as told; None where it is not known, and `reason` says why."""

    bits: int | None = None
    reason: str | None = None

    @property
    def now(self) -> tuple[str, ...]:
        """Names of what holds at this moment."""
        return self._names(0)

    @property
    def since_boot(self) -> tuple[str, ...]:
        """Names of what has held at some time since the board started."""
        return self._names(16)

    def _names(self, shift: int) -> tuple[str, ...]:
        bits = (self.bits or 0) >> shift
        return tuple(name for bit, name in FLAGS.items() if bits >> bit & 1)


@dataclass(frozen=True)
class Figure:
    """One number, such as degrees Celsius, hertz or volts."""

    value: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Pmic:
    """Rails of a Raspberry Pi 5's power chip by name, without the _A and _V of the tool.

    ampere, volt: rails may have only one of the two (EXT5V has no current).
    """

    ampere: Mapping[str, float] = field(default_factory=dict)
    volt: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    @property
    def rails_mw(self) -> Mapping[str, float]:
        """Power of each rail of which both are known."""
        return {
            name: 1000 * ampere * self.volt[name]
            for name, ampere in self.ampere.items()
            if name in self.volt
        }

    @property
    def sum_mw(self) -> float | None:
        """All rails together: what the chip gives, not what the supply does (USB and losses are
        not in it)."""
        rails = self.rails_mw
        return sum(rails.values()) if rails else None


def parse_throttled(text: str) -> Throttled:
    """`throttled=0x50005`."""
    match = re.search(r"\bthrottled=(0x[0-9a-fA-F]{1,8})\b", text[:LONGEST])
    if match is None:
        return Throttled(reason=_why(text))
    return Throttled(bits=int(match[1], 16))


def parse_temperature(text: str) -> Figure:
    """`temp=48.2'C`, in degrees Celsius."""
    return _figure(text, r"\btemp=(-?[0-9.]+)'C")


def parse_clock(text: str) -> Figure:
    """`frequency(48)=1500345728`, in hertz; the number in brackets differs by board."""
    return _figure(text, r"\bfrequency\([0-9]+\)=([0-9]+)\b")


def parse_volts(text: str) -> Figure:
    """`volt=0.8700V`, in volts."""
    return _figure(text, r"\bvolt=([0-9.]+)V")


def parse_pmic(text: str) -> Pmic:
    """A line each of `   VDD_CORE_A current(7)=1.42880000A` and `... volt(15)=0.90659250V`."""
    found: dict[str, dict[str, float]] = {"current": {}, "volt": {}}
    line = re.compile(r"^\s*(\w{1,40})_[AV] +(current|volt)\([0-9]+\)=(-?[0-9.]+)[AV]\s*$")
    for words in text[:LONGEST].splitlines():
        match = line.match(words)
        value = decimal(match[3]) if match else None
        if match and value is not None:
            found[match[2]][match[1]] = value
    if not any(found.values()):
        return Pmic(reason=_why(text))
    return Pmic(ampere=found["current"], volt=found["volt"])


def _figure(text: str, pattern: str) -> Figure:
    match = re.search(pattern, text[:LONGEST])
    value = decimal(match[1]) if match else None
    return Figure(value) if value is not None else Figure(reason=_why(text))


def _why(text: str) -> str:
    for sign in ("VCHI initialization failed", "/dev/vcio", "/dev/vchiq", "Permission denied"):
        if sign in text:
            return NO_ACCESS
    if "not registered" in text:
        return NOT_REGISTERED
    return complaint(text)


THROTTLED: Final = Reading("throttled", ("vcgencmd", "get_throttled"), parse_throttled)
TEMPERATURE: Final = Reading("temperature", ("vcgencmd", "measure_temp"), parse_temperature)
CLOCK: Final = Reading("clock", ("vcgencmd", "measure_clock", "arm"), parse_clock)
VOLTS: Final = Reading("volts", ("vcgencmd", "measure_volts", "core"), parse_volts)
PMIC: Final = Reading("pmic", ("vcgencmd", "pmic_read_adc"), parse_pmic)
