"""Any .tflite model as tensors and operators: what lint and verification look at.

Unlike `toolchain.quantize.graph` it refuses nothing that `flatbuffer.parse` takes; what it does
not know has a name all the same.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.expand import unpack_int4
from toolchain.errors import MalformedModel
from toolchain.tflite.elements import ELEMENTS, INT4, Element
from toolchain.tflite.facts import operator_names, signature_names
from toolchain.tflite.flatbuffer import Model
from toolchain.tflite.soundness import stored_bytes

INTEGERS: Final = ("int8", "uint8", "int16", "int4")
"""Element types that activations and weights are quantized to."""

WEIGHTED: Final = {
    "CONV_2D": (0, 2),
    "DEPTHWISE_CONV_2D": (0, 2),
    "FULLY_CONNECTED": (0, 2),
    "TRANSPOSE_CONV": (2, 3),
}
"""Operators with a filter, which is input 1 -> places of the activation and of the bias."""

COPIES: Final = {
    "CONCATENATION": None,
    "MAX_POOL_2D": (0,),
    "PAD": (0,),
    "PADV2": (0,),
    "RESHAPE": (0,),
    "RESIZE_NEAREST_NEIGHBOR": (0,),
    "SLICE": (0,),
    "SPLIT": (1,),
    "SQUEEZE": (0,),
    "EXPAND_DIMS": (0,),
    "STRIDED_SLICE": (0,),
    "TRANSPOSE": (0,),
    "SPACE_TO_DEPTH": (0,),
    "DEPTH_TO_SPACE": (0,),
    "GATHER": (0,),
    "PACK": None,
    "UNPACK": (0,),
}
"""Operators whose output holds values of these inputs and nothing else; None: of all inputs."""


_NEEDED: Final = {
    **dict.fromkeys(COPIES, 1),
    **{kind: max(place, 1) + 1 for kind, (place, _) in WEIGHTED.items()},
    **dict.fromkeys(("ADD", "SUB", "MUL"), 2),
    **dict.fromkeys(("LOGISTIC", "LEAKY_RELU", "QUANTIZE", "DEQUANTIZE"), 1),
}
"""Inputs that an operator that is looked into has to have, beside one output."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor.  scales: float64 [n], zero_points: int64 [n]; empty where not quantized.

    real = (code - zero_point) * scale.  axis: of the scales, where there are several.
    constant: its values lie in the file.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    element: Element
    scales: NDArray[np.float64]
    zero_points: NDArray[np.int64]
    axis: int
    constant: bool

    @property
    def quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return len(self.scales) > 0 and self.element.name in INTEGERS

    @property
    def scale(self) -> float:
        """The only scale, or the first."""
        return float(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The only zero point, or the first."""
        return int(self.zero_points[0])

    @property
    def codes(self) -> tuple[int, int]:
        """The lowest and the highest integer of its type."""
        half = 1 << ((self.element.bits or 8) - 1)
        return (0, 2 * half - 1) if self.element.name == "uint8" else (-half, half - 1)

    @property
    def low(self) -> float:
        """The real number of the lowest code."""
        return (self.codes[0] - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The real number of the highest code."""
        return (self.codes[1] - self.zero_point) * self.scale

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One operator.  index: its place in the order of execution.  inputs: as the schema lists them,
    -1 for one left out.  data: the tensors that it reads whose values are made at run time.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    data: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


class View:
    """The main graph (number 0) of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        graph = model.subgraphs[0]
        self.tensors = tuple(
            self._tensor(index, tensor) for index, tensor in enumerate(graph.tensors or [])
        )
        self.inputs, self.outputs = _indices(graph.inputs), _indices(graph.outputs)
        names = operator_names(model)
        self.nodes = tuple(
            self._node(index, names[index], operator)
            for index, operator in enumerate(graph.operators or [])
        )

    def name(self, tensor: int) -> str:
        """A tensor's name."""
        return self.tensors[tensor].name

    @cached_property
    def signature_names(self) -> dict[int, str]:
        """What the first signature calls the tensors at the ends."""
        return signature_names(self.model)

    @cached_property
    def producers(self) -> dict[int, Node]:
        """The operator that makes each tensor."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}

    @cached_property
    def consumers(self) -> dict[int, tuple[Node, ...]]:
        """The operators that read each tensor."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found.setdefault(tensor, []).append(node)
        return {tensor: tuple(nodes) for tensor, nodes in found.items()}

    @cached_property
    def activations(self) -> tuple[int, ...]:
        """Inputs of the graph, then every tensor that an operator makes, in their order."""
        made = (tensor for node in self.nodes for tensor in node.outputs)
        return tuple(dict.fromkeys([*self.inputs, *made]))

    @cached_property
    def weighted(self) -> tuple[Node, ...]:
        """Operators with a filter, in the order of execution."""
        return tuple(node for node in self.nodes if node.kind in WEIGHTED)

    def layer(self, node: Node) -> str:
        """What an operator is called: by its weights "model.3.conv/weight", or by its output."""
        if node.kind in WEIGHTED:
            stem, _, last = self.name(node.inputs[1]).rpartition("/")
            if stem and last in ("weight", "weights"):
                return stem
        return self.name(node.outputs[0]) if node.outputs else f"operator {node.index}"

    def copied_from(self, node: Node) -> tuple[int, ...]:
        """The tensors whose values an operator's outputs hold unchanged; none for arithmetic."""
        if node.kind not in COPIES:
            return ()
        places = COPIES[node.kind]
        every = range(len(node.inputs)) if places is None else places
        chosen = [node.inputs[place] for place in every if place < len(node.inputs)]
        return tuple(tensor for tensor in chosen if tensor >= 0)

    def bias_of(self, node: Node) -> Tensor | None:
        """The bias of an operator in `weighted`, where it has one."""
        place = WEIGHTED[node.kind][1]
        if place < len(node.inputs) and node.inputs[place] >= 0:
            return self.tensors[node.inputs[place]]
        return None

    def ends_of(self, node: Node) -> tuple[Tensor, Tensor, Tensor]:
        """Input, filter and output of an operator in `weighted`."""
        source = self.tensors[node.inputs[WEIGHTED[node.kind][0]]]
        return source, self.tensors[node.inputs[1]], self.tensors[node.outputs[0]]

    def values(self, tensor: int) -> NDArray[Any] | None:
        """The stored numbers of a constant, in its shape; None where numpy cannot read them."""
        found = self.tensors[tensor]
        entry = self.model.subgraphs[0].tensors[tensor]
        data = self.model.buffers[entry.buffer].data
        if data is None or len(data) == 0 or entry.sparsity is not None:
            return None
        raw = np.asarray(data, np.uint8)
        if found.element is INT4:
            return unpack_int4(raw, found.elements).reshape(found.shape)
        if found.element.dtype is None:
            return None
        dtype = np.dtype(found.element.dtype)
        return raw[: found.elements * dtype.itemsize].view(dtype).reshape(found.shape)

    def _tensor(self, index: int, tensor: Any) -> Tensor:
        quantization = tensor.quantization
        scales = None if quantization is None else quantization.scale
        points = None if quantization is None else quantization.zeroPoint
        found = np.asarray([] if scales is None else scales, np.float64)
        zeros = np.asarray([] if points is None else points, np.int64)
        if len(zeros) not in (1, len(found)):  # none given, or some that belong to no scale
            zeros = np.zeros(1, np.int64)
        return Tensor(
            index=index,
            name=_name(tensor.name) or f"tensor {index}",
            shape=() if tensor.shape is None else tuple(int(size) for size in tensor.shape),
            element=ELEMENTS[tensor.type],
            scales=found,
            zero_points=np.broadcast_to(zeros, found.shape),
            axis=0 if quantization is None else int(quantization.quantizedDimension),
            constant=stored_bytes(self.model.buffers[tensor.buffer]) > 0,
        )

    def _node(self, index: int, kind: str, operator: Any) -> Node:
        inputs = _indices(operator.inputs)
        outputs = _indices(operator.outputs)
        needed = _NEEDED.get(kind, 0)
        if needed and (not outputs or len(inputs) < needed or min(inputs[:needed]) < 0):
            raise MalformedModel(
                f"a damaged TFLite model: operator {index} ({kind}) lacks an input or its output",
                hint="The file was written by a faulty tool; convert it again.",
            )
        data = tuple(i for i in inputs if i >= 0 and not self.tensors[i].constant)
        return Node(index, kind, inputs, data, outputs, operator.builtinOptions)


def _name(name: bytes | str | None) -> str:
    """The whole name, unlike `show_name`: it is compared with those of other files."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name or ""
    return "".join(c if c.isprintable() else "?" for c in text)


def _indices(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)
