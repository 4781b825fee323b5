"""How far a tensor's values can go by the arithmetic of its operator, whatever the picture.

A value at the end of a range was cut off there only if it could have gone further: SiLU never
gives less than -0.278, so its lowest code is no loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from toolchain.tflite.probing.readers import SILU_LOWEST
from toolchain.tflite.view import Node, View

Range = tuple[float, float]

_EVERYTHING: Final[Range] = (-math.inf, math.inf)
_BY_KIND: Final[dict[str, Range]] = {
    "LOGISTIC": (0.0, 1.0),
    "SOFTMAX": (0.0, 1.0),
    "TANH": (-1.0, 1.0),
    "HARD_SWISH": (-0.375, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
_FUSED: Final[dict[int, Range]] = {  # schema.fbs, ActivationFunctionType
    1: (0.0, math.inf),
    2: (-1.0, 1.0),
    3: (0.0, 6.0),
}


def attainable(view: View) -> dict[int, Range]:
    """Real (low, high) of every activation.

    What a tensor can hold is what its operator can give of what its inputs can hold.
    """
    found: dict[int, Range] = dict.fromkeys(view.inputs, _EVERYTHING)

    def held(tensor: int) -> Range:
        low, high = found.get(tensor, _EVERYTHING)
        entry = view.tensors[tensor]
        return (max(low, entry.low), min(high, entry.high)) if entry.quantized else (low, high)

    for node in view.nodes:
        fused = _FUSED.get(_fused(node.options), _EVERYTHING)
        given = _given(view, node, held)
        both = (max(fused[0], given[0]), min(fused[1], given[1]))
        found.update(dict.fromkeys(node.outputs, both))
    return found


def _given(view: View, node: Node, held: Any) -> Range:
    sources = view.copied_from(node) or (
        node.data if node.kind in ("QUANTIZE", "DEQUANTIZE") else ()
    )
    if sources:
        ranges = [held(tensor) for tensor in sources]
        if node.kind in ("PAD", "PADV2"):
            ranges.append((0.0, 0.0))
        return min(low for low, _ in ranges), max(high for _, high in ranges)
    if node.kind == "MUL" and _is_silu(view, node.data):
        return SILU_LOWEST, math.inf
    if node.kind == "ADD" and len(node.data) == 2:
        (a, b), (c, d) = (held(tensor) for tensor in node.data)
        return a + c, b + d
    return _BY_KIND.get(node.kind, _EVERYTHING)


def _is_silu(view: View, data: Sequence[int]) -> bool:
    """Whether a product is x * sigmoid(x)."""
    if len(data) != 2:
        return False
    makers = [view.producers.get(tensor) for tensor in data]
    return any(
        maker is not None and maker.kind == "LOGISTIC" and maker.data == (other,)
        for maker, other in zip(makers, reversed(data), strict=True)
    )


def _fused(options: Any) -> int:
    return int(getattr(options, "fusedActivationFunction", 0) or 0)
