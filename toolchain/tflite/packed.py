"""Models whose filters are packed: small in storage, expanded to ordinary ones before they run.

The format is docs/packed-format.md; `targets.agent.expand` is the inverse.  A packed filter is
the output of the custom operator HalfbyteExpand, so that shapes stay true, tools show what is
there, and a stock runtime refuses the file by that name instead of running it wrongly.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from targets.agent.expand_packed import OPTIONS_VERSION, TO_FLOAT32, TO_INT8
from targets.agent.flat import OPERATOR, Flat
from toolchain.errors import OutOfRange
from toolchain.quantize.coded import CodedFilter, Plain, expand
from toolchain.tflite.elements import FLOAT32, INT8, INT32, UINT8, Element
from toolchain.tflite.flatbuffer import Model
from toolchain.tflite.packed_codecs import store
from toolchain.tflite.sharing import Own, serialize
from toolchain.tflite.soundness import show_name

FloatArray = NDArray[np.float32]

_VECTOR_OF_BYTES: Final = (48, 1)  # FlexBuffers: type VECTOR_UINT of 1 byte each, root of 1 byte
_ELEMENTS: Final = {"uint8": UINT8, "int8": INT8, "float32": FLOAT32}


def pack(
    model: Model,
    filters: Mapping[int, CodedFilter],
    scales: Mapping[int, FloatArray] | None = None,
) -> bytes:
    """The packed form of an ordinary model.

    model: the tree of the model that expanding has to give back; it is left as it was.
    filters: index of a constant tensor in its only graph -> the same filter as codes.  An int8
    filter that is `Plain` stays where it is.
    scales: float32 [O] of those tensors that are float32: they are scale x code.
    Raises OutOfRange where codes and model disagree.
    """
    work = _Packing(model)
    for index, coded in sorted(filters.items()):
        work.pack(index, coded, (scales or {}).get(index))
    return work.finish()


def options(codec: int, kind: int, size: int = 0) -> bytes:
    """HalfbyteExpand's options: a FlexBuffers vector of bytes, which other tools show as numbers.

    size: weights a group, at most 65,535.  Inverse: `targets.agent.expand_packed.options`.
    """
    values = bytes([OPTIONS_VERSION, codec, kind, size & 0xFF, size >> 8])
    return bytes([len(values), *values, len(values), *_VECTOR_OF_BYTES])


class _Packing:
    """A shallow copy of the model that grows."""

    def __init__(self, model: Model) -> None:
        self._model = copy.copy(model)
        graph = copy.copy(model.subgraphs[0])
        graph.tensors, graph.operators = list(graph.tensors), list(graph.operators)
        self._model.subgraphs = [graph]
        self._model.buffers = list(model.buffers)
        self._model.operatorCodes = list(model.operatorCodes)
        self._graph = graph
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def pack(self, index: int, coded: CodedFilter, scales: FloatArray | None) -> None:
        """Put codes in place of one filter."""
        tensor = self._graph.tensors[index]
        is_float = tensor.type == FLOAT32.code
        if isinstance(coded, Plain) and not is_float:
            return
        self._check(tensor, coded, scales)
        stored = store(coded)
        (name, codes), *others = stored.tensors
        if scales is not None:
            others.append(("scales", scales.astype(np.float32)))
        # The codes have the filter's own buffer, which expanding gives back to it.
        inputs = [self._constant(name, codes, tensor.buffer)]
        inputs += [self._constant(name, values) for name, values in others]
        kind = TO_FLOAT32 if is_float else TO_INT8
        self._operators.append(
            schema.OperatorT(
                opcodeIndex=len(self._model.operatorCodes),
                inputs=np.array(inputs, np.int32),
                outputs=np.array([index], np.int32),
                customOptions=np.frombuffer(options(stored.codec, kind, stored.size), np.uint8),
            )
        )

    def finish(self) -> bytes:
        """The bytes; those of a model without packed filters are ordinary ones."""
        if self._operators:
            code = schema.OperatorCodeT(
                deprecatedBuiltinCode=schema.BuiltinOperator.CUSTOM,
                builtinCode=schema.BuiltinOperator.CUSTOM,
                customCode=OPERATOR,
                version=1,
            )
            self._drop_bias_scales()
            self._graph.operators = [*self._operators, *self._graph.operators]
            self._model.operatorCodes.append(code)
        data = bytearray(serialize(self._model, last=self._codes))
        tensors = Flat(data).root().tables(2)[0].tables(0)
        for operator in self._operators:
            # Stored although it is the default: expanding writes the buffer's number there.
            place = tensors[operator.outputs[0]].place(2)
            data[place : place + 4] = bytes(4)
        return bytes(data)

    def _check(self, tensor: Any, coded: CodedFilter, scales: FloatArray | None) -> None:
        name = show_name(tensor.name)
        values = expand(coded)
        if tensor.type == FLOAT32.code:
            if scales is None or scales.shape != (len(values),):
                raise OutOfRange(
                    f"{name} is float32 and has no scale for each of {len(values)} channels",
                    hint="Give `pack` the scales of float32 filters.",
                )
            exact = values.astype(np.float32) * scales[:, None, None, None]
            expected = exact.astype(np.float32).tobytes()
        elif tensor.type == INT8.code and scales is None:
            expected = values.tobytes()
        else:
            raise OutOfRange(f"{name} is neither an int8 nor a float32 filter", hint="")
        sharing = [t for t in self._graph.tensors if t.buffer == tensor.buffer]
        stored = self._model.buffers[tensor.buffer].data
        if (
            list(tensor.shape) != list(values.shape)
            or len(sharing) > 1
            or stored is None
            or bytes(stored) != expected
        ):
            raise OutOfRange(
                f"{name}: its codes are not the filter in the model",
                hint="Write the model with the expanded codes, then pack it.",
            )

    def _constant(self, name: str, values: NDArray[Any], buffer: int | None = None) -> int:
        """A tensor behind all others; its index.  buffer: in place of a new one."""
        element: Element = _ELEMENTS[values.dtype.name]
        if buffer is None:
            self._model.buffers.append(None)
            buffer = len(self._model.buffers) - 1
        content = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers[buffer] = schema.BufferT(data=content)
        self._codes.append(buffer)
        tensor = schema.TensorT(
            shape=np.array(values.shape, np.int32),
            type=element.code,
            buffer=buffer,
            name=name.encode(),
            hasRank=True,
        )
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _drop_bias_scales(self) -> None:
        """Those that are input scale x filter scale, which expanding writes again."""
        tensors = self._graph.tensors
        readers = Counter(
            int(index)
            for operator in self._graph.operators
            for index in ([] if operator.inputs is None else operator.inputs)
        )
        for operator in self._graph.operators:
            inputs = [] if operator.inputs is None else [int(i) for i in operator.inputs]
            if len(inputs) < 3 or min(inputs[:3]) < 0 or readers[inputs[2]] > 1:
                continue
            entry, filter_, bias = (tensors[index] for index in inputs[:3])
            if bias.type == INT32.code and _is_product(bias, entry, filter_):
                quantization = copy.copy(bias.quantization)
                quantization.scale = np.zeros(0, np.float32)
                tensors[inputs[2]] = copy.copy(bias)
                tensors[inputs[2]].quantization = Own(quantization)


def _is_product(bias: Any, entry: Any, filter_: Any) -> bool:
    """Whether a bias has the scales that expanding would give it."""
    of_bias, of_entry, of_filter = (_scales(tensor) for tensor in (bias, entry, filter_))
    if of_entry.size != 1 or of_filter.size == 0 or list(bias.shape) != [of_filter.size]:
        return False
    product = (of_filter.astype(np.float64) * float(of_entry[0])).astype(np.float32)
    return product.tobytes() == of_bias.tobytes()


def _scales(tensor: Any) -> FloatArray:
    quantization = tensor.quantization
    scale = None if quantization is None else quantization.scale
    return np.asarray([] if scale is None else scale, np.float32)
