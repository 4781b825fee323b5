"""Which combinations a sweep measures, and where each has its run folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from toolchain.tuning.candidates import counts

_ANY: Final = range(1, 1025)  # threads
TIMED_IMAGES: Final = 16
"""Pictures that a combination runs end to end; accuracy is measured once, over all of them."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is swept.  threads empty: in each mode 1 to the CPUs that it has.

    modes: of a Jetson; empty: as it is.  all_images: detect on every picture in every combination.
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


def combinations(
    asked: Asked, mode: str | None, cpus: int
) -> tuple[list[Combination], list[LeftOut]]:
    """Those to measure in a mode, and those with more threads than the CPUs that it has."""
    every = [Combination(threads, mode) for threads in asked.threads or counts(cpus)]
    words = ("1 CPU" if cpus == 1 else f"{cpus} CPUs") + (f" in {mode}" if mode else "")
    fit = [one for one in every if one.threads <= cpus]
    return fit, [LeftOut(one, f"the board has {words}") for one in every if one not in fit]


def folders_of(out: Path, asked: Asked, mode: str | None) -> list[Path]:
    """Run folders of a mode that an earlier sweep began, however many CPUs it has."""
    every = (Combination(threads, mode) for threads in asked.threads or _ANY)
    paths = [folder_of(out, one) for one in every]
    return [path for path in paths if (path / "run.json").exists()]


def folder_of(out: Path, one: Combination) -> Path:
    """The run folder of a combination."""
    return out / one.name


def accuracy_folder(out: Path) -> Path:
    """The run folder in which all pictures are detected on."""
    return out / "accuracy"
