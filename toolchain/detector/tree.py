"""What a checkpoint holds, as a flat table of plain values that crosses from child to parent.

    ["module", "models.common.Conv", {"_modules": {"#": 7}, "eps": 0.001, ...}]
    ["tensor", storage, dtype, offset, shape, stride]
    ["dict", [[key, value], ...]]   ["list", [value, ...]]
    ["method", {"#": 3}, "forward"]   ["class", "models.yolo.Detect"]   ["inert"]

A value is null, a boolean, a number, a string, or {"#": row}.  Shared objects keep one row, so the
table is never larger than the pickle, however often the pickle repeats itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.detector.unpickling import Method, StandIn, Tensor
from toolchain.detector.views import Malformed, View, fault_of

MAX_ROWS = 2_000_000
MAX_WEIGHT_NUMBERS = 1 << 27  # of one array; YOLOv7x's largest filter has 15 million
_MAX_TEXT = 10_000
_INT64 = 1 << 63
_DTYPES = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2",
    "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1", "uint8": "u1", "bool": "?",
}  # fmt: skip


@dataclasses.dataclass(eq=False)
class Module:
    """An object of a class that was not run: its class's full name and its attributes."""

    kind: str
    fields: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Array:
    """Numbers of a checkpoint in their stored type, "bfloat16" among them."""

    stored: npt.NDArray[Any]
    dtype: str
    storage_numbers: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self.stored.shape

    def float64(self) -> npt.NDArray[np.float64]:
        """The numbers, widened without loss.

        Raises Malformed for an expanded view, or one too large for any filter.
        """
        if self.stored.size > MAX_WEIGHT_NUMBERS:
            raise Malformed(f"a weight has the shape {list(self.shape)}")
        if self.stored.size > self.storage_numbers:
            raise Malformed(
                f"a weight of shape {list(self.shape)} has only {self.storage_numbers} numbers"
            )
        if self.dtype == "bfloat16":
            return (self.stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return self.stored.astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class BoundMethod:
    """An attribute that held a method: whose is not kept, only which."""

    name: str


class Opaque:
    """Something of no use to a detector."""


def encode(root: object) -> tuple[list[Any], set[int]]:
    """The table of all that `root` reaches (its row is 0), and which storages it looks at.

    Raises Malformed for a table without end.
    """
    table: list[Any] = []
    rows: dict[int, int] = {}
    waiting: list[object] = []
    storages: set[int] = set()

    def reference(value: object) -> Any:
        if value is None or isinstance(value, (bool, float)):
            return value
        if isinstance(value, int):
            return value if -_INT64 <= value < _INT64 else None
        if isinstance(value, str):
            return value[:_MAX_TEXT]
        if id(value) not in rows:
            rows[id(value)] = len(rows)
            waiting.append(value)
        return {"#": rows[id(value)]}

    reference(root)
    # `waiting` grows while it is walked: rows come in the order in which they were met.
    for value in waiting:
        if len(waiting) > MAX_ROWS:
            raise Malformed(f"the checkpoint has more than {MAX_ROWS} objects")
        table.append(_row(value, reference, storages))
    return table, storages


def _row(value: object, reference: Any, storages: set[int]) -> list[Any]:
    match value:
        case Tensor(view, dtype):
            storages.add(view.storage)
            return ["tensor", view.storage, dtype, view.offset, view.shape, view.stride]
        case Method(owner, name):
            return ["method", reference(owner), name[:_MAX_TEXT]]
        case StandIn():
            return ["module", value.qualified, _fields(value.state, reference)]
        case type():
            return ["class", getattr(value, "qualified", "")]
        case dict():
            plain = (key for key in value if isinstance(key, (str, int)))
            return ["dict", [[key, reference(value[key])] for key in plain]]
        case list() | tuple() | set():
            return ["list", [reference(item) for item in value]]
        case _:
            return ["inert"]


def _fields(state: object, reference: Any) -> dict[str, Any]:
    if not isinstance(state, dict):
        return {}
    return {key: reference(item) for key, item in state.items() if isinstance(key, str)}


def decode(table: list[Any], storages: dict[int, npt.NDArray[np.uint8]]) -> Any:
    """The root of a table: None, numbers, text, lists, dicts, Module, Array, BoundMethod, Opaque.

    storages: raw bytes by index.  Raises Malformed for a view that does not fit: checked again
    here, since the table comes from a process that read hostile bytes.
    """
    objects = [_shell(row, storages) for row in table]

    def value(cell: Any) -> Any:
        return objects[cell["#"]] if isinstance(cell, dict) else cell

    for row, made in zip(table, objects, strict=True):
        if isinstance(made, Module):
            made.fields.update((key, value(cell)) for key, cell in row[2].items())
        elif isinstance(made, dict):
            made.update((key, value(cell)) for key, cell in row[1])
        elif isinstance(made, list):
            made.extend(value(cell) for cell in row[1])
    return objects[0]


def _shell(row: list[Any], storages: dict[int, npt.NDArray[np.uint8]]) -> Any:
    """The object of a row, still without what it points at."""
    match row:
        case ["module", kind, _]:
            return Module(kind, {})
        case ["dict", _]:
            return {}
        case ["list", _]:
            return []
        case ["method", _, name]:
            return BoundMethod(name)
        case ["tensor", storage, dtype, offset, shape, stride]:
            view = View(storage, offset, tuple(shape), tuple(stride))
            numbers = storages[storage].view(_DTYPES[dtype])
            return Array(_look(numbers, view), dtype, numbers.size)
        case _:
            return Opaque()


def _look(numbers: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    if fault := fault_of(view, numbers.size):
        raise Malformed(f"a tensor {fault} numbers")
    step = numbers.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers[view.offset :],
        view.shape,
        tuple(stride * step for stride in view.stride),
        writeable=False,
    )


def printable(name: str, limit: int = 120) -> str:
    """A name out of a hostile file, safe to show: no control characters, not too long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= limit else text[:limit] + "..."


def listed(names: Iterable[str]) -> str:
    """Names for a message, the first few of them."""
    shown = [printable(name) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
