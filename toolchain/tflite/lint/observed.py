"""What codes look like on real pictures."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping

from toolchain.tflite.lint.attainable import attainable
from toolchain.tflite.lint.findings import Finding
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import (
    FLAT_STEPS,
    SATURATED,
    SATURATED_BADLY,
    SATURATED_BOUNDED,
    SATURATED_VALUES,
    USED_CODES,
    USED_CODES_USELESS,
)
from toolchain.tflite.probing.readers import Reader, flat_above, flat_below, reader_of
from toolchain.tflite.probing.request import Observed
from toolchain.tflite.probing.tallies import Codes
from toolchain.tflite.view import Tensor, View

_PRESCRIBED = ("LOGISTIC", "SOFTMAX", "TANH")
"""Their output scale is not chosen, so few codes in use say nothing of it."""


def checks(view: View, observed: Observed, logits: Collection[int]) -> Iterator[Finding]:
    """All of the checks below.  logits: outputs that are scores before their sigmoid."""
    # Copies hold their sources' codes: what is wrong is told where it arises.
    made = {
        tensor: codes
        for tensor, codes in observed.codes.items()
        if not view.copied_from(view.producers[tensor])
    }
    return itertools.chain(
        collapsed(view, made),
        saturated(view, made, logits),
        constant(view, made, observed),
    )


def collapsed(view: View, codes: Mapping[int, Codes]) -> Iterator[Finding]:
    """Tensors that use hardly any of their codes."""
    for index, seen in codes.items():
        tensor = view.tensors[index]
        if view.producers[index].kind in _PRESCRIBED or seen.used >= USED_CODES:
            continue
        useless = seen.used <= USED_CODES_USELESS
        yield found(
            view,
            "collapsed-range",
            "error" if useless else "warning",
            tensor,
            f"{seen.used} of its {seen.possible} codes are in use (scale {tensor.scale:.4g}), "
            f"{seen.commonest:.1%} of the values are at one code",
            measure="codes in use",
            value=seen.used,
            limit=USED_CODES,
        )


def saturated(view: View, codes: Mapping[int, Codes], logits: Collection[int]) -> Iterator[Finding]:
    """Tensors with many values at an end of their range that could have gone further."""
    reach = attainable(view)
    for index, seen in codes.items():
        tensor, reader = view.tensors[index], reader_of(view, index, logits)
        if seen.used < USED_CODES:  # told as collapsed
            continue
        step = _reader_step(view, index, reader)
        low, high = reach[index]
        low_lost = 0.0
        if tensor.low > low + tensor.scale and tensor.low > flat_below(reader, FLAT_STEPS * step):
            low_lost = seen.at_lowest
        high_lost = 0.0
        if tensor.high < high - tensor.scale and tensor.high < flat_above(
            reader, FLAT_STEPS * step
        ):
            high_lost = seen.at_highest
        low_limit = SATURATED_BOUNDED if reader == "silu" and tensor.low < 0 else SATURATED
        if low_lost < low_limit and high_lost < SATURATED:
            continue
        worst = max(low_lost, high_lost)
        if worst * seen.values < SATURATED_VALUES:
            continue
        yield found(
            view,
            "saturation",
            "error" if worst >= SATURATED_BADLY else "warning",
            tensor,
            _ends(tensor, low_lost, high_lost),
            measure="share of values at the end of the range",
            value=worst,
            limit=low_limit if low_lost > high_lost else SATURATED,
        )


def _ends(tensor: Tensor, low_lost: float, high_lost: float) -> str:
    ends = [
        f"{share:.1%} of its values are at code {code}, which stands for {real:.4g}"
        for share, code, real in (
            (low_lost, tensor.codes[0], tensor.low),
            (high_lost, tensor.codes[1], tensor.high),
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


def constant(view: View, codes: Mapping[int, Codes], observed: Observed) -> Iterator[Finding]:
    """Channels that never change; a warning where the float model's do."""
    for index, seen in codes.items():
        stuck = set(seen.constant) - _inherited(view, index, codes)
        if not stuck or seen.used < USED_CODES or seen.channels < 2:
            continue
        difference = observed.differences.get(index)
        lost = sorted(stuck.intersection(difference.varies if difference else ()))
        shown = lost or sorted(stuck)
        yield found(
            view,
            "constant-channel",
            "warning" if lost else "note",
            view.tensors[index],
            f"{len(stuck)} of {seen.channels} channels hold one code on all pictures"
            + (f"; in {len(lost)} of them the float model's values vary" * bool(lost))
            + f": channel {', '.join(map(str, shown[:8]))}"
            + (" ..." if len(shown) > 8 else ""),
            measure="constant channels",
            value=len(stuck),
        )


def _inherited(view: View, tensor: int, codes: Mapping[int, Codes]) -> set[int]:
    """Channels that already stood still in what an element-wise operator reads."""
    node = view.producers[tensor]
    if node in view.weighted:
        return set()
    sources = [codes[source] for source in node.data if source in codes]
    return {
        channel
        for source in sources
        if source.channels == codes[tensor].channels
        for channel in source.constant
    }
