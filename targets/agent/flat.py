"""A .tflite file read in place: each offset is checked before it is followed.

FlatBuffers' binary form (https://flatbuffers.dev/internals/) in `struct` alone: little-endian; a
table begins with the signed distance back to its vtable, which holds for each slot (the field's
position in schema.fbs, from 0) its place in the table; strings, vectors and tables are reached by
an unsigned distance forward; a vector begins with the number of its elements.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, Optional, Tuple, Union

Bytes = Union[bytes, bytearray, memoryview]

IDENTIFIER = b"TFL3"
MAX_FILE_BYTES = 2**31 - 1  # flatbuffers' own limit: distances back are int32
INT4 = 17  # schema.fbs: TensorType
MAX_STEPS = 1_000_000
# Many offsets may lead to one long vector, so a small file could ask for endless work.

_FORMATS: Dict[str, struct.Struct] = {code: struct.Struct("<" + code) for code in "bBHiIQ"}


OPERATOR = b"HalfbyteExpand"
"""The custom operator whose outputs are packed filters."""


class Malformed(ValueError):
    """Bytes that are no sound model, or no packed one as docs/packed-format.md has it."""


class Flat:
    """The bytes of a model.

    reach: behind the last byte that was read as structure, which has to stay.
    """

    def __init__(self, data: Bytes) -> None:
        """Raises Malformed where the bytes do not begin as a model's."""
        self.data = memoryview(data).cast("B")
        self._size = len(self.data)
        if self._size < 16 or self.data[4:8] != IDENTIFIER:
            raise Malformed("the identifier TFL3 is missing")
        self.reach = 8
        self._steps_left = MAX_STEPS
        self._layouts: Dict[int, Tuple[Tuple[int, ...], int]] = {}

    def root(self) -> Table:
        """The table of class Model."""
        return Table(self, self.follow(0))

    def number(self, at: int, code: str) -> int:
        """The number of that `struct` format at byte `at`."""
        form = _FORMATS[code]
        end = at + form.size
        if at < 0 or end > self._size:
            self.inside(at, form.size)
        if end > self.reach:
            self.reach = end
        number: int = form.unpack_from(self.data, at)[0]
        return number

    def follow(self, at: int) -> int:
        """Where the distance at byte `at` leads."""
        target = at + self.number(at, "I")
        self.inside(target, 4)
        return target

    def vector(self, at: int, item_bytes: int) -> Tuple[int, int]:
        """First byte and number of elements of the vector at `at`, whose elements are inside."""
        count = self.number(at, "I")
        self.inside(at + 4, count * item_bytes)
        return at + 4, count

    def layout(self, vtable: int) -> Tuple[Tuple[int, ...], int]:
        """Places of the fields and size of the tables that have this vtable, of which many do."""
        if vtable not in self._layouts:
            vtable_bytes, table_bytes = self.number(vtable, "H"), self.number(vtable + 2, "H")
            self.inside(vtable, vtable_bytes)
            if vtable_bytes < 4 or vtable_bytes % 2 or table_bytes < 4:
                raise Malformed(f"the table layout at byte {vtable} is impossible")
            form = f"<{vtable_bytes // 2 - 2}H"
            places = struct.unpack_from(form, self.data, vtable + 4)
            self.spend(len(places))
            self.reach = max(self.reach, vtable + vtable_bytes)
            self._layouts[vtable] = places, table_bytes
        return self._layouts[vtable]

    def inside(self, at: int, size_bytes: int) -> None:
        """Raises Malformed unless that many bytes from `at` on are there."""
        if at < 0 or at > self._size - size_bytes:
            raise Malformed(f"it points at byte {at + size_bytes} of {self._size}")

    def spend(self, steps: int) -> None:
        """Count work.  Raises Malformed where there is too much of it."""
        self._steps_left -= steps + 1
        if self._steps_left < 0:
            raise Malformed(f"it has more than {MAX_STEPS} parts")


def is_packed(data: Bytes) -> bool:
    """Whether a model has packed filters, which a stock runtime refuses.  Raises Malformed."""
    return any(code.content(1) == OPERATOR for code in Flat(data).root().tables(1))


def has_int4(data: Bytes) -> bool:
    """Whether a tensor of a model is of type INT4.  Raises Malformed."""
    graphs = Flat(data).root().tables(2)
    return any(tensor.number(1, "b") == INT4 for graph in graphs for tensor in graph.tables(0))


class Table:
    """One table; fields by slot."""

    __slots__ = ("_end", "_places", "at", "flat")

    def __init__(self, flat: Flat, at: int) -> None:
        """Raises Malformed where the vtable cannot be right."""
        self.flat, self.at = flat, at
        flat.spend(0)
        self._places, table_bytes = flat.layout(at - flat.number(at, "i"))
        flat.inside(at, table_bytes)
        self._end = at + table_bytes
        if self._end > flat.reach:
            flat.reach = self._end

    def place(self, slot: int, size_bytes: int = 4) -> int:
        """Where the field is stored; 0 where it is not.  Raises Malformed outside the table."""
        offset = self._places[slot] if slot < len(self._places) else 0
        if offset and (offset < 4 or self.at + offset + size_bytes > self._end):
            raise Malformed(f"a field of the table at byte {self.at} lies outside it")
        return self.at + offset if offset else 0

    def number(self, slot: int, code: str = "I", default: int = 0) -> int:
        """A number, or its default where it is not stored."""
        at = self.place(slot, _FORMATS[code].size)
        return self.flat.number(at, code) if at else default

    def span(self, slot: int, item_bytes: int = 1) -> Tuple[int, int]:
        """First byte and number of elements of a vector; (0, 0) where there is none."""
        at = self.place(slot)
        if not at:
            return 0, 0
        reach = self.flat.reach
        start, count = self.flat.vector(self.flat.follow(at), item_bytes)
        self.flat.reach = max(reach, at + 4)
        return start, count

    def payload(self, slot: int) -> Any:
        """The bytes of a vector as a memoryview, not counted as structure; empty if absent."""
        start, count = self.span(slot)
        return self.flat.data[start : start + count]

    def content(self, slot: int, item_bytes: int = 1) -> Any:
        """The bytes of a vector or string as a memoryview; empty where there is none."""
        start, count = self.span(slot, item_bytes)
        end = start + count * item_bytes
        self.flat.spend(0)
        self.flat.reach = max(self.flat.reach, end)
        return self.flat.data[start:end]

    def integers(self, slot: int) -> Tuple[int, ...]:
        """A vector of int32; empty where there is none."""
        content = self.content(slot, 4)
        self.flat.spend(len(content) // 4)
        return struct.unpack(f"<{len(content) // 4}i", content)

    def table(self, slot: int) -> Optional[Table]:
        """A table; None where there is none."""
        at = self.place(slot)
        return Table(self.flat, self.flat.follow(at)) if at else None

    def tables(self, slot: int) -> Tuple[Table, ...]:
        """A vector of tables; empty where there is none."""
        content = self.content(slot, 4)
        start, count = self.span(slot, 4)
        self.flat.spend(len(content) // 4)
        return tuple(
            Table(self.flat, self.flat.follow(at)) for at in range(start, start + 4 * count, 4)
        )
