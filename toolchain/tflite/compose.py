"""Small graphs written by hand: for probing what a runtime takes, and for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import ArrayLike, NDArray

from toolchain.tflite.elements import FLOAT32, INT4, Element
from toolchain.tflite.flatbuffer import Model
from toolchain.tflite.packing import pack_int4


class Graph:
    """Tensors and operators in the order they were added; `model` closes it.

    >>> graph = Graph()
    >>> x = graph.tensor("x", (1, 4))
    >>> y = graph.tensor("y", (1, 4))
    >>> graph.operator("LOGISTIC", [x], [y])
    >>> tree = graph.model([x], [y])
    """

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # buffer 0 is the schema's "no data"

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        element: Element = FLOAT32,
        *,
        scale: ArrayLike | None = None,
        zero_point: ArrayLike = 0,
        axis: int = 0,
    ) -> int:
        """A tensor made at run time; its index.  scale: one number, or one per index of `axis`."""
        return self._add(name, shape, element, 0, scale, zero_point, axis)

    def constant(
        self,
        name: str,
        values: NDArray[Any],
        element: Element = FLOAT32,
        *,
        scale: ArrayLike | None = None,
        zero_point: ArrayLike = 0,
        axis: int = 0,
    ) -> int:
        """A tensor with values; its index.  For INT4 `values` are int8 in -8..7, packed here."""
        data = pack_int4(values) if element is INT4 else values.astype(element.dtype).tobytes()
        self._buffers.append(schema.BufferT(data=np.frombuffer(data, np.uint8)))
        last = len(self._buffers) - 1
        return self._add(name, values.shape, element, last, scale, zero_point, axis)

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        *,
        version: int = 1,
    ) -> None:
        """An operator by its name in the schema; any other name becomes a custom operator.

        options: an object of the schema such as `Conv2DOptionsT`.
        """
        operator = schema.OperatorT(
            opcodeIndex=self._code(name, version),
            inputs=np.array(inputs, np.int32),
            outputs=np.array(outputs, np.int32),
        )
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._operators.append(operator)

    def model(self, inputs: Sequence[int], outputs: Sequence[int], signature: str = "") -> Model:
        """The finished tree; with a signature of that name over inputs and outputs if given."""
        model = schema.ModelT(
            version=3,
            operatorCodes=self._codes,
            subgraphs=[
                schema.SubGraphT(
                    tensors=self._tensors,
                    inputs=np.array(inputs, np.int32),
                    outputs=np.array(outputs, np.int32),
                    operators=self._operators,
                    name="main",
                )
            ],
            buffers=self._buffers,
        )
        if signature:
            model.signatureDefs = [
                schema.SignatureDefT(
                    inputs=[self._entry(index) for index in inputs],
                    outputs=[self._entry(index) for index in outputs],
                    signatureKey=signature,
                )
            ]
        return model

    def _add(
        self,
        name: str,
        shape: Sequence[int],
        element: Element,
        buffer: int,
        scale: ArrayLike | None,
        zero_point: ArrayLike,
        axis: int,
    ) -> int:
        tensor = schema.TensorT(
            shape=np.array(shape, np.int32), type=element.code, buffer=buffer, name=name
        )
        tensor.hasRank = True
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zero_points = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape).copy()
            tensor.quantization = schema.QuantizationParametersT(
                scale=scales, zeroPoint=zero_points, quantizedDimension=axis
            )
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _code(self, name: str, version: int) -> int:
        builtin = getattr(schema.BuiltinOperator, name, None)
        code = schema.OperatorCodeT(version=version)
        code.builtinCode = schema.BuiltinOperator.CUSTOM if builtin is None else builtin
        # Runtimes older than operator 127 read this byte only.
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = name if builtin is None else None
        self._codes.append(code)
        return len(self._codes) - 1

    def _entry(self, index: int) -> Any:
        return schema.TensorMapT(name=self._tensors[index].name, tensorIndex=index)
