"""The authors' convolution classes, each as one plain convolution with its activation.

Source of their arithmetic: models/common.py of YOLOv7 (WongKinYiu) and of YOLOv5.
"""

from __future__ import annotations

import numpy as np

from toolchain.detector.folding import (
    Doubles,
    focus_as_6x6,
    fold_batch_norm,
    identity_3x3,
    pad_to_3x3,
)
from toolchain.detector.graph import GraphBuilder
from toolchain.detector.nodes import (
    SUPPORTED,
    PlainConvolution,
    activation_of,
    batch_norm,
    class_name,
    expect_parts,
    method_in_force,
    parts,
    plain_convolution,
    with_batch_norm,
)
from toolchain.detector.tree import Module, printable
from toolchain.errors import CheckpointError, UnsupportedFamily

_CHANGED = "Give the checkpoint as training wrote it, before any fusing."


def conv(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    """`Conv`: convolution, batch norm, activation; or already without the norm."""
    return _emit(graph, _conv_and_norm(module, path), module, path, source)


def bare_conv(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    """`nn.Conv2d` on its own."""
    plain = plain_convolution(module, path)
    bias = np.zeros(len(plain.weight)) if plain.bias is None else plain.bias
    return graph.convolution(
        path, source, plain.weight, bias, stride=plain.stride, padding=plain.padding
    )


def rep_conv(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    """`RepConv`: 3x3, 1x1 and identity side by side, each with a batch norm, then summed.

    The sum is one 3x3 convolution (RepVGG, arXiv 2101.03697); the 1x1 sits in its centre.
    """
    found = parts(module)
    if "rbr_reparam" in found:
        expect_parts(module, path, {"rbr_reparam"}, {"act"})
        return _emit(graph, plain_convolution(found["rbr_reparam"], path), module, path, source)
    expect_parts(module, path, {"rbr_dense", "rbr_1x1"}, {"rbr_identity", "act"})
    dense = _branch(found["rbr_dense"], f"{path}.rbr_dense")
    small = _branch(found["rbr_1x1"], f"{path}.rbr_1x1")
    sizes = (dense.weight.shape[2:], small.weight.shape[2:])
    steps = (dense.stride, dense.padding, small.padding)
    if sizes != ((3, 3), (1, 1)) or steps != (small.stride, 1, 0):
        raise UnsupportedFamily(f"{path} has branches of an unknown form.", hint=SUPPORTED)
    if dense.weight.shape[:2] != small.weight.shape[:2]:
        raise CheckpointError(f"{path} has branches of different channels.", hint=_CHANGED)
    weight = dense.weight + pad_to_3x3(small.weight)
    bias = _bias(dense, path) + _bias(small, path)
    if "rbr_identity" in found:
        if weight.shape[0] != weight.shape[1] or dense.stride != 1:
            raise CheckpointError(f"{path} has an identity branch where none fits.", hint=_CHANGED)
        norm = batch_norm(found["rbr_identity"], f"{path}.rbr_identity", len(weight))
        same, same_bias = fold_batch_norm(identity_3x3(len(weight)), None, **norm)
        weight, bias = weight + same, bias + same_bias
    return _emit(graph, dense._replace(weight=weight, bias=bias), module, path, source)


def focus(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    """`Focus`: 2x2 blocks of the picture as channels, then a 3x3 `Conv`; one 6x6 of stride 2."""
    inner = expect_parts(module, path, {"conv"}, set())["conv"]
    if class_name(inner) != "Conv":
        raise UnsupportedFamily(f"{path}.conv is a {printable(inner.kind)}.", hint=SUPPORTED)
    plain = _conv_and_norm(inner, f"{path}.conv")
    if plain.weight.shape[1] % 4 or plain.weight.shape[2:] != (3, 3):
        raise UnsupportedFamily(f"{path} is a Focus of an unknown form.", hint=SUPPORTED)
    if (plain.stride, plain.padding) != (1, 1):
        raise UnsupportedFamily(f"{path} is a Focus of an unknown form.", hint=SUPPORTED)
    wide = plain._replace(weight=focus_as_6x6(plain.weight), stride=2, padding=2)
    return _emit(graph, wide, inner, path, source)


def _conv_and_norm(module: Module, path: str) -> PlainConvolution:
    found = expect_parts(module, path, {"conv"}, {"bn", "act"})
    # A replaced `forward` passes over the norm: it has to be gone then, or it would count twice.
    if "bn" in found and method_in_force(module) != "forward":
        raise CheckpointError(
            f"{path} has a batch norm that its forward "
            f"({printable(method_in_force(module))}) passes over.",
            hint=_CHANGED,
        )
    plain = plain_convolution(found["conv"], path)
    weight, bias = with_batch_norm(plain.weight, plain.bias, found.get("bn"), path)
    return plain._replace(weight=weight, bias=bias)


def _branch(module: Module, path: str) -> PlainConvolution:
    """A convolution and its batch norm in a Sequential, or already one Conv2d."""
    if class_name(module) == "Conv2d":
        return plain_convolution(module, path)
    found = expect_parts(module, path, {"0", "1"}, set())
    plain = plain_convolution(found["0"], path)
    weight, bias = with_batch_norm(plain.weight, plain.bias, found["1"], path)
    return plain._replace(weight=weight, bias=bias)


def _emit(
    graph: GraphBuilder, plain: PlainConvolution, module: Module, path: str, source: str
) -> str:
    activation, slope = activation_of(parts(module).get("act"), path)
    return graph.convolution(
        f"{path}.conv",
        source,
        plain.weight,
        _bias(plain, path),
        stride=plain.stride,
        padding=plain.padding,
        activation=activation,
        slope=slope,
    )


def _bias(plain: PlainConvolution, path: str) -> Doubles:
    if plain.bias is None:
        raise CheckpointError(f"{path} has neither a bias nor a batch norm.", hint=_CHANGED)
    return plain.bias
