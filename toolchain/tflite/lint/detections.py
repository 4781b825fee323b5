"""How many boxes a model finds, beside its float reference.

At few bits scores sink before AP shows it.
"""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.tflite.lint.findings import Finding
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import FEW_BOXES, FEWER_BOXES, LEAST_BOXES, MORE_BOXES
from toolchain.tflite.probing.request import CONFIDENCE, Observed
from toolchain.tflite.view import View


def checks(view: View, observed: Observed) -> Iterator[Finding]:
    """Nothing where the outputs are not understood."""
    boxes, wanted = observed.boxes, observed.boxes_against
    if boxes is None or wanted == 0:
        return
    pictures = f"{observed.images} picture" + "s" * (observed.images != 1)
    if boxes == 0:
        beside = "" if wanted is None else f"; the float model finds {wanted}"
        yield found(
            view,
            "no-boxes",
            "warning" if wanted is None else "error",
            "the outputs",
            f"no box above {CONFIDENCE} on {pictures}{beside}",
            measure="boxes",
            value=0,
            limit=None if wanted is None else float(wanted),
        )
    elif wanted is not None and wanted >= LEAST_BOXES:
        ratio = boxes / wanted
        if FEWER_BOXES <= ratio <= MORE_BOXES:
            return
        yield found(
            view,
            "box-count",
            "error" if ratio < FEW_BOXES else "warning",
            "the outputs",
            f"{boxes} boxes above {CONFIDENCE} on {pictures}, the float model finds {wanted}",
            measure="boxes / boxes of the float model",
            value=ratio,
            limit=FEWER_BOXES if ratio < FEWER_BOXES else MORE_BOXES,
        )
