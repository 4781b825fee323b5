"""A float flatbuffer as operators on named tensors: what calibration and quantization look at."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from toolchain.errors import NotFinite, UnsupportedModel
from toolchain.quantize.operators import RULES, Rule
from toolchain.tflite.elements import ELEMENTS, FLOAT32
from toolchain.tflite.flatbuffer import Model

MOVED = "/equalized"
"""Ends the names of activations that `rescale` made others than they were."""

_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operator: indices of its activations, and of the constants beside them.

    kind: its name in the schema.  index: its place in the order of execution.
    data: activations that it reads.  inputs: all of its inputs as the schema lists them.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    data: tuple[int, ...]
    output: int
    rule: Rule
    options: Any


class FloatGraph:
    """The one subgraph of a float model whose operators all have a row in `operators.RULES`.

    Raises UnsupportedModel where a model has anything else, naming it.
    """

    def __init__(self, model: Model) -> None:
        if len(model.subgraphs) != 1:
            raise _unsupported(f"{len(model.subgraphs)} subgraphs; one is quantized")
        self.model = model
        self._graph = model.subgraphs[0]
        self.inputs = tuple(int(index) for index in self._graph.inputs)
        self.outputs = tuple(int(index) for index in self._graph.outputs)
        self.operations = tuple(self._operations())
        self._check_types()

    def name(self, tensor: int) -> str:
        """A tensor's name, or its index where it has none."""
        name = self._graph.tensors[tensor].name
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        return text or f"tensor {tensor}"

    def layer(self, operation: Operation) -> str:
        """What a convolution is called: by its weights "model.3.conv/weight", or by its output."""
        stem, _, last = self.name(operation.inputs[1]).rpartition("/")
        if stem and last in ("weight", "weights"):
            return stem
        return self.name(operation.output).removesuffix(MOVED)

    def layer_names(self) -> dict[int, str]:
        """What each convolution is called, by operator index; with it where two have one name."""
        names = {operation.index: self.layer(operation) for operation in self.convolutions}
        counts = Counter(names.values())
        return {
            index: name if counts[name] == 1 else f"{name} #{index}"
            for index, name in names.items()
        }

    @property
    def imgsz(self) -> tuple[int, int]:
        """(height, width) of the picture that the model takes.  Raises UnsupportedModel."""
        shape = self.shape(self.inputs[0])
        if len(self.inputs) != 1 or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
            raise UnsupportedModel(
                f"the model takes {list(shape)}, not one picture [1, height, width, 3]",
                hint="Give a float32 .tflite made by `halfbyte convert`.",
            )
        return shape[1], shape[2]

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Sizes of a tensor's axes."""
        shape = self._graph.tensors[tensor].shape
        return () if shape is None else tuple(int(size) for size in shape)

    def elements(self, tensor: int) -> int:
        """How many values a tensor has."""
        return int(np.prod(self.shape(tensor), dtype=np.int64))

    def is_constant(self, tensor: int) -> bool:
        """Whether its values lie in the file."""
        data = self.model.buffers[self._graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def constant(self, tensor: int) -> NDArray[Any]:
        """The values of a tensor that lie in the file."""
        entry = self._graph.tensors[tensor]
        dtype = ELEMENTS[entry.type].dtype
        data = np.asarray(self.model.buffers[entry.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, dtype).reshape(self.shape(tensor))

    def bias(self, operation: Operation) -> NDArray[np.float32]:
        """A convolution's bias, float32 [O]; zeros where it has none."""
        if len(operation.inputs) < 3 or operation.inputs[2] < 0:
            return np.zeros(self.shape(operation.inputs[1])[0], np.float32)
        return self.constant(operation.inputs[2]).astype(np.float32)

    @cached_property
    def producers(self) -> dict[int, Operation]:
        """The operation that makes each tensor."""
        return {operation.output: operation for operation in self.operations}

    @cached_property
    def consumers(self) -> dict[int, tuple[Operation, ...]]:
        """The operations that read each activation."""
        found: dict[int, list[Operation]] = {}
        for operation in self.operations:
            for tensor in dict.fromkeys(operation.data):
                found.setdefault(tensor, []).append(operation)
        return {tensor: tuple(readers) for tensor, readers in found.items()}

    @property
    def convolutions(self) -> tuple[Operation, ...]:
        """In the order of execution."""
        return tuple(op for op in self.operations if op.kind == "CONV_2D")

    def activations(self) -> tuple[int, ...]:
        """Inputs of the graph, then every tensor that an operation makes."""
        return (*self.inputs, *(operation.output for operation in self.operations))

    def output_names(self) -> dict[int, tuple[str, ...]]:
        """Each output tensor's own name and those that signatures give it."""
        names = {tensor: [self.name(tensor)] for tensor in self.outputs}
        for signature in self.model.signatureDefs or []:
            for entry in signature.outputs or []:
                text = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
                names.setdefault(int(entry.tensorIndex), []).append(text)
        return {tensor: tuple(found) for tensor, found in names.items()}

    def feeds_silu(self, tensor: int) -> bool:
        """Whether nobody reads `tensor` but x * sigmoid(x)."""
        if tensor in self.outputs:
            return False
        readers = self.consumers.get(tensor, ())
        gates = {op.output for op in readers if op.kind == "LOGISTIC"}
        products = [op for op in readers if op.kind == "MUL"]
        return (
            len(readers) == len(gates) + len(products)
            and len(gates) == 1
            and len(products) == 1
            and set(products[0].data) == {tensor, *gates}
        )

    def reaches_input(self, tensor: int) -> bool:
        """Whether `tensor` is a picture of the graph, possibly padded or cut."""
        if tensor in self.inputs:
            return True
        made_by = self.producers.get(tensor)
        return bool(made_by and made_by.rule.copies and self.reaches_input(made_by.data[0]))

    def reaches_output(self, tensor: int) -> bool:
        """Whether `tensor` leaves the graph, possibly joined or reshaped with others."""
        return tensor in self.outputs or any(
            reader.rule.copies and self.reaches_output(reader.output)
            for reader in self.consumers.get(tensor, ())
        )

    def _operations(self) -> Iterator[Operation]:
        for index, operator in enumerate(self._graph.operators or []):
            code = self.model.operatorCodes[operator.opcodeIndex]
            builtin = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
            kind = _NAMES.get(builtin, str(builtin))
            if kind not in RULES:
                raise _unsupported(f"operator {kind}, which has no int8 rule here")
            rule = RULES[kind]
            inputs = tuple(int(tensor) for tensor in operator.inputs)
            positions = range(len(inputs)) if rule.data is None else rule.data
            data = tuple(inputs[position] for position in positions)
            if len(operator.outputs) != 1:
                raise _unsupported(f"{kind} with {len(operator.outputs)} outputs")
            if any(self.is_constant(tensor) for tensor in data):
                raise _unsupported(f"{kind} with a constant operand")
            output = int(operator.outputs[0])
            yield Operation(index, kind, inputs, data, output, rule, operator.builtinOptions)

    def _check_types(self) -> None:
        for tensor in self.activations():
            element = ELEMENTS[self._graph.tensors[tensor].type]
            if element is not FLOAT32:
                raise _unsupported(f"tensor {self.name(tensor)} is {element.name}, not float32")
        for operation in self.convolutions:
            if len(operation.inputs) < 2 or not self.is_constant(operation.inputs[1]):
                raise _unsupported(f"a convolution ({self.name(operation.output)}) without weights")


def check_weights(graph: FloatGraph) -> None:
    """Raises NotFinite with layer, channel and count where a weight is NaN or infinite."""
    for operation in graph.convolutions:
        for tensor, what in zip(operation.inputs[1:], ("weights", "biases"), strict=False):
            if tensor < 0:
                continue
            values = graph.constant(tensor)
            bad = ~np.isfinite(values)
            if bad.any():
                channel = int(np.argwhere(bad)[0][0])
                raise NotFinite(
                    f"layer {graph.layer(operation)}: {int(bad.sum())} {what} are NaN or "
                    f"infinite, the first in output channel {channel}",
                    hint="The checkpoint is damaged, or training diverged; use an earlier one.",
                )


def _unsupported(what: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"this model cannot be quantized: {what}",
        hint="Give a float32 .tflite made by `halfbyte convert`.",
    )
