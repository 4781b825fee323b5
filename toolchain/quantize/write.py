"""A plan carried out: the float flatbuffer becomes a quantized one, tensor by tensor.

The same plan gives the same bytes.  What is left of the float model: its operators and their
options, names, shapes, signatures and metadata.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.quantize.coded import Nibbles, expand
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.operators import (
    DEQUANTIZE_INT8_VERSION,
    INT4_CONVOLUTION_VERSION,
    MUL_ABOVE_ONE_VERSION,
    RESIZE_HALF_PIXEL_VERSION,
)
from toolchain.quantize.plan import LayerPlan, Plan
from toolchain.quantize.scales import Scale
from toolchain.quantize.weights import encode_bias
from toolchain.tflite.elements import FLOAT32, INT4, INT8, INT32, Element
from toolchain.tflite.flatbuffer import Model
from toolchain.tflite.packing import pack_int4

_RUNTIME_VERSION: Final = b"min_runtime_version"  # of the float operators: no longer true


@dataclasses.dataclass(frozen=True)
class Written:
    """model: the object tree.  filters: index of each convolution's filter tensor, by operator
    index of the float graph."""

    model: Model
    filters: Mapping[int, int]


def write(graph: FloatGraph, plan: Plan, *, int4: bool = False) -> Written:
    """The quantized model with ordinary filters; the float one is left as it was.

    int4: filters of 4-bit codes become INT4 tensors.
    """
    model = copy.copy(graph.model)
    subgraph = copy.copy(model.subgraphs[0])
    subgraph.tensors = [copy.copy(tensor) for tensor in subgraph.tensors]
    subgraph.operators = [copy.copy(operator) for operator in subgraph.operators]
    model.subgraphs = [subgraph]
    model.buffers = list(model.buffers)
    model.metadata = [e for e in model.metadata or [] if e.name != _RUNTIME_VERSION]
    scales = plan.scales()
    for tensor, scale in scales.items():
        _quantize(subgraph.tensors[tensor], INT8, _parameters(scale.scale, scale.zero_point))
    for layer in plan.layers:
        if layer.operation.output in scales:
            _write_layer(model, subgraph, layer, scales, int4=int4)
        else:
            _write_float_layer(model, subgraph, layer)
    convolutions = {
        layer.operation.index: subgraph.operators[layer.operation.index] for layer in plan.layers
    }
    if scales:
        model.operatorCodes = _versions(graph, subgraph, plan, int4=int4)
        _dequantize_for_islands(model, subgraph, plan)
    drop_unused(model)
    return Written(model, {index: int(op.inputs[1]) for index, op in convolutions.items()})


def _write_layer(
    model: Model, subgraph: Any, layer: LayerPlan, scales: dict[int, Scale], *, int4: bool
) -> None:
    operation, made = layer.operation, layer.made
    assert made.coded is not None
    assert made.scale is not None
    as_int4 = int4 and isinstance(made.coded, Nibbles)
    codes = expand(made.coded)
    data = pack_int4(codes) if as_int4 else codes.tobytes()
    # New tensors always: two convolutions may share a bias of zeros, but no scale.
    weights = copy.copy(subgraph.tensors[operation.inputs[1]])
    element = INT4 if as_int4 else INT8
    _quantize(weights, element, _parameters(made.scale, np.zeros(len(made.scale))))
    weights.buffer = _added(model.buffers, schema.BufferT(data=np.frombuffer(data, np.uint8)))
    source = scales[operation.data[0]].scale
    bias_scale = (made.scale.astype(np.float64) * source).astype(np.float32)
    bias = _bias_tensor(subgraph, operation, len(made.bias))
    _quantize(bias, INT32, _parameters(bias_scale, np.zeros(len(bias_scale))))
    values = encode_bias(made.bias, made.scale, source)
    bias.buffer = _added(
        model.buffers, schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8))
    )
    subgraph.operators[operation.index].inputs = np.array(
        [operation.data[0], _added(subgraph.tensors, weights), _added(subgraph.tensors, bias)],
        np.int32,
    )


def _write_float_layer(model: Model, subgraph: Any, layer: LayerPlan) -> None:
    operation, made = layer.operation, layer.made
    weights = copy.copy(subgraph.tensors[operation.inputs[1]])
    bias = _bias_tensor(subgraph, operation, len(made.bias))
    for tensor, values in ((weights, made.weights), (bias, made.bias)):
        data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
        tensor.buffer = _added(model.buffers, schema.BufferT(data=data))
    subgraph.operators[operation.index].inputs = np.array(
        [operation.data[0], _added(subgraph.tensors, weights), _added(subgraph.tensors, bias)],
        np.int32,
    )


def _dequantize_for_islands(model: Model, subgraph: Any, plan: Plan) -> None:
    """A DEQUANTIZE before the first float convolution that reads an int8 tensor."""
    code = schema.OperatorCodeT(
        deprecatedBuiltinCode=schema.BuiltinOperator.DEQUANTIZE,
        builtinCode=schema.BuiltinOperator.DEQUANTIZE,
        version=DEQUANTIZE_INT8_VERSION,
    )
    opcode: int | None = None
    made: dict[int, int] = {}
    islands = {layer.operation.index: layer for layer in plan.layers if layer.is_island}
    operators = []
    for index, operator in enumerate(subgraph.operators):
        if index in islands:
            source = islands[index].operation.data[0]
            if source not in made:
                opcode = _added(model.operatorCodes, code) if opcode is None else opcode
                made[source] = _added(subgraph.tensors, _as_float(subgraph.tensors[source]))
                operators.append(
                    schema.OperatorT(
                        opcodeIndex=opcode,
                        inputs=np.array([source], np.int32),
                        outputs=np.array([made[source]], np.int32),
                    )
                )
            operator.inputs = np.array([made[source], *operator.inputs[1:]], np.int32)
        operators.append(operator)
    subgraph.operators = operators


def _as_float(tensor: Any) -> Any:
    copied = copy.copy(tensor)
    copied.type = FLOAT32.code
    copied.quantization = None
    copied.buffer = 0
    copied.name = (tensor.name or b"") + b"/dequantized"
    return copied


def _bias_tensor(subgraph: Any, operation: Operation, channels: int) -> Any:
    if len(operation.inputs) > 2 and operation.inputs[2] >= 0:
        return copy.copy(subgraph.tensors[operation.inputs[2]])
    name = subgraph.tensors[operation.output].name + b"/bias"
    return schema.TensorT(shape=np.array([channels], np.int32), name=name, hasRank=True)


def _quantize(tensor: Any, element: Element, parameters: Any) -> None:
    tensor.type = element.code
    tensor.quantization = parameters


def _parameters(scale: Any, zero_point: Any) -> Any:
    return schema.QuantizationParametersT(
        scale=np.atleast_1d(np.asarray(scale, np.float32)),
        zeroPoint=np.atleast_1d(np.asarray(zero_point, np.int64)),
        quantizedDimension=0,
    )


def _added(items: list[Any], item: Any) -> int:
    items.append(item)
    return len(items) - 1


def _versions(graph: FloatGraph, subgraph: Any, plan: Plan, *, int4: bool) -> list[Any]:
    """Operator codes with the versions that int8 needs, in the order of first use."""
    nibbles = {
        layer.operation.index
        for layer in plan.layers
        if int4 and isinstance(layer.made.coded, Nibbles) and not layer.is_island
    }
    islands = {layer.operation.index for layer in plan.layers if layer.is_island}
    scales = plan.scales()
    codes: list[Any] = []
    places: dict[tuple[int, int], int] = {}
    for operation, operator in zip(graph.operations, subgraph.operators, strict=True):
        old = graph.model.operatorCodes[operator.opcodeIndex]
        version = int(old.version)
        if operation.index not in islands:
            version = _version(operation, scales, int4=operation.index in nibbles)
        key = (int(old.builtinCode), version)
        if key not in places:
            code = copy.copy(old)
            code.version = version
            places[key] = _added(codes, code)
        operator.opcodeIndex = places[key]
    return codes


def _version(operation: Operation, scales: dict[int, Scale], *, int4: bool) -> int:
    if int4:
        return INT4_CONVOLUTION_VERSION
    if operation.kind == "MUL":
        first, second = (scales[tensor].scale for tensor in operation.data)
        if first * second / scales[operation.output].scale >= 1:
            return MUL_ABOVE_ONE_VERSION
    if operation.kind == "RESIZE_NEAREST_NEIGHBOR":
        options = operation.options
        if options is not None and (options.halfPixelCenters or options.alignCorners):
            return RESIZE_HALF_PIXEL_VERSION
    return operation.rule.version


def drop_unused(model: Model) -> None:
    """Renumber tensors and buffers so that only those in use remain, in their order."""
    subgraph = model.subgraphs[0]
    used: set[int] = {int(i) for i in (*subgraph.inputs, *subgraph.outputs)}
    for operator in subgraph.operators:
        used.update(int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0)
    kept = sorted(used)
    place = {old: new for new, old in enumerate(kept)}
    place[-1] = -1
    subgraph.tensors = [subgraph.tensors[index] for index in kept]
    subgraph.inputs, subgraph.outputs = (
        _renumbered(indices, place) for indices in (subgraph.inputs, subgraph.outputs)
    )
    for operator in subgraph.operators:
        operator.inputs = _renumbered(operator.inputs, place)
        operator.outputs = _renumbered(operator.outputs, place)
    model.signatureDefs = [_renumbered_signature(s, place) for s in model.signatureDefs or []]
    _drop_unused_buffers(model)


def _renumbered(indices: Any, place: dict[int, int]) -> NDArray[np.int32]:
    return np.array([place[int(index)] for index in indices], np.int32)


def _renumbered_signature(signature: Any, place: dict[int, int]) -> Any:
    signature = copy.copy(signature)
    for field in ("inputs", "outputs"):
        entries = [copy.copy(entry) for entry in getattr(signature, field) or []]
        for entry in entries:
            entry.tensorIndex = place[int(entry.tensorIndex)]
        setattr(signature, field, entries)
    return signature


def _drop_unused_buffers(model: Model) -> None:
    tensors = model.subgraphs[0].tensors
    model.metadata = [copy.copy(entry) for entry in model.metadata or []]
    holders = [*tensors, *model.metadata]
    kept = sorted({0, *(int(holder.buffer) for holder in holders if _has_data(model, holder))})
    place = {old: new for new, old in enumerate(kept)}
    for holder in holders:
        # Buffer 0 is the schema's "no data"; float tensors may each have had an empty one.
        holder.buffer = place.get(int(holder.buffer), 0)
    model.buffers = [model.buffers[index] for index in kept]


def _has_data(model: Model, holder: Any) -> bool:
    data = model.buffers[holder.buffer].data
    return data is not None and len(data) > 0
