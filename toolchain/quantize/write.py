"""A plan carried out: the float flatbuffer becomes an int8 one, tensor by tensor.

The same plan gives the same bytes.  What is left of the float model: its operators and their
options, names, shapes, signatures and metadata.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.operators import (
    INT4_CONVOLUTION_VERSION,
    MUL_ABOVE_ONE_VERSION,
    RESIZE_HALF_PIXEL_VERSION,
)
from toolchain.quantize.plan import LayerPlan, Plan
from toolchain.quantize.scales import Scale
from toolchain.tflite.elements import INT4, INT8, INT32, Element
from toolchain.tflite.flatbuffer import Model
from toolchain.tflite.packing import pack_int4

_RUNTIME_VERSION: Final = b"min_runtime_version"  # of the float operators: no longer true


def write_int8(graph: FloatGraph, plan: Plan) -> Model:
    """The int8 model as an object tree; the float one is left as it was."""
    model = copy.copy(graph.model)
    subgraph = copy.copy(model.subgraphs[0])
    subgraph.tensors = [copy.copy(tensor) for tensor in subgraph.tensors]
    subgraph.operators = [copy.copy(operator) for operator in subgraph.operators]
    model.subgraphs = [subgraph]
    model.buffers = list(model.buffers)
    model.metadata = [e for e in model.metadata or [] if e.name != _RUNTIME_VERSION]
    for tensor, scale in plan.scales().items():
        _quantize(subgraph.tensors[tensor], INT8, _parameters(scale.scale, scale.zero_point))
    for layer in plan.layers:
        _write_layer(model, subgraph, layer, plan.scales())
    model.operatorCodes = _versions(graph, subgraph, plan)
    _drop_unused(model)
    return model


def _write_layer(model: Model, subgraph: Any, layer: LayerPlan, scales: dict[int, Scale]) -> None:
    operation, filter_ = layer.operation, layer.filter
    element = INT4 if filter_.bits == 4 else INT8
    data = pack_int4(filter_.codes) if element is INT4 else filter_.codes.tobytes()
    # New tensors always: two convolutions may share a bias of zeros, but no scale.
    weights = copy.copy(subgraph.tensors[operation.inputs[1]])
    _quantize(weights, element, _parameters(filter_.scale, np.zeros(len(filter_.scale))))
    weights.buffer = _added(model.buffers, schema.BufferT(data=np.frombuffer(data, np.uint8)))
    bias_scale = (filter_.scale.astype(np.float64) * scales[operation.data[0]].scale).astype(
        np.float32
    )
    bias = _bias_tensor(subgraph, operation, len(layer.bias))
    _quantize(bias, INT32, _parameters(bias_scale, np.zeros(len(bias_scale))))
    bias_bytes = np.frombuffer(layer.bias.tobytes(), np.uint8)
    bias.buffer = _added(model.buffers, schema.BufferT(data=bias_bytes))
    operator = subgraph.operators[operation.index]
    operator.inputs = np.array(
        [operation.data[0], _added(subgraph.tensors, weights), _added(subgraph.tensors, bias)],
        np.int32,
    )


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


def _versions(graph: FloatGraph, subgraph: Any, plan: Plan) -> list[Any]:
    """Operator codes with the versions that int8 needs, in the order of first use."""
    int4 = {layer.operation.index for layer in plan.layers if layer.filter.bits == 4}
    scales = plan.scales()
    codes: list[Any] = []
    places: dict[tuple[int, int], int] = {}
    for operation, operator in zip(graph.operations, subgraph.operators, strict=True):
        old = graph.model.operatorCodes[operator.opcodeIndex]
        version = _version(operation, scales, int4=operation.index in int4)
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


def _drop_unused(model: Model) -> None:
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
    model.metadata = [copy.copy(entry) for entry in model.metadata]
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
