"""Which combinations a sweep measures, and where each has its run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from toolchain.tuning.candidates import counts

TIMED_IMAGES: Final = 16
"""Pictures that a combination runs end to end; accuracy is measured once, over all of them."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is swept.  threads empty: 1 to the board's CPUs.  modes: of a Jetson; empty: as it is.

    all_images: detect on every picture in every combination.
    """

    threads: tuple[int, ...] = ()
    modes: tuple[str, ...] = ()
    all_images: bool = False


@dataclasses.dataclass(frozen=True)
class Combination:
    """mode None: the board's own, whatever it is."""

    threads: int
    mode: str | None = None

    @property
    def name(self) -> str:
        """Of its folder."""
        words = f"{self.threads}-thread" + "s" * (self.threads != 1)
        return words if self.mode is None else f"{self.mode}-{words}"

    def __str__(self) -> str:
        words = f"{self.threads} thread" + "s" * (self.threads != 1)
        return words if self.mode is None else f"{words} in {self.mode}"


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A combination that was not measured, and why."""

    combination: Combination
    reason: str


def combinations(asked: Asked, cpus: int) -> tuple[list[Combination], list[LeftOut]]:
    """Those to measure, mode by mode, and those with more threads than CPUs."""
    every = [
        Combination(threads, mode)
        for mode in asked.modes or (None,)
        for threads in asked.threads or counts(cpus)
    ]
    words = "1 CPU" if cpus == 1 else f"{cpus} CPUs"
    fit = [one for one in every if one.threads <= cpus]
    return fit, [LeftOut(one, f"the board has {words}") for one in every if one not in fit]


def folder_of(out: Path, one: Combination) -> Path:
    """The run folder of a combination."""
    return out / one.name


def accuracy_folder(out: Path) -> Path:
    """The run folder in which all pictures are detected on."""
    return out / "accuracy"


def by_mode(every: Sequence[Combination]) -> dict[str | None, list[Combination]]:
    """In the order in which they come."""
    found: dict[str | None, list[Combination]] = {}
    for one in every:
        found.setdefault(one.mode, []).append(one)
    return found
