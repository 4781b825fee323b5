"""What a study found, and the paper's numbers to set beside it."""

from __future__ import annotations

import dataclasses
from typing import Final

from toolchain.study.folder import State

FP16_BITS: Final = 16
FP32_BITS: Final = 32


@dataclasses.dataclass(frozen=True)
class Published:
    """A line of a paper.  memory_saved: times less than fp16.  lost_percent: of its accuracy.

    bits_per_weight: what that ratio means.
    """

    name: str
    source: str
    memory_saved: float
    lost_percent: float

    @property
    def bits_per_weight(self) -> float:
        """16 over the ratio."""
        return FP16_BITS / self.memory_saved


PAPER: Final = (
    Published("uniform, 4 bits, granularities combined", "arXiv 2407.04943", 3.92, 2.5),
    Published("non-uniform, 4 bits, granularities combined", "arXiv 2407.04943", 3.86, 1.0),
)
"""YOLOv7, weights alone; the abstract says 2.5 % and 1 % of accuracy lost.  Its non-uniform scheme
is piecewise linear, whose "4 bits" are 5 to store: one tells on which side of the break point."""


@dataclasses.dataclass(frozen=True)
class Results:
    """imgsz: (height, width).  images: scored ones.  float_ap: in points, on all of them.
    scored_too: calibration images that are among them, and should not be.
    """

    weights: str
    grid: str
    imgsz: tuple[int, int]
    images: int
    calibration_images: int
    scored_too: int
    float_ap: float
    states: tuple[State, ...]

    @property
    def finals(self) -> tuple[State, ...]:
        """Cells that ran on all images, in the grid's order."""
        return tuple(state for state in self.states if state.final is not None)

    @property
    def screened_only(self) -> tuple[State, ...]:
        """Cells that ended with the screening."""
        return tuple(s for s in self.states if s.final is None and s.screened is not None)

    @property
    def made_only(self) -> tuple[State, ...]:
        """Cells that ended with the proxy."""
        ran = (*self.finals, *self.screened_only)
        return tuple(s for s in self.states if s.made is not None and s not in ran)

    @property
    def refused(self) -> tuple[State, ...]:
        """Cells that could not be made."""
        return tuple(state for state in self.states if state.refused)

    def within(self, bits_per_weight: float) -> State | None:
        """Of the cells with float activations that ran on all images, the one that loses least.

        bits_per_weight: codes, side data and biases take that at most, rounded as it is shown.
        """
        able = [
            state
            for state in self.finals
            if state.made is not None
            and state.cell.activations == "float"
            and round(state.made.bits_per_weight, 2) <= round(bits_per_weight, 2)
        ]
        return min(able, key=lambda s: s.final.ap_lost if s.final else 0.0, default=None)

    def lost_percent(self, state: State) -> float | None:
        """Of the float model's AP, as the paper counts."""
        if state.final is None or not self.float_ap:
            return None
        return 100 * state.final.ap_lost / self.float_ap


def saved(bits_per_weight: float | None, against: int) -> float | None:
    """Times less memory than `against` bits a weight."""
    return None if not bits_per_weight else against / bits_per_weight
