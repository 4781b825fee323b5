"""How much of a budget a plan leaves free, since rounding ends a little off what was planned."""

from __future__ import annotations

from typing import Final

MARGIN: Final = 0.0015
"""Share of a budget left free."""

FEW_BITS_MARGIN: Final = 0.007
"""More of it for each bit below 4: at 3 bits YOLOv7 ends 0.7 % above, at 4 nowhere."""

HAIR: Final = 0.0005
"""More of it for each try whose plan has learnt by itself what rounding adds."""


def at_first(budget: float | None, *, recovering: bool) -> float:
    """budget: bits a weight of the whole file; None: there is none.  recovering: by second-order
    rounding, which changes how well codes compress."""
    if budget is None or not recovering:
        return MARGIN
    return MARGIN + FEW_BITS_MARGIN * max(0.0, 4 - budget)


def after(over: float, *, learnt: bool) -> float:
    """How much more, where the last model was too large by the share `over` of the budget.

    learnt: the next plan counts with it already.
    """
    return HAIR if learnt else 1.5 * over
