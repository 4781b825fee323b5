"""A line of `tegrastats`, Jetson's monitor.  Its form changes with every L4T.

https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from targets.readings.reading import Reading, decimal, whole

LONGEST_LINE: Final = 16 * 1024
_ELSEWHERE = ("NC", "EMC", "EMC_FREQ", "GR3D", "GR3D_FREQ")  # NC: not connected
_OFF_C = -100.0  # a sensor of a unit that is off says -256
_NUMBER = r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?"
_TEMPERATURE = re.compile(rf"(?<!\S)([A-Za-z][\w.-]{{0,40}})@({_NUMBER})C((?:/{_NUMBER}C?)*)(?!\S)")
_RAIL = re.compile(
    r"(?<!\S)([A-Za-z]\w{1,40}) ([0-9]{1,9})(?:mW)?((?:/[0-9]{1,9}(?:mW)?){1,4})(?!\S)"
)
_ENGINE = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]{1,20}) (off|[0-9]{1,3}%@[0-9]{1,6}|[0-9]{1,6})(?!\S)")


@dataclass(frozen=True)
class CoreLoad:
    """One core.  off: it is, and has neither load nor clock."""

    load_percent: float | None = None
    mhz: int | None = None
    off: bool = False


@dataclass(frozen=True)
class Tegrastats:
    """One line.  What it does not tell is None, or not in the mappings.

    temps_c: None where the unit is off.  rails_mw: power now; rails_mean_mw: the tool's own mean.
    engines: video, vision and other units, in the tool's words ("off", "79%@166").
    unnamed: further figures of a sensor or rail, of which no document says what they are.
    """

    ram_used_mb: int | None = None
    ram_total_mb: int | None = None
    swap_used_mb: int | None = None
    swap_total_mb: int | None = None
    cores: tuple[CoreLoad, ...] = ()
    gpu_load_percent: float | None = None
    gpu_mhz: tuple[int, ...] = ()
    emc_load_percent: float | None = None
    emc_mhz: int | None = None
    temps_c: Mapping[str, float | None] = field(default_factory=dict)
    rails_mw: Mapping[str, int] = field(default_factory=dict)
    rails_mean_mw: Mapping[str, int] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    unnamed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def parse_tegrastats(text: str) -> Tegrastats:
    """The last whole line of the text, field by field."""
    lines = [line for line in text[-LONGEST_LINE * 4 :].splitlines() if line.strip()]
    line = lines[-1][:LONGEST_LINE] if lines else ""
    ram, swap = _pair(line, "RAM"), _pair(line, "SWAP")
    gpu, emc = _unit(line, "GR3D"), _unit(line, "EMC")
    temps, unnamed = _temperatures(line)
    rails, means, more = _rails(line)
    return Tegrastats(
        ram_used_mb=ram[0],
        ram_total_mb=ram[1],
        swap_used_mb=swap[0],
        swap_total_mb=swap[1],
        cores=_cores(line),
        gpu_load_percent=gpu[0],
        gpu_mhz=gpu[1],
        emc_load_percent=emc[0],
        emc_mhz=emc[1][0] if emc[1] else None,
        temps_c=temps,
        rails_mw=rails,
        rails_mean_mw=means,
        engines={name: said for name, said in _ENGINE.findall(line) if name not in _ELSEWHERE},
        unnamed={**unnamed, **more},
    )


def _pair(line: str, name: str) -> tuple[int | None, int | None]:
    """`RAM 1343/7620MB`."""
    match = re.search(rf"(?<!\S){name} ([0-9]{{1,9}})/([0-9]{{1,9}})MB", line)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _unit(line: str, name: str) -> tuple[float | None, tuple[int, ...]]:
    """Load and clocks: `EMC_FREQ 15%@204`, `GR3D_FREQ 37%@[1300,1290]`, `GR3D_FREQ 0%`."""
    pattern = rf"(?<!\S){name}(?:_FREQ)? ([0-9]{{1,3}})%(?:@(\[[0-9, ]{{0,80}}\]|[0-9]{{1,6}}))?"
    match = re.search(pattern, line)
    if match is None:
        return None, ()
    clocks = (whole(clock) for clock in (match[2] or "").strip("[]").split(","))
    return decimal(match[1]), tuple(clock for clock in clocks if clock is not None)


def _cores(line: str) -> tuple[CoreLoad, ...]:
    """`CPU [14%@2188,off]`, or older `cpu [17%,13%]@408`."""
    match = re.search(r"(?<!\S)(?:CPU|cpu) \[([^\]]{0,4000})\](?:@([0-9]{1,6}))?", line)
    if match is None:
        return ()
    shared = whole(match[2])
    cores = []
    for word in match[1].split(","):
        parts = re.fullmatch(r"\s*([0-9]{1,3})%(?:@([0-9]{1,6}))?\s*", word)
        if parts:
            cores.append(CoreLoad(decimal(parts[1]), whole(parts[2]) if parts[2] else shared))
        else:
            cores.append(CoreLoad(off=word.strip() == "off"))
    return tuple(cores)


def _temperatures(line: str) -> tuple[dict[str, float | None], dict[str, tuple[float, ...]]]:
    temps: dict[str, float | None] = {}
    unnamed = {}
    for name, first, others in _TEMPERATURE.findall(line):
        celsius = decimal(first)
        temps[name] = celsius if celsius is not None and celsius > _OFF_C else None
        figures = (decimal(other.rstrip("C")) for other in others.split("/") if other)
        if kept := tuple(figure for figure in figures if figure is not None):
            unnamed[name] = kept
    return temps, unnamed


def _rails(line: str) -> tuple[dict[str, int], dict[str, int], dict[str, tuple[float, ...]]]:
    rails, means, unnamed = {}, {}, {}
    for name, now, others in _RAIL.findall(line):
        if name in ("NC", "RAM", "SWAP", "IRAM"):  # NC: not connected
            continue
        mean, *more = (int(other.removesuffix("mW")) for other in others.split("/") if other)
        rails[name], means[name] = int(now), mean
        if more:
            unnamed[name] = tuple(map(float, more))
    return rails, means, unnamed


TEGRASTATS: Final = Reading(
    "tegrastats", ("timeout", "3", "tegrastats", "--interval", "1000"), parse_tegrastats
)
