"""The figures of what sensors said while a model ran, frozen; what is unknown is None."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Series:
    """One quantity over a run.  quantity: "temperature" (°C), "clock" (MHz), "load" (%), "power"
    (W), "memory" (MiB) or "throttling" (0 or 1).  name: of the sensor, core, rail or flag.

    points: (seconds from the run's start, value), at most a few hundred: of more, means.
    """

    quantity: str
    name: str
    unit: str
    low: float | None
    mean: float | None
    high: float | None
    points: tuple[tuple[float, float | None], ...]


@dataclasses.dataclass(frozen=True)
class Power:
    """While the model alone was timed.  rails: whose sum it is; meaning: what that sum is.

    energy_j: of one inference: mean power x mean latency.  readings: that the mean is of.
    """

    rails: tuple[str, ...]
    meaning: str
    mean_w: float
    energy_j: float
    readings: int


@dataclasses.dataclass(frozen=True)
class Watched:
    """What sensors said while the run was on.

    readings: of all sensors at once.  throttling: flags of a Raspberry Pi that held at some
    reading or between two; throttled_before: those that had held before the first one.  held_back:
    readings in which a cooling device held a clock back, by its name.  over_current: events counted
    in the run.  sampler_share: processor time of the sampling and its tools, of one core.
    slows_c: where this kind of board begins to lower its clocks.  notes: what could not be read,
    and why.
    """

    readings: int
    series: tuple[Series, ...] = ()
    throttling: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    knows_throttling: bool = False
    held_back: Mapping[str, int] = dataclasses.field(default_factory=dict)
    over_current: int = 0
    power: Power | None = None
    sampler_share: float | None = None
    period_s: float | None = None
    slows_c: float | None = None
    notes: tuple[tuple[str, str], ...] = ()
