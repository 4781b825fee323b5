"""A converted flatbuffer in our form: named after the detector's layers, nothing left by chance.

Filters are found by their bits, so every CONV_2D is known to hold exactly the weights of one
convolution of the detector; what follows it is named after it too.
"""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.detector.model import Conv
from toolchain.errors import ConversionFailed
from toolchain.tflite.elements import FLOAT32
from toolchain.tflite.facts import operator_names
from toolchain.tflite.flatbuffer import Model
from toolchain.tflite.soundness import stored_bytes

SIGNATURE: Final = "detect"
INPUT: Final = "images"

OPERATORS: Final = frozenset(
    {
        "ADD",
        "CONCATENATION",
        "CONV_2D",
        "LEAKY_RELU",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MUL",
        "PAD",
        "PADV2",
        "RELU",
        "RESIZE_NEAREST_NEIGHBOR",
    }
)
"""All that a detector needs; the quantizer knows them, and boards run each of them fast."""

_SUFFIXES: Final = {
    "CONV_2D": "conv",
    "LOGISTIC": "sigmoid",
    "MUL": "silu",
    "LEAKY_RELU": "leaky_relu",
    "RELU": "relu",
}


def canonical(model: Model, weights: Mapping[str, Conv], outputs: Sequence[str]) -> Model:
    """A copy of `model` in our form; its outputs stand in the order of `outputs`.

    The input is called "images", the outputs by their names, the signature "detect" has both;
    constants of a convolution are `<layer>/weight` and `<layer>/bias`, its results
    `<layer>/conv`, `<layer>/sigmoid`, `<layer>/silu`, and any other tensor by its operator and
    place.  Raises ConversionFailed for a model that does not hold the detector.
    """
    operators = operator_names(model)
    if unknown := sorted(set(operators) - OPERATORS):
        raise _not_ours(f"the converted model has {', '.join(unknown)}")
    if len(model.subgraphs) != 1:
        raise _not_ours(f"the converted model has {len(model.subgraphs)} graphs")
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != len(outputs):
        raise _not_ours(
            f"the converted model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        )
    names = _names(model, operators, weights)
    names[int(graph.inputs[0])] = INPUT
    names.update({int(index): name for index, name in zip(graph.outputs, outputs, strict=True)})
    return _rebuilt(model, names, outputs)


def _names(model: Model, operators: Sequence[str], weights: Mapping[str, Conv]) -> dict[int, str]:
    """Tensor index -> name, for all but the ends."""
    graph = model.subgraphs[0]
    layers = _layers(model, operators, weights)
    names: dict[int, str] = {}
    owner: dict[int, str] = {}  # tensor -> the layer whose activation it may be a part of
    for place, (operator, kind) in enumerate(zip(graph.operators, operators, strict=True)):
        if kind == "CONV_2D":
            layer = layers[place]
            names[int(operator.inputs[1])] = f"{layer}/weight"
            names[int(operator.inputs[2])] = f"{layer}/bias"
        else:
            found = {owner.get(int(index)) for index in operator.inputs}
            whole = kind in _SUFFIXES and len(found) == 1
            layer = (found.pop() if whole else None) or ""
        result = int(operator.outputs[0])
        if layer:
            names[result] = f"{layer}/{_SUFFIXES[kind]}"
            owner[result] = layer
        else:
            names[result] = f"{kind.lower()}_{place:03d}"
            names.update(
                {
                    int(index): f"{kind.lower()}_{place:03d}/constant"
                    for index in operator.inputs
                    if int(index) not in names
                    and stored_bytes(model.buffers[graph.tensors[int(index)].buffer])
                }
            )
    return names


def _layers(model: Model, operators: Sequence[str], weights: Mapping[str, Conv]) -> dict[int, str]:
    """Place of each CONV_2D -> the detector's convolution whose weights it holds, bit for bit."""
    waiting: defaultdict[bytes, deque[str]] = defaultdict(deque)
    for name, conv in weights.items():
        waiting[_bits(conv.weight.transpose(0, 2, 3, 1), conv.bias)].append(name)
    graph = model.subgraphs[0]
    layers = {}
    for place, (operator, kind) in enumerate(zip(graph.operators, operators, strict=True)):
        if kind != "CONV_2D":
            continue
        if len(operator.inputs) != 3:
            raise _not_ours(f"CONV_2D number {place} has no bias")
        weight, bias = (_constant(model, int(index)) for index in operator.inputs[1:])
        same = waiting[_bits(weight, bias)]
        if not same:
            raise _not_ours(f"CONV_2D number {place} holds weights that are not the detector's")
        layers[place] = same.popleft()
    if left := [name for names in waiting.values() for name in names]:
        raise _not_ours(f"the converted model lacks {', '.join(left[:3])}")
    return layers


def _bits(weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any]) -> bytes:
    import hashlib

    digest = hashlib.sha256(repr((weight.shape, bias.shape)).encode())
    digest.update(np.ascontiguousarray(weight, "<f4").tobytes())
    digest.update(np.ascontiguousarray(bias, "<f4").tobytes())
    return digest.digest()


def _constant(model: Model, index: int) -> np.ndarray[Any, Any]:
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != FLOAT32.code:
        raise _not_ours("a convolution's weights are no float32 constants")
    shape = tuple(int(size) for size in tensor.shape)
    return np.frombuffer(bytes(data), "<f4").reshape(shape)


def _rebuilt(model: Model, names: Mapping[int, str], outputs: Sequence[str]) -> Model:
    """A fresh tree: buffers in the order of their tensors, only our names and signature."""
    old = model.subgraphs[0]
    buffers = [schema.BufferT()]
    moved: dict[int, int] = {}
    tensors = []
    for index, tensor in enumerate(old.tensors):
        fresh = copy.copy(tensor)
        fresh.name = names.get(index, f"tensor_{index:03d}")
        fresh.quantization = None
        fresh.shapeSignature = None
        held = model.buffers[tensor.buffer]
        fresh.buffer = 0
        if stored_bytes(held):
            if tensor.buffer not in moved:
                moved[tensor.buffer] = len(buffers)
                buffers.append(schema.BufferT(data=held.data))
            fresh.buffer = moved[tensor.buffer]
        tensors.append(fresh)
    graph = schema.SubGraphT(
        tensors=tensors,
        inputs=old.inputs,
        outputs=old.outputs,
        operators=old.operators,
        name="main",
    )
    ends = [(old.inputs, [INPUT]), (old.outputs, outputs)]
    inputs, results = (
        [
            schema.TensorMapT(name=name, tensorIndex=int(index))
            for index, name in zip(indices, given, strict=True)
        ]
        for indices, given in ends
    )
    return schema.ModelT(
        version=3,
        operatorCodes=model.operatorCodes,
        subgraphs=[graph],
        buffers=buffers,
        description="halfbyte",
        signatureDefs=[
            schema.SignatureDefT(inputs=inputs, outputs=results, signatureKey=SIGNATURE)
        ],
    )


def _not_ours(reason: str) -> ConversionFailed:
    return ConversionFailed(
        f"{reason}, so it is not the detector",
        hint="Report it with the model; the versions of torch and onnx2tf matter here.",
    )
