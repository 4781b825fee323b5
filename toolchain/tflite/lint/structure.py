"""What kind of model it is, and which operators run slowly or in float."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from targets.agent.flat import OPERATOR
from toolchain.tflite.lint.findings import Finding, names
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import FLOAT_WEIGHTS
from toolchain.tflite.view import Node, View

_EXPAND: Final = OPERATOR.decode()
_CONVERTERS: Final = ("QUANTIZE", "DEQUANTIZE", "CAST")


def checks(view: View) -> Iterator[Finding]:
    """All of the checks below."""
    quantized = any(view.tensors[index].quantized for index in view.activations)
    few_bits = any(_stored_in_few_bits(view, node) for node in view.weighted)
    if not quantized and not few_bits:
        return iter([_plain(view)])
    if not quantized:
        return itertools.chain(_dynamic(view), int4(view), packed(view))
    return itertools.chain(islands(view), int4(view), packed(view))


def int4(view: View) -> Iterator[Finding]:
    """Convolutions with INT4 filters."""
    slow = [
        node
        for node in view.weighted
        if view.tensors[node.inputs[1]].element.name == "int4" and node.kind != "FULLY_CONNECTED"
    ]
    if slow:
        layers = [view.layer(node) for node in slow]
        weights = sum(view.tensors[node.inputs[1]].elements for node in slow)
        yield found(
            view,
            "int4-convolution",
            "warning",
            slow[0],
            f"{len(slow)} convolutions with {weights:,} INT4 weights; stock runtimes compute them "
            "3 to 4 times slower than int8",
            measure="convolutions",
            value=len(slow),
            others=tuple(layers[1:]),
        )


def packed(view: View) -> Iterator[Finding]:
    """Filters that a custom operator unpacks."""
    nodes = [node for node in view.nodes if node.kind == _EXPAND]
    if nodes:
        yield found(
            view,
            "packed",
            "note",
            view.tensors[nodes[0].outputs[0]],
            f"{len(nodes)} filters are packed ({_EXPAND}); stock runtimes refuse the file",
            measure="packed filters",
            value=len(nodes),
        )


def islands(view: View) -> Iterator[Finding]:
    """Operators on float activations inside a model that has quantized ones."""
    floating = [node for node in view.nodes if _computes_in_float(view, node)]
    heavy = [node for node in floating if node in view.weighted]
    if not floating:
        return
    layers = [view.layer(node) for node in heavy or floating]
    weights, every = (
        sum(view.tensors[node.inputs[1]].elements for node in nodes)
        for nodes in (heavy, view.weighted)
    )
    share = weights / max(every, 1)
    kinds = names(sorted({node.kind for node in floating}), 6)
    yield found(
        view,
        "float-island",
        "warning" if share >= FLOAT_WEIGHTS else "note",
        (heavy or floating)[0],
        f"{len(floating)} of {len(view.nodes)} operators compute in float ({kinds}), with "
        f"{share:.1%} of the weights",
        measure="share of weights in float layers",
        value=share,
        limit=FLOAT_WEIGHTS,
        others=tuple(layers[1:]),
    )


def _computes_in_float(view: View, node: Node) -> bool:
    if node.kind in _CONVERTERS or view.copied_from(node):
        return False
    ends = [view.tensors[index] for index in (*node.data, *node.outputs)]
    return bool(ends) and all(end.element.name in ("float32", "float16") for end in ends)


def _stored_in_few_bits(view: View, node: Node) -> bool:
    """Whether a filter lies in the file quantized or packed, whatever it becomes when it runs."""
    maker = view.producers.get(node.inputs[1])
    if maker is None:
        return view.tensors[node.inputs[1]].quantized
    return maker.kind == _EXPAND or (
        maker.kind == "DEQUANTIZE" and view.tensors[maker.inputs[0]].quantized
    )


def _dynamic(view: View) -> Iterator[Finding]:
    layers = [node for node in view.weighted if _stored_in_few_bits(view, node)]
    if layers:
        yield found(
            view,
            "float-activations",
            "note",
            layers[0],
            f"{len(layers)} layers have quantized weights, all activations are float",
            measure="layers",
            value=len(layers),
            others=tuple(view.layer(node) for node in layers[1:]),
        )


def _plain(view: View) -> Finding:
    return found(
        view,
        "not-quantized",
        "note",
        "the model",
        f"none of its {len(view.nodes)} operators works on quantized tensors",
        measure="quantized tensors",
        value=0,
    )
