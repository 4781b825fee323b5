"""The tables of a model that expanding looks at, and the edits that it is made of."""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

import numpy as np

from .flat import MAX_FILE_BYTES, OPERATOR, Flat, Malformed, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .flat import Bytes

    Floats = NDArray[np.float32]

# schema.fbs: TensorType, BuiltinOperator
FLOAT32, INT32, UINT8, INT8 = 0, 2, 3, 9
CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED = 3, 4, 9

SECTION_BYTES = 1 << 16
"""What is added begins at a multiple of the largest pages that boards have."""
ALIGNMENT = 64
MAX_GROWTH, MAX_SMALL_BYTES = 64, 16 << 20
"""A bit of entropy-coded bytes gives a float of 32; zeros may take less, in small models too."""
_LENGTH_BYTES = 4  # of a vector, before its elements
_PADDING_BYTES = 16  # at most, between two vectors


class Model:
    """A model's tables.  Raises Malformed."""

    def __init__(self, data: Bytes) -> None:
        self.flat = Flat(data)
        self.root = self.flat.root()
        self.codes = self.root.tables(1)
        named = [i for i, code in enumerate(self.codes) if code.content(1) == OPERATOR]
        if len(named) > 1:
            raise Malformed(f"it has two operator codes of the name {OPERATOR.decode()}")
        self.expand_code: Optional[int] = named[0] if named else None

    def open(self) -> None:
        """Read the rest, which plain models do not need."""
        self.graphs = self.root.tables(2)
        self.buffers = self.root.tables(4)
        if not self.graphs:
            raise Malformed("it has no graph")
        self.tensors = [graph.tables(0) for graph in self.graphs]
        self.operators = [graph.tables(3) for graph in self.graphs]

    def builtin(self, operator: Table) -> int:
        """The operator's number in the schema; files of before 2020 know the short field only."""
        code = self.codes[indexed(operator.number(0), self.codes, "operator code")]
        return max(code.number(0, "b"), code.number(3, "i"))

    def buffer_of(self, tensor: Table) -> Table:
        """Where a tensor's constant lies."""
        return self.buffers[indexed(tensor.number(2), self.buffers, "buffer")]


@dataclasses.dataclass(frozen=True)
class Filter:
    """A filter to write at byte `at`, `row` values in each of `rows` channels.

    codec, stored, size: as in `unpack.decode`.  scales: float32 [rows] for a float32 filter.
    """

    at: int
    codec: int
    stored: Tuple[Any, ...]
    rows: int
    row: int
    size: int = 0
    scales: Optional[Floats] = None

    @property
    def size_bytes(self) -> int:
        """What it takes when written."""
        return self.rows * self.row * (1 if self.scales is None else 4)


@dataclasses.dataclass(frozen=True)
class Expansion:
    """All that is to be written, in any order.

    kept: (first, behind the last) byte of what stays where it was.  patches: bytes that replace
    some of those.  added: small vectors behind them.  packed: whether a stock runtime refuses the
    file as it was.
    """

    packed: bool
    data: Any
    kept: Tuple[Tuple[int, int], ...]
    patches: Tuple[Tuple[int, bytes], ...]
    added: Tuple[Tuple[int, bytes], ...]
    filters: Tuple[Filter, ...]
    total_bytes: int


class Edits:
    """Gathers what is to change; `finish` gives everything that is added its place."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._patches: Dict[int, bytes] = {}
        self._filters: Dict[int, Filter] = {}  # by the byte of the distance that leads there
        self._scales: Dict[int, bytes] = {}
        self._dropped: Dict[int, int] = {}  # first -> behind the last byte

    def __bool__(self) -> bool:
        return bool(self._filters)

    def patch(self, at: int, code: str, value: int) -> None:
        """Another number at byte `at`."""
        if not at:
            raise Malformed("a field that has to change is not stored")
        self._patches[at] = struct.pack("<" + code, value)

    def add_filter(self, distance_at: int, item: Filter) -> None:
        """A vector of bytes for the buffer whose field lies at `distance_at`."""
        if not distance_at or distance_at in self._filters:
            raise Malformed("two filters share a buffer, or one has none")
        self._filters[distance_at] = item

    def add_scales(self, distance_at: int, scales: Floats) -> None:
        """A vector of floats for the field at `distance_at`."""
        if not distance_at or distance_at in self._scales:
            raise Malformed("two tensors share their scales, or one cannot have any")
        self._scales[distance_at] = scales.astype("<f4").tobytes()

    def drop(self, buffer: Table) -> None:
        """The bytes of this buffer's vector are no longer needed."""
        payload = buffer.payload(0)
        if len(payload):
            start, count = buffer.span(0)
            self._dropped[start - _LENGTH_BYTES] = start + count

    def finish(self, *, packed: bool) -> Expansion:
        """Raises Malformed where what stays and what goes cannot be told apart."""
        kept = self._kept()
        at = kept[-1][1]
        added = []
        for distance_at, scales in self._scales.items():
            at = _aligned(at, 4)
            added.append((at, struct.pack("<I", len(scales) // 4) + scales))
            self.patch(distance_at, "I", at - distance_at)
            at += _LENGTH_BYTES + len(scales)
        filters = []
        alignment = SECTION_BYTES
        for distance_at, item in self._filters.items():
            at, alignment = _aligned(at + _LENGTH_BYTES, alignment), ALIGNMENT
            filters.append(dataclasses.replace(item, at=at))
            added.append((at - _LENGTH_BYTES, struct.pack("<I", item.size_bytes)))
            self.patch(distance_at, "I", at - _LENGTH_BYTES - distance_at)
            at += item.size_bytes
            limit = MAX_GROWTH * len(self._model.flat.data) + MAX_SMALL_BYTES
            if at > min(MAX_FILE_BYTES, limit):
                raise Malformed("expanded it would be larger than its codes can mean")
        return Expansion(
            packed,
            self._model.flat.data,
            kept,
            tuple(self._patches.items()),
            tuple(added),
            tuple(filters),
            at,
        )

    def _kept(self) -> Tuple[Tuple[int, int], ...]:
        """What is not dropped; what is dropped at the very end of the file is cut off."""
        flat = self._model.flat
        end, dropped = len(flat.data), sorted(self._dropped.items())
        while dropped and _is_padding(flat.data[dropped[-1][1] : end]):
            end = dropped.pop()[0]
        if flat.reach > end or any(at >= end for at in self._patches):
            raise Malformed("codes lie before what they belong to")
        kept, start = [], 0
        for first, behind in dropped:
            kept.append((start, max(start, first)))
            start = max(start, behind)
        return (*kept, (start, max(start, end)))


def indexed(index: int, of: Sequence[Any], what: str) -> int:
    """`index`, which names one of these.  Raises Malformed."""
    if not 0 <= index < len(of):
        raise Malformed(f"{what} {index} of {len(of)}")
    return index


def shape_of(tensor: Table) -> Tuple[int, int]:
    """(channels, values in each) of a filter, both at least 1.  Raises Malformed."""
    shape = tensor.integers(0)
    if not 1 <= len(shape) <= 8 or min(shape) < 1:
        raise Malformed(f"a filter of the shape {list(shape[:9])}")
    row = 1
    for size in shape[1:]:
        row *= size
    if shape[0] * row > MAX_FILE_BYTES:
        raise Malformed(f"a filter of {shape[0] * row} values")
    return shape[0], row


def scales_of(tensor: Table) -> Floats:
    """float32: the scales of a tensor; none where it is not quantized."""
    quantization = tensor.table(4)
    if quantization is None:
        return np.empty(0, np.float32)
    return np.frombuffer(quantization.content(2, 4), "<f4")


def _aligned(at: int, to: int) -> int:
    return -(-at // to) * to


def _is_padding(between: Any) -> bool:
    return len(between) < _PADDING_BYTES and not any(between)
