"""`jetson_clocks --show` (root only): the clocks of a Jetson and their limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from targets.readings.reading import LONGEST, Reading, complaint, whole

NEEDS_ROOT: Final = "not permitted: jetson_clocks wants root"


@dataclass(frozen=True)
class CpuClock:
    """kHz.  online: None where this release does not say."""

    governor: str | None = None
    min_khz: int | None = None
    max_khz: int | None = None
    now_khz: int | None = None
    online: bool | None = None


@dataclass(frozen=True)
class UnitClock:
    """Hertz, of GPU or memory (EMC)."""

    min_hz: int | None = None
    max_hz: int | None = None
    now_hz: int | None = None


@dataclass(frozen=True)
class JetsonClocks:
    """cpus: by number.  reason: why nothing is known.

    pinned: every CPU's lowest clock is its highest, which is what `jetson_clocks` sets; None
    where no CPU is told.
    """

    soc: str | None = None
    machine: str | None = None
    online: str | None = None
    offline: str | None = None
    cpus: Mapping[int, CpuClock] = field(default_factory=dict)
    gpu: UnitClock | None = None
    emc: UnitClock | None = None
    power_mode: str | None = None
    reason: str | None = None

    @property
    def pinned(self) -> bool | None:
        """Whether the CPU clocks are held at their highest."""
        limits = [
            (cpu.min_khz, cpu.max_khz) for cpu in self.cpus.values() if cpu.online is not False
        ]
        return all(low is not None and low == high for low, high in limits) if limits else None


def parse_clocks(text: str) -> JetsonClocks:
    """Lines of `name Key=value ...`; those that are not known are passed over."""
    cpus: dict[int, CpuClock] = {}
    units: dict[str, UnitClock] = {}
    said: dict[str, str] = {}
    for line in (line.strip() for line in text[:LONGEST].splitlines()):
        fields = dict(re.findall(r"(\w{1,40})=(\S{1,80})", line))
        if match := re.match(r"cpu([0-9]{1,4})\s*:", line):
            cpus[int(match[1])] = _cpu(fields)
        elif match := re.match(r"(GPU|EMC)\s+\w+=", line):
            units[match[1]] = UnitClock(*(whole(fields.get(name)) for name in _LIMITS))
        else:
            said.update(
                re.findall(r"(SOC family|Machine|O\w+line CPUs):\s*([0-9][\d,-]*|\S+)", line)
            )
            if match := re.search(r"Machine:\s*(\S.{0,120})", line):
                said["Machine"] = match[1].strip()
            if match := re.fullmatch(r"NV Power Mode\s*:\s*(\S.{0,80})", line):
                said["mode"] = match[1].strip()
    return JetsonClocks(
        soc=said.get("SOC family"),
        machine=said.get("Machine"),
        online=_list(said.get("Online CPUs")),
        offline=_list(said.get("Offline CPUs")),
        cpus=cpus,
        gpu=units.get("GPU"),
        emc=units.get("EMC"),
        power_mode=said.get("mode"),
        reason=None if cpus or units or said else _why(text),
    )


_LIMITS = ("MinFreq", "MaxFreq", "CurrentFreq")


def _cpu(fields: Mapping[str, str]) -> CpuClock:
    online = {"1": True, "0": False}.get(fields.get("Online", ""))
    low, high, now = (whole(fields.get(name)) for name in _LIMITS)
    return CpuClock(fields.get("Governor"), low, high, now, online)


def _list(text: str | None) -> str | None:
    """A list of CPUs as the kernel writes it ("0-3,6"), else None."""
    text = (text or "").rstrip(",")
    return text if re.fullmatch(r"[0-9]+([,-][0-9]+)*", text) else None


def _why(text: str) -> str:
    if "root" in text:
        return NEEDS_ROOT
    return complaint(text)


CLOCKS: Final = Reading("jetson-clocks", ("jetson_clocks", "--show"), parse_clocks, root=True)
