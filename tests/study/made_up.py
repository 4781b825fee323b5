"""Results with round numbers, for what is drawn and written."""

from __future__ import annotations

from toolchain.quantize.granularity import Channel, Group, Layer
from toolchain.study.cell import Cell
from toolchain.study.folder import State
from toolchain.study.made import Made, MadeLayer
from toolchain.study.results import Results
from toolchain.study.scoring import Figures

FLOAT_AP = 50.0


def made(bits: float, file_bits: float | None) -> Made:
    """990 weights and 10 biases that take so many bits each."""
    layer = MadeLayer("only", "uniform 4 channel", 990, 1000 * bits - 320, 0.25)
    file_bytes = None if file_bits is None else round(1000 * file_bits / 8)
    return Made(990, 10, 1000, file_bytes, (layer,))


def figures(lost: float, images: int = 300) -> Figures:
    return Figures(
        images=images,
        ap=FLOAT_AP - lost,
        ap50=70.0 - lost,
        ap_lost=lost,
        ap_lost_ci95=(lost - 0.5, lost + 0.5),
        agreement=100 - 2 * lost,
        confident_boxes=800,
        confident_boxes_float=878,
    )


def results(*states: State, weights: str = "yolov7-seg") -> Results:
    return Results(
        weights=weights,
        grid="mine",
        imgsz=(640, 640),
        images=300,
        calibration_images=64,
        scored_too=0,
        float_ap=FLOAT_AP,
        states=states or usual(),
    )


def usual() -> tuple[State, ...]:
    """Two final, one screened, one made, one refused."""
    some = figures(1.0, images=60)
    return (
        State(
            Cell("uniform", 4, Channel()),
            made(4.04, 4.2),
            screen_images=60,
            screened=some,
            final=figures(2.5),
        ),
        State(
            Cell("entropy", 4.03, Channel(), recovery="second-order", activations="int8"),
            made(4.08, 4.15),
            final=figures(0.25),
        ),
        State(Cell("piecewise", 4, Layer()), made(5.02, None), screen_images=60, screened=some),
        State(Cell("affine", 4, Group(64)), made(4.6, None)),
        State(Cell("codebook", 4, Layer()), refused="no room | none"),
    )
