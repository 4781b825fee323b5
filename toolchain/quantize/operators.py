"""What the runtime's int8 kernels ask of each operator; one row an operator.

Versions: TensorFlow Lite, tools/versioning/op_version.cc.  Shared scales and the fixed output of
LOGISTIC: the quantization spec (ai.google.dev/edge/litert/models/quantization_spec), and the
delegate of XNNPACK, which leaves an operator to the slow kernels where they are not kept.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from toolchain.quantize.scales import Scale


@dataclasses.dataclass(frozen=True)
class Rule:
    """One operator in int8.

    version: of its int8 kernel.  copies: its output holds values of its inputs and nothing else,
    so all of them share one scale.  output: the only output scale that its kernel knows.
    data: positions of the inputs that carry activations; None for all of them.
    """

    version: int
    copies: bool = False
    output: Scale | None = None
    data: tuple[int, ...] | None = None


UNIT: Final = Scale(1 / 256, -128)
"""LOGISTIC's output: 256 steps over 0..1."""

PICTURE: Final = Scale(1 / 255, -128)
"""The input: a uint8 picture with its top bit flipped."""

RULES: Final = {
    "CONV_2D": Rule(3, data=(0,)),
    "ADD": Rule(2),
    "MUL": Rule(2),
    "LEAKY_RELU": Rule(1),
    "LOGISTIC": Rule(2, output=UNIT),
    "CONCATENATION": Rule(2, copies=True),
    "MAX_POOL_2D": Rule(2, copies=True),
    "PAD": Rule(2, copies=True, data=(0,)),
    "RESIZE_NEAREST_NEIGHBOR": Rule(2, copies=True, data=(0,)),
    "TRANSPOSE": Rule(2, copies=True, data=(0,)),
    "RESHAPE": Rule(1, copies=True, data=(0,)),
    "STRIDED_SLICE": Rule(2, copies=True, data=(0,)),
}

INT4_CONVOLUTION_VERSION: Final = 7
MUL_ABOVE_ONE_VERSION: Final = 3  # input scales' product not below the output's scale
RESIZE_HALF_PIXEL_VERSION: Final = 3
DEQUANTIZE_INT8_VERSION: Final = 2
