"""Values cut off at an end of their range, where somebody would notice."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from toolchain.tflite.lint.attainable import Range, attainable
from toolchain.tflite.lint.findings import Finding
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import (
    FLAT_STEPS,
    SATURATED,
    SATURATED_BADLY,
    SATURATED_BOUNDED,
    SATURATED_VALUES,
    USED_CODES,
)
from toolchain.tflite.probing.readers import Reader, flat_above, flat_below, reader_of
from toolchain.tflite.probing.tallies import Codes
from toolchain.tflite.view import Tensor, View


@dataclasses.dataclass(frozen=True)
class Lost:
    """Shares of a tensor's values at the ends of its range that were cut off there; 0 at an end
    that loses nothing.  low_limit: the share that is let pass at the lower one.
    """

    low: float
    high: float
    low_limit: float

    @property
    def worst(self) -> float:
        """The larger share."""
        return max(self.low, self.high)

    @property
    def matters(self) -> bool:
        """Whether a limit is passed."""
        return self.low >= self.low_limit or self.high >= SATURATED


def checks(view: View, codes: Mapping[int, Codes], logits: Collection[int]) -> Iterator[Finding]:
    """Tensors with many values at an end of their range that could have gone further.

    logits: outputs that are scores before their sigmoid.
    """
    reach = attainable(view)
    for index, seen in codes.items():
        if seen.used < USED_CODES:  # told as collapsed
            continue
        lost = _lost(view, index, seen, reader_of(view, index, logits), reach[index])
        if not lost.matters or lost.worst * seen.values < SATURATED_VALUES:
            continue
        yield found(
            view,
            "saturation",
            "error" if lost.worst >= SATURATED_BADLY else "warning",
            view.tensors[index],
            _ends(view.tensors[index], lost),
            measure="share of values at the end of the range",
            value=lost.worst,
            limit=lost.low_limit if lost.low > lost.high else SATURATED,
        )


def _lost(view: View, index: int, seen: Codes, reader: Reader, reach: Range) -> Lost:
    tensor = view.tensors[index]
    unseen = FLAT_STEPS * _reader_step(view, index, reader)
    cut_low = tensor.low > reach[0] + tensor.scale and tensor.low > flat_below(reader, unseen)
    cut_high = tensor.high < reach[1] - tensor.scale and tensor.high < flat_above(reader, unseen)
    return Lost(
        low=seen.at_lowest if cut_low else 0.0,
        high=seen.at_highest if cut_high else 0.0,
        low_limit=SATURATED_BOUNDED if reader == "silu" and tensor.low < 0 else SATURATED,
    )


def _ends(tensor: Tensor, lost: Lost) -> str:
    ends = [
        f"{share:.1%} of its values are at code {code}, which stands for {real:.4g}"
        for share, code, real in (
            (lost.low, tensor.codes[0], tensor.low),
            (lost.high, tensor.codes[1], tensor.high),
        )
        if share
    ]
    return " and ".join(ends)


def _reader_step(view: View, tensor: int, reader: Reader) -> float:
    """One step of what the reader gives: beyond `flat_below` of some steps nothing is lost."""
    if reader == "sigmoid":
        return 1 / 256
    for node in view.consumers.get(tensor, ()):
        result = view.tensors[node.outputs[0]]
        if node.kind == "MUL" and result.quantized:
            return result.scale
    return view.tensors[tensor].scale
