"""What a .tflite file is: size, parameters, operators, and the tensors at its ends."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema

from targets.agent.flat import OPERATOR
from toolchain.errors import ModelError
from toolchain.tflite.elements import ELEMENTS
from toolchain.tflite.flatbuffer import Model, parse
from toolchain.tflite.metadata import Metadata, extract
from toolchain.tflite.soundness import show_name, stored_bytes


@dataclasses.dataclass(frozen=True)
class TensorFacts:
    """A tensor at a model's end.

    scale: real value = (value - zero_point) * scale; None where the tensor is not quantized.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """A model file described.

    parameters: weights and biases, as the model's own metadata counts them, else the elements of
    the constants that its operators multiply by and add.  bits_per_weight: 8 x file_bytes /
    parameters, the whole file counted; None where the model has no parameters.
    operators: how often each is used.  weights: of the parameters in this file, by element type,
    and "packed" those of packed filters.  packed_bits: stored bits of one of these, codes and what
    they need to be read; None where there are none.
    """

    file_bytes: int
    sha256: str
    parameters: int
    bits_per_weight: float | None
    operators: Mapping[str, int]
    weights: Mapping[str, int]
    signatures: tuple[str, ...]
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    metadata: Metadata | None
    packed_bits: float | None = None


# Where an operator holds weights and biases (TensorFlow Lite, kernels/*.cc: kFilterTensor, ...).
_PARAMETERS: Final = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "CONV_3D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3),
    "PRELU": (1,),
}
# Either side may be a constant: a folded batch norm that was not folded, a matrix.
_EITHER_SIDE: Final = {"MUL", "ADD", "SUB", "DIV", "BATCH_MATMUL"}

_OPERATOR_NAMES: Final[dict[int, str]] = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


def facts(path: Path) -> ModelFacts:
    """`facts_of` a file's bytes.  Raises MalformedModel, UnsupportedModel, OSError."""
    try:
        return facts_of(path.read_bytes())
    except ModelError as error:
        raise type(error)(f"{path.name}: {error.message}", hint=error.hint) from error


def facts_of(data: bytes) -> ModelFacts:
    """The facts of a model's bytes.  Raises MalformedModel, UnsupportedModel."""
    model = parse(data)
    metadata = extract(model)
    weights = _weights(model)
    parameters = metadata.parameters if metadata else sum(weights.values())
    graph = model.subgraphs[0]
    names = signature_names(model)
    return ModelFacts(
        file_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        parameters=parameters,
        bits_per_weight=8 * len(data) / parameters if parameters else None,
        operators=dict(Counter(operator_names(model)).most_common()),
        weights=weights,
        signatures=tuple(show_name(entry.signatureKey) for entry in model.signatureDefs or []),
        inputs=_ends(graph, graph.inputs, names),
        outputs=_ends(graph, graph.outputs, names),
        metadata=metadata,
        packed_bits=_packed_bits(model),
    )


def operator_names(model: Model) -> list[str]:
    """The schema's name of each operator of all graphs, in order; custom ones by their own."""
    return [
        _operator_name(model, operator)
        for graph in model.subgraphs
        for operator in graph.operators or []
    ]


def signature_names(model: Model) -> dict[int, str]:
    """Tensor index in the first graph -> the name that the first signature over it gives it."""
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            entries = [*(signature.inputs or []), *(signature.outputs or [])]
            return {entry.tensorIndex: show_name(entry.name) for entry in entries}
    return {}


def _operator_name(model: Model, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    # Files of before 2020 know the short field only; the larger of the two is the code.
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    if builtin == schema.BuiltinOperator.CUSTOM:
        return show_name(code.customCode)
    return _OPERATOR_NAMES.get(builtin, f"operator {builtin}")


def _weights(model: Model) -> dict[str, int]:
    """Elements of the constants that act as weights and biases, by element type; each once."""
    counts: Counter[str] = Counter()
    for graph in model.subgraphs:
        packed = {int(o.outputs[0]) for o in _packing(model, graph)}
        seen = {
            index
            for operator in graph.operators or []
            for index in _parameter_tensors(_operator_name(model, operator), operator)
        }
        for index in seen:
            tensor = graph.tensors[index]
            if stored_bytes(model.buffers[tensor.buffer]):
                counts[ELEMENTS[tensor.type].name] += math.prod(_shape(tensor))
            elif index in packed:
                counts["packed"] += math.prod(_shape(tensor))
    return dict(counts.most_common())


def _packing(model: Model, graph: Any) -> list[Any]:
    """The operators whose outputs are packed filters."""
    return [
        operator
        for operator in graph.operators or []
        if _operator_name(model, operator) == OPERATOR.decode()
    ]


def _packed_bits(model: Model) -> float | None:
    stored = count = 0
    for graph in model.subgraphs:
        for operator in _packing(model, graph):
            inputs = (graph.tensors[int(index)] for index in operator.inputs)
            stored += sum(stored_bytes(model.buffers[tensor.buffer]) for tensor in inputs)
            count += math.prod(_shape(graph.tensors[int(operator.outputs[0])]))
    return 8 * stored / count if count else None


def _parameter_tensors(name: str, operator: Any) -> Iterable[int]:
    inputs = [] if operator.inputs is None else [int(index) for index in operator.inputs]
    places = range(2) if name in _EITHER_SIDE else _PARAMETERS.get(name, ())
    return [inputs[place] for place in places if place < len(inputs) and inputs[place] >= 0]


def _ends(graph: Any, indices: Any, names: Mapping[int, str]) -> tuple[TensorFacts, ...]:
    return tuple(
        _tensor_facts(graph.tensors[int(index)], names.get(int(index)))
        for index in ([] if indices is None else indices)
    )


def _tensor_facts(tensor: Any, name: str | None) -> TensorFacts:
    scale, zero_point = one_scale(tensor)
    return TensorFacts(
        name=name or show_name(tensor.name),
        dtype=ELEMENTS[tensor.type].name,
        shape=_shape(tensor),
        scale=scale,
        zero_point=zero_point,
    )


def one_scale(tensor: Any) -> tuple[float, int] | tuple[None, None]:
    """Scale and zero point of a tensor with one of each; Nones where it is not quantized.

    A float tensor may carry the scale (0.0, 0), which says "not quantized" too.
    """
    quantization = tensor.quantization
    scale = None if quantization is None else quantization.scale
    if scale is None or len(scale) != 1 or scale[0] == 0 or tensor.type == 0:
        return None, None
    zero_point = quantization.zeroPoint
    known = zero_point is not None and len(zero_point) > 0
    return float(scale[0]), int(zero_point[0]) if known else 0


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
