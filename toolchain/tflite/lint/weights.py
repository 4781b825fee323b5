"""Filters and biases that cannot be right, seen from the file alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.tflite.lint.findings import Finding
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import (
    BIAS_SCALE_OFF,
    FEW_FILTER_CODES,
    MANY_COARSE_CHANNELS,
    REACH_STEPS,
    TINY,
)
from toolchain.tflite.view import Node, Tensor, View

_INT32 = np.iinfo(np.int32)
_INPUT_STEPS = 255
_FIRST_REFUSED = 256.0  # XNNPACK, convolution-nhwc.c: requantization scale


def rows_of(view: View, node: Node) -> NDArray[np.int64] | None:
    """The codes of a filter, one row an output channel: [O, ...] flattened; None: not readable."""
    filter_ = view.tensors[node.inputs[1]]
    if not filter_.quantized or (values := view.values(filter_.index)) is None:
        return None
    if node.kind == "DEPTHWISE_CONV_2D":  # [1, H, W, O]
        values = np.moveaxis(values, -1, 0)
    points = filter_.zero_points if len(filter_.zero_points) == len(values) else filter_.zero_point
    rows = values.reshape(len(values), -1).astype(np.int64)
    return np.asarray(rows - np.reshape(points, (-1, 1)))


def dead_filters(view: View, reference: View | None) -> Iterator[Finding]:
    """Output channels without a weight; those that the float model lacks too are a note."""
    for node in view.weighted:
        rows = rows_of(view, node)
        if rows is None or not rows.size:
            continue
        dead = np.flatnonzero(~rows.any(axis=1))
        if not len(dead):
            continue
        born = _dead_in(reference, view, node, len(rows))
        lost = np.setdiff1d(dead, born)
        yield found(
            view,
            "dead-filter",
            "warning" if len(lost) else "note",
            node,
            f"{len(dead)} of {len(rows)} output channels have no weight: {_channels(dead)}"
            + (f"; {len(lost)} of them have some in the float model" * bool(reference)),
            measure="dead channels",
            value=len(dead),
            limit=1,
        )


def _dead_in(reference: View | None, view: View, node: Node, channels: int) -> NDArray[np.intp]:
    """Channels without a weight in the float model's filter of the same name and shape."""
    none = np.zeros(0, np.intp)
    if reference is None:
        return none
    filter_ = view.tensors[node.inputs[1]]
    twins = [
        twin.index
        for twin in (reference.tensors[other.inputs[1]] for other in reference.weighted)
        if (twin.name, twin.shape) == (filter_.name, filter_.shape)
    ]
    values = reference.values(twins[0]) if twins else None
    if values is None:
        return none
    axis = -1 if node.kind == "DEPTHWISE_CONV_2D" else 0
    return np.flatnonzero(~np.moveaxis(values, axis, 0).reshape(channels, -1).any(axis=1))


def coarse_filters(view: View) -> Iterator[Finding]:
    """Channels with few codes because another channel set the one scale of all."""
    for node in view.weighted:
        rows, filter_ = rows_of(view, node), view.tensors[node.inputs[1]]
        if rows is None or len(rows) < 2 or len(filter_.scales) != 1 or filter_.element.bits != 8:
            continue
        coarse = np.flatnonzero((np.abs(rows).max(axis=1) < FEW_FILTER_CODES) & rows.any(axis=1))
        share = len(coarse) / len(rows)
        if share >= MANY_COARSE_CHANNELS:
            yield found(
                view,
                "coarse-filter",
                "warning",
                node,
                f"one scale for all channels: {len(coarse)} of {len(rows)} use no code beyond "
                f"+-{FEW_FILTER_CODES - 1} of 127: {_channels(coarse)}",
                measure="share of channels",
                value=share,
                limit=MANY_COARSE_CHANNELS,
            )


def bias_scales(view: View) -> Iterator[Finding]:
    """Biases at another scale than input x weights, which is the one that kernels take."""
    for node in view.weighted:
        source, filter_, target = view.ends_of(node)
        bias = view.bias_of(node)
        if bias is None or not len(bias.scales) or not _sound(source, filter_, target):
            continue
        expected = source.scale * filter_.scales
        if len(expected) not in (1, len(bias.scales)) and len(bias.scales) != 1:
            continue
        off = np.abs(bias.scales - expected) / target.scale
        ratio = bias.scales / expected
        # Either test alone misses: steps of almost dead channels are vast, others are tiny.
        worst = int(np.argmax(np.where(np.abs(ratio - 1) > BIAS_SCALE_OFF, off, 0)))
        if abs(ratio.ravel()[worst] - 1) <= BIAS_SCALE_OFF:
            continue
        implied = float(np.median(bias.scales / filter_.scales))
        yield found(
            view,
            "bias-scale",
            "error",
            node,
            f"its biases are made for an input scale of {implied:.4g}; its input {source.name} "
            f"has {source.scale:.4g}, so they count {1 / float(np.median(ratio)):.3g} times",
            measure="bias scale / (input scale x weight scale)",
            value=float(ratio.ravel()[worst]),
            limit=1 + BIAS_SCALE_OFF,
        )


def multipliers(view: View) -> Iterator[Finding]:
    """Layers that the runtime refuses, or that no input can move."""
    for node in view.weighted:
        source, filter_, target = view.ends_of(node)
        rows = rows_of(view, node)
        if rows is None or not rows.size or not _sound(source, filter_, target):
            continue
        if len(filter_.scales) not in (1, len(rows)):  # along another axis than the kernels'
            continue
        scale = source.scale * filter_.scales / target.scale
        if scale.max() >= _FIRST_REFUSED:
            yield found(
                view,
                "multiplier-range",
                "error",
                node,
                f"input scale x weight scale / output scale is {scale.max():.4g}; "
                "XNNPACK refuses the model from 256 on",
                measure="multiplier",
                value=float(scale.max()),
                limit=_FIRST_REFUSED,
            )
        reach = (np.abs(rows).sum(axis=1) * _INPUT_STEPS * scale).max()
        if reach < REACH_STEPS:
            yield found(
                view,
                "collapsed-range",
                "error",
                target,
                f"no input can move it by more than {reach:.2g} of its 256 steps "
                f"(scale {target.scale:.4g})",
                measure="steps within reach",
                value=float(reach),
                limit=REACH_STEPS,
            )


def overflows(view: View) -> Iterator[Finding]:
    """Sums that may leave int32.  The bound is that of |bias| + sum |weight| x 255."""
    for node in view.weighted:
        rows, bias = rows_of(view, node), view.bias_of(node)
        codes = None if bias is None else view.values(bias.index)
        if rows is None or bias is None or codes is None or bias.element.name != "int32":
            continue
        if codes.size != len(rows):
            continue
        size = np.abs(codes.ravel().astype(np.int64))
        bound = size + np.abs(rows).sum(axis=1) * _INPUT_STEPS
        cut = int((size >= _INT32.max).sum())
        if bound.max() <= _INT32.max:
            continue
        worst = int(np.argmax(bound))
        yield found(
            view,
            "bias-overflow",
            "error" if cut else "warning",
            node,
            f"channel {worst}: |bias| + sum |weight| x 255 can reach {bound[worst]:.3g}, int32 "
            f"ends at {_INT32.max:.3g}" + (f"; {cut} biases are cut off at that end" * bool(cut)),
            measure="largest possible sum",
            value=float(bound[worst]),
            limit=float(_INT32.max),
        )


def _sound(*tensors: Tensor) -> bool:
    return all(tensor.quantized and tensor.scales.min() >= TINY for tensor in tensors)


def _channels(places: NDArray[Any]) -> str:
    shown = ", ".join(str(int(place)) for place in places[:8])
    return f"channel {shown}" + (" ..." if len(places) > 8 else "")


def checks(view: View, reference: View | None = None) -> Iterator[Finding]:
    """All of the above.  reference: the float model."""
    return itertools.chain(
        dead_filters(view, reference),
        coarse_filters(view),
        bias_scales(view),
        multipliers(view),
        overflows(view),
    )
