"""Scales of activations that cannot work, seen from the file alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np

from toolchain.tflite.lint.findings import Finding, names
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import HARDLY_ANY_CODES, LEAST_CODES, TINY
from toolchain.tflite.view import Node, Tensor, View

# TensorFlow Lite, delegates/xnnpack/xnnpack_delegate.cc: input scale (or product of scales) over
# output scale, lowest and first too high.
_DELEGATED: Final = {
    "ADD": (2.0**-10, 2.0**8),
    "SUB": (2.0**-10, 2.0**8),
    "MUL": (2.0**-16, 2.0**8),
    "QUANTIZE": (2.0**-8, 2.0**7),
    "LEAKY_RELU": (2.0**-8, 2.0**7),
}
_REFUSED: Final = ("CONCATENATION", "MAX_POOL_2D", "PAD")
"""The delegate takes these and then fails on unequal scales, so that the model does not load."""

_BOUNDED: Final = ("LOGISTIC", "SOFTMAX")
"""Operators whose results lie in 0..1."""


def zero_scales(view: View) -> Iterator[Finding]:
    """Scales that are 0 or denormal, of any quantized tensor."""
    for tensor in view.tensors:
        if not tensor.quantized or not (tensor.scales < TINY).any():
            continue
        bad = int((tensor.scales < TINY).sum())
        yield found(
            view,
            "zero-scale",
            "error",
            tensor,
            f"{bad} of {len(tensor.scales)} scales are below {TINY:.3g}, the least is "
            f"{tensor.scales.min():.3g}",
            measure="least scale",
            value=float(tensor.scales.min()),
            limit=TINY,
        )


def unequal_scales(view: View) -> Iterator[Finding]:
    """Operators that copy values between tensors whose codes mean different numbers."""
    for node in view.nodes:
        for target in (view.tensors[index] for index in node.outputs):
            sources = [view.tensors[index] for index in view.copied_from(node)]
            odd = [source for source in sources if _differ(source, target)]
            if not odd:
                continue
            ratio = odd[0].scale / target.scale
            if node.kind in _REFUSED:
                end = "today's LiteRT refuses the whole model, older runtimes take a slow path"
            elif node.kind == "CONCATENATION":
                end = "slow"
            else:
                end = "the codes are copied as they are, so they come to mean other numbers"
            yield found(
                view,
                "unequal-scales",
                "error",
                target,
                f"{node.kind} copies {names([one.name for one in odd])} at scale "
                f"{odd[0].scale:.4g} into {target.name} at {target.scale:.4g}: {end}",
                measure="input scale / output scale",
                value=ratio,
                limit=1.0,
            )


def _differ(source: Tensor, target: Tensor) -> bool:
    if not (source.quantized and target.quantized) or source.element != target.element:
        return False
    close = bool(np.isclose(source.scale, target.scale, rtol=1e-4, atol=0))
    return not close or source.zero_point != target.zero_point


def coarse_joins(view: View) -> Iterator[Finding]:
    """Values brought to a scale so much coarser than their own that few codes are left."""
    for node in view.nodes:
        if node.kind not in ("CONCATENATION", "QUANTIZE") or _goes_on(view, node):
            continue
        target = view.tensors[node.outputs[0]]
        sources = [view.tensors[index] for index in node.inputs if index >= 0]
        if not all(end.quantized and end.scale >= TINY for end in (target, *sources)):
            continue
        left = sorted(_codes_left(view, source, target) for source in sources)
        poor = [what for codes, what in left if codes < LEAST_CODES]
        if not poor:
            continue
        least = left[0][0]
        useless = least <= HARDLY_ANY_CODES
        yield found(
            view,
            "shared-scale",
            "error" if useless else "warning",
            target,
            f"{node.kind} brings {names(poor)} to scale {target.scale:.4g}: of 256 codes "
            f"{least:.0f} left" + (", nearly all values round to one" * useless),
            measure="codes left",
            value=least,
            limit=LEAST_CODES,
        )


def _goes_on(view: View, node: Node) -> bool:
    """Whether the result is only joined to others at the same scale: it is told there."""
    readers = view.consumers.get(node.outputs[0], ())
    return (
        bool(readers)
        and node.outputs[0] not in view.outputs
        and all(reader.kind == "CONCATENATION" for reader in readers)
    )


def _codes_left(view: View, source: Tensor, target: Tensor) -> tuple[float, str]:
    """How many codes of `target` the values of `source` take, and what they are."""
    origin = _origin(view, source)
    if origin is not None:
        return 1 / target.scale + 1, f"{origin.name} (0 to 1)"
    span = min(256.0, (source.high - source.low) / target.scale + 1)
    return span, f"{source.name} ({source.low:.3g} to {source.high:.3g})"


def _origin(view: View, tensor: Tensor) -> Tensor | None:
    """The output of a LOGISTIC or SOFTMAX that `tensor` holds; None where it is anything else."""
    for _ in range(16):
        node = view.producers.get(tensor.index)
        if node is None:
            return None
        if node.kind in _BOUNDED:
            return tensor
        sources = view.copied_from(node) or (node.inputs if node.kind == "QUANTIZE" else ())
        if len(sources) != 1:
            return None
        tensor = view.tensors[sources[0]]
    return None


def slow_ratios(view: View) -> Iterator[Finding]:
    """Element-wise operators with scales too far apart for the fast kernels."""
    for node in view.nodes:
        if node.kind not in _DELEGATED:
            continue
        ratio = _ratio(view, node)
        low, high = _DELEGATED[node.kind]
        if ratio is None or low <= ratio < high:
            continue
        yield found(
            view,
            "multiplier-range",
            "warning",
            view.tensors[node.outputs[0]],
            f"{node.kind}: input scale over output scale is {ratio:.3g}, fast kernels take "
            f"{low:.3g} to {high:.3g}; it runs on a slow one",
            measure="input scale / output scale",
            value=ratio,
            limit=high if ratio >= high else low,
        )


def _ratio(view: View, node: Node) -> float | None:
    """The ratio that is furthest from 1; None where something is not quantized."""
    ends = [view.tensors[index] for index in (*node.inputs, *node.outputs) if index >= 0]
    if not all(end.quantized and end.scale >= TINY for end in ends):
        return None
    *sources, target = ends
    if node.kind == "MUL":
        return float(np.prod([source.scale for source in sources])) / target.scale
    ratios = [source.scale / target.scale for source in sources]
    if node.kind == "LEAKY_RELU":
        ratios.append(ratios[0] * float(getattr(node.options, "alpha", 1.0) or 1.0))
    return max(ratios, key=lambda ratio: abs(np.log(ratio)))


def checks(view: View) -> Iterator[Finding]:
    """All of the above."""
    return itertools.chain(
        zero_scales(view), unequal_scales(view), coarse_joins(view), slow_ratios(view)
    )
