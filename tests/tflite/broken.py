"""Quantized models damaged on purpose, by editing the flatbuffer: what lint has to find."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import INT4, INT8
from toolchain.tflite.packing import pack_int4


def edited(data: bytes, change: Callable[[Any, dict[str, int]], None]) -> bytes:
    """change: gets the tree, whose lists and tensors are copies, and tensor indices by name."""
    model = flatbuffer.parse(data)
    graph = model.subgraphs[0]
    graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
    model.buffers = list(model.buffers)
    places = {tensor.name.decode(): index for index, tensor in enumerate(graph.tensors)}
    change(model, places)
    return flatbuffer.serialize(model)


def rescaled(data: bytes, name: str, factor: float) -> bytes:
    """An activation whose scale is `factor` times what it was; nothing else is told."""

    def change(model: Any, places: dict[str, int]) -> None:
        tensor = model.subgraphs[0].tensors[places[name]]
        tensor.quantization = copy.copy(tensor.quantization)
        tensor.quantization.scale = (tensor.quantization.scale * factor).astype(np.float32)

    return edited(data, change)


def refiltered(data: bytes, name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """An int8 filter or int32 bias in place of another of the same shape."""

    def put(model: Any, places: dict[str, int]) -> None:
        tensor = model.subgraphs[0].tensors[places[name]]
        dtype = {9: np.int8, 2: np.int32}[tensor.type]
        raw = bytes(model.buffers[tensor.buffer].data)
        codes = np.frombuffer(raw, dtype).reshape(tensor.shape)
        new = change(codes.copy()).astype(dtype)
        assert new.shape == codes.shape
        buffer = schema.BufferT(data=np.frombuffer(new.tobytes(), np.uint8))
        model.buffers[tensor.buffer] = buffer

    return edited(data, put)


def as_int4(data: bytes, keep: int = 1) -> bytes:
    """INT4 filters in place of int8 ones, but for the first `keep` and those that make outputs.

    Codes, scales and biases are what rounding to 15 levels gives.
    """

    def change(model: Any, places: dict[str, int]) -> None:
        graph = model.subgraphs[0]
        ends = {int(output) for output in graph.outputs}
        layers = [o for o in graph.operators if len(o.inputs) == 3 and _is_filter(graph, o)]
        for operator in layers[keep:]:
            if int(operator.outputs[0]) in ends:
                continue
            weights, bias = (graph.tensors[int(place)] for place in operator.inputs[1:])
            codes = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8)
            sums = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.int32)
            nibbles = pack_int4(np.rint(codes * (7 / 127)).astype(np.int8))
            rounded = np.rint(sums * (7 / 127)).astype(np.int32).tobytes()
            for tensor, content in ((weights, nibbles), (bias, rounded)):
                model.buffers[tensor.buffer] = schema.BufferT(data=np.frombuffer(content, np.uint8))
                tensor.quantization = copy.copy(tensor.quantization)
                scale = tensor.quantization.scale * np.float32(127 / 7)
                tensor.quantization.scale = scale.astype(np.float32)
            weights.type = INT4.code

    return edited(data, change)


def _is_filter(graph: Any, operator: Any) -> bool:
    tensor = graph.tensors[int(operator.inputs[1])]
    return tensor.type == INT8.code and len(tensor.quantization.scale) > 1


def joined(data: bytes, boxes: str, scores: Sequence[str], scale: float) -> bytes:
    """Boxes and sigmoids of scores in one output at one scale, as exporters with float ends do."""

    def change(model: Any, places: dict[str, int]) -> None:
        graph = model.subgraphs[0]

        def operator(
            kind: int,
            inputs: list[int],
            name: str,
            like: int,
            at: tuple[float, int],
            options: Any = None,
            depth: int | None = None,
        ) -> int:
            codes = list(model.operatorCodes)
            codes.append(
                schema.OperatorCodeT(
                    builtinCode=kind, deprecatedBuiltinCode=min(kind, 127), version=2
                )
            )
            model.operatorCodes = codes
            tensor = copy.copy(graph.tensors[like])
            shape = [int(size) for size in tensor.shape]
            tensor.shape = np.array([*shape[:3], depth or shape[3]], np.int32)
            tensor.name, tensor.type = name, INT8.code
            tensor.quantization = schema.QuantizationParametersT(
                scale=np.array([at[0]], np.float32), zeroPoint=np.array([at[1]], np.int64)
            )
            graph.tensors.append(tensor)
            made = schema.OperatorT(
                opcodeIndex=len(codes) - 1,
                inputs=np.array(inputs, np.int32),
                outputs=np.array([len(graph.tensors) - 1], np.int32),
            )
            if options is not None:
                made.builtinOptionsType = getattr(
                    schema.BuiltinOptions, type(options).__name__.removesuffix("T")
                )
                made.builtinOptions = options
            graph.operators = [*graph.operators, made]
            return len(graph.tensors) - 1

        builtin, parts = schema.BuiltinOperator, []
        for name in [boxes, *scores]:
            place = places[name]
            if name != boxes:
                place = operator(
                    builtin.LOGISTIC, [place], f"{name}/sigmoid", place, (1 / 256, -128)
                )
            parts.append(operator(builtin.QUANTIZE, [place], f"{name}/again", place, (scale, -128)))
        depth = sum(int(graph.tensors[part].shape[3]) for part in parts)
        whole = operator(
            builtin.CONCATENATION, parts, "everything", parts[0], (scale, -128),
            schema.ConcatenationOptionsT(axis=3), depth,
        )  # fmt: skip
        graph.outputs = np.array([whole], np.int32)
        model.signatureDefs, model.metadata = None, None

    return edited(data, change)
