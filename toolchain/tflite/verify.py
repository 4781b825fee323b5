"""Do all offsets of a .tflite file stay inside it?  Asked before anything is read through them.

The readers that flatc makes for Python believe every offset and length, so four bytes can ask for
a list of four billion objects.  This walks the tables we read, as flatbuffers' C++ `Verifier` does
(https://flatbuffers.dev/internals/), with a budget on tables and on text.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Final

from toolchain.errors import MalformedModel

MAX_TABLES: Final = 200_000
"""Detectors have some thousands; each becomes a Python object."""
MAX_TEXT_BYTES: Final = 16 << 20
"""Names, all together: many tables may point at one long string, and each reader copies it."""

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A number of `size_bytes`, stored in the table itself."""

    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Text:
    """An offset to a string."""


@dataclasses.dataclass(frozen=True)
class Scalars:
    """An offset to a vector of numbers of `size_bytes` each."""

    size_bytes: int


@dataclasses.dataclass(frozen=True)
class One:
    """An offset to a table."""

    fields: Fields


@dataclasses.dataclass(frozen=True)
class Many:
    """An offset to a vector of offsets to tables."""

    fields: Fields


@dataclasses.dataclass(frozen=True)
class Union:
    """An offset to a table whose type the field before it holds; other types get `otherwise`."""

    types: Mapping[int, Fields]
    otherwise: Fields = dataclasses.field(default_factory=dict)


Field = Scalar | Text | Scalars | One | Many | Union
Fields = Mapping[int, Field]
"""Slot of the field in its table (its position in schema.fbs, from 0) -> what lies there."""

_BYTE, _INT, _LONG = Scalar(1), Scalar(4), Scalar(8)
_BYTES, _INTS, _LONGS = Scalars(1), Scalars(4), Scalars(8)

_OPTIONS = Union({111: {0: Text(), 1: Text()}})  # VarHandleOptions: the only one with text
_OPTIONS_2 = Union(
    {5: {0: Text(), 2: Text()}, 21: {0: Text()}}  # StablehloCustomCall, StableHLOComposite
)
_QUANTIZATION: Fields = {
    0: _INTS,  # min, max and scale are floats of 4 bytes
    1: _INTS,
    2: _INTS,
    3: _LONGS,
    4: _BYTE,
    5: Union({1: {0: _BYTES}}),
    6: _INT,
}
_DIMENSION: Fields = {0: _BYTE, 1: _INT, 2: _BYTE, 3: Union({}), 4: _BYTE, 5: Union({})}
_SPARSITY: Fields = {0: _INTS, 1: _INTS, 2: Many(_DIMENSION)}
_TENSOR: Fields = {
    0: _INTS,
    1: _BYTE,
    2: _INT,
    3: Text(),
    4: One(_QUANTIZATION),
    5: _BYTE,
    6: One(_SPARSITY),
    7: _INTS,
    8: _BYTE,
    9: Many({0: _INTS, 1: _BYTE, 2: _BYTE}),
    10: _INT,
}
_OPERATOR: Fields = {
    0: _INT,
    1: _INTS,
    2: _INTS,
    3: _BYTE,
    4: _OPTIONS,
    5: _BYTES,
    6: _BYTE,
    7: _BYTES,
    8: _INTS,
    9: _LONG,
    10: _LONG,
    11: _BYTE,
    12: _OPTIONS_2,
    13: _INT,
}
_SUBGRAPH: Fields = {0: Many(_TENSOR), 1: _INTS, 2: _INTS, 3: Many(_OPERATOR), 4: Text(), 5: _INT}
_TENSOR_MAP: Fields = {0: Text(), 1: _INT}
_SIGNATURE: Fields = {0: Many(_TENSOR_MAP), 1: Many(_TENSOR_MAP), 2: Text(), 4: _INT}
MODEL: Fields = {
    0: _INT,
    1: Many({0: _BYTE, 1: Text(), 2: _INT, 3: _INT}),  # OperatorCode
    2: Many(_SUBGRAPH),
    3: Text(),
    4: Many({0: _BYTES, 1: _LONG, 2: _LONG}),  # Buffer
    5: _INTS,
    6: Many({0: Text(), 1: _INT}),  # Metadata
    7: Many(_SIGNATURE),
    8: Many({0: Text()}),  # ExternalBufferGroup
    9: Many({0: _INT, 1: _INT, 2: _LONG, 3: _LONG, 4: Text()}),  # ExternalBuffer
}


def check_bounds(data: bytes) -> None:
    """All that the tree of `data` points at lies inside `data`.  Raises MalformedModel."""
    walk = _Walk(data)
    walk.table(walk.follow(0), MODEL)


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._tables_left = MAX_TABLES
        self._text_bytes_left = MAX_TEXT_BYTES

    def table(self, at: int, fields: Fields) -> None:
        self._tables_left -= 1
        if self._tables_left < 0:
            raise _malformed(f"it has more than {MAX_TABLES:,} parts")
        places = self._places(at)
        for slot, field in fields.items():
            if slot < len(places) and places[slot]:
                self._field(at, places, slot, field)

    def follow(self, at: int) -> int:
        """Where the offset stored at `at` leads."""
        self._inside(at, 4)
        (distance,) = _U32.unpack_from(self._data, at)
        return at + int(distance)

    def _places(self, at: int) -> tuple[int, ...]:
        """The table's vtable: place of each field relative to the table, 0 where absent."""
        self._inside(at, 4)
        vtable = at - int(_I32.unpack_from(self._data, at)[0])
        self._inside(vtable, 4)
        vtable_bytes = int(_U16.unpack_from(self._data, vtable)[0])
        table_bytes = int(_U16.unpack_from(self._data, vtable + 2)[0])
        self._inside(vtable, vtable_bytes)
        self._inside(at, table_bytes)
        if vtable_bytes < 4 or vtable_bytes % 2 or table_bytes < 4:
            raise _malformed(f"the table at byte {at:,} has an impossible layout")
        # No table of the schema has more than a few dozen fields; a longer vtable is not read.
        count = min((vtable_bytes - 4) // 2, 64)
        places = struct.unpack_from(f"<{count}H", self._data, vtable + 4)
        if any(place and not 4 <= place < table_bytes for place in places):
            raise _malformed(f"a field of the table at byte {at:,} lies outside it")
        return places

    def _field(self, table: int, places: tuple[int, ...], slot: int, field: Field) -> None:
        at = table + places[slot]
        match field:
            case Scalar(size_bytes):
                self._inside(at, size_bytes)
            case Text():
                self._text(self.follow(at))
            case Scalars(size_bytes):
                self._vector(self.follow(at), size_bytes)
            case One(fields):
                self.table(self.follow(at), fields)
            case Many(fields):
                start, count = self._vector(self.follow(at), 4)
                for element in range(start, start + 4 * count, 4):
                    self.table(self.follow(element), fields)
            case Union(types, otherwise):
                kind = self._data[table + places[slot - 1]] if places[slot - 1] else 0
                self.table(self.follow(at), types.get(kind, otherwise))

    def _vector(self, at: int, size_bytes: int) -> tuple[int, int]:
        """First byte and number of elements of the vector at `at`."""
        self._inside(at, 4)
        (count,) = _U32.unpack_from(self._data, at)
        self._inside(at + 4, int(count) * size_bytes)
        return at + 4, int(count)

    def _text(self, at: int) -> None:
        _, count = self._vector(at, 1)
        self._text_bytes_left -= count
        if self._text_bytes_left < 0:
            raise _malformed(f"its names take more than {MAX_TEXT_BYTES >> 20} MiB")

    def _inside(self, at: int, size_bytes: int) -> None:
        if not 0 <= at <= len(self._data) - size_bytes:
            raise _malformed(
                f"it points at byte {at + size_bytes:,} and has {len(self._data):,} bytes"
            )


def _malformed(reason: str) -> MalformedModel:
    return MalformedModel(
        f"a damaged TFLite model: {reason}",
        hint="The file is cut short or corrupted; copy or convert it again.",
    )
