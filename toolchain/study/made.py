"""What a cell made of the weights, in numbers: the bits that they take, and what they cost.

Two counts that are never mixed.  `bits_per_weight` is of codes, of all that is needed to read them
(scales, levels, multipliers, zero points) and of biases, whether or not there is a file for it;
entropy-coded codes count as the bytes that our coder makes of them.  `file_bits_per_weight` is of a
whole packed file that a board can run.  Both are over weights and biases of the model.  A number
that a whole network shares is counted in each layer, which adds less than 0.001 bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import numpy as np

from toolchain.quantize.coded import CodedFilter, Entropy
from toolchain.quantize.methods import Method
from toolchain.quantize.recovered import Recovered
from toolchain.study.cell import words_of
from toolchain.study.material import Opened
from toolchain.study.proxy import layer_error
from toolchain.tflite.packed_codecs import store

FLOAT: Final = "float32"
"""The method of a filter that is not quantized."""

BIAS_BITS: Final = 32
"""A bias is a float32, or an int32 beside int8 activations."""


@dataclasses.dataclass(frozen=True)
class MadeLayer:
    """bits: of codes and side data.  proxy: its term of the cell's.  method: in words."""

    layer: str
    method: str
    weights: int
    bits: float
    proxy: float


@dataclasses.dataclass(frozen=True)
class Made:
    """weights, biases: how many.  parameters: weights and biases as the model counts them.
    file_bytes: of a packed file; None where the filters have no such form."""

    weights: int
    biases: int
    parameters: int
    file_bytes: int | None
    layers: tuple[MadeLayer, ...]

    @property
    def bits_per_weight(self) -> float:
        """Codes, side data and biases."""
        stored = sum(layer.bits for layer in self.layers)
        return (stored + BIAS_BITS * self.biases) / self.parameters

    @property
    def file_bits_per_weight(self) -> float | None:
        """The whole file."""
        return None if self.file_bytes is None else 8 * self.file_bytes / self.parameters

    @property
    def proxy(self) -> float:
        """Predicted squared error of what matters, to second order."""
        return sum(layer.proxy for layer in self.layers)


def count(opened: Opened, filters: Mapping[int, Recovered], file_bytes: int | None) -> Made:
    """filters: by operator index."""
    graph, names = opened.graph, opened.graph.layer_names()
    layers = []
    for operation in graph.convolutions:
        one, name = filters[operation.index], names[operation.index]
        exact = graph.constant(operation.inputs[1]).astype(np.float32)
        energy = opened.sensitivity.layers[name].energy
        error = layer_error(exact, one.weights, opened.moments(operation.index), energy)
        layers.append(MadeLayer(name, _words(one.method), exact.size, bits_of(one), error))
    return Made(
        weights=sum(layer.weights for layer in layers),
        biases=sum(len(graph.bias(op)) for op in graph.convolutions),
        parameters=opened.facts.parameters,
        file_bytes=file_bytes,
        layers=tuple(layers),
    )


def bits_of(one: Recovered) -> float:
    """Of a filter's codes and side data."""
    if isinstance(one.coded, Entropy) and one.scale is not None:
        return coded_bits(one.coded) + 32.0 * one.scale.size
    return one.stored_bits


def coded_bits(coded: CodedFilter) -> float:
    """What a packed file holds of a filter, its scales apart."""
    return 8.0 * sum(values.nbytes for _, values in store(coded).tensors)


def _words(method: Method) -> str:
    if method.scheme == FLOAT:
        return FLOAT
    return f"{method.scheme} {method.bits:g} {words_of(method.granularity)}"
