"""The layers of a quantization as rows, out of the record beside a model or out of a plan."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn

from toolchain.errors import DataError
from toolchain.quantize import planfile
from toolchain.quantize.choice import words_of
from toolchain.quantize.planfile import PlanFile
from toolchain.quantize.record import SCHEMA, VERSION

RECORD_SUFFIX: Final = ".record.json"
MAX_FILE_BYTES: Final = 64 << 20
MAX_LAYERS: Final = planfile.MAX_LAYERS
_MOST: Final = float(2**53)


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One convolution; None where the file does not say.

    shape: [O, H, W, I].  bits: as a plan says them: what an entropy-coded filter takes, else of a
    code.  packed_bits: a weight, what a packed file holds of the filter, its scales apart; 32 at a
    float32 output, whose filter is exact whatever the plan says.
    weight_share, file_share: of all convolutions' weights, and of the file as it was written.
    error_left: second-order error over that of rounding to nearest.  sensitivity: what an error of
    variance 1 in each of its weights adds to the squared error that matters, a weight.
    """

    layer: str
    shape: tuple[int, ...] | None
    scheme: str
    bits: float | None
    packed_bits: float | None
    granularity: str
    search: str
    float_output: bool | None
    weight_share: float | None = None
    file_share: float | None = None
    weight_sqnr_db: float | None = None
    error_left: float | None = None
    sensitivity: float | None = None

    @property
    def stored_as(self) -> str:
        """The scheme, but where the file is known to hold the filter as it was."""
        return "float32" if self.float_output and self.packed_bits is not None else self.scheme


@dataclasses.dataclass(frozen=True)
class LayerTable:
    """budget: bits a weight of the whole file that were aimed at.  layers: in the order of
    execution, or as the plan has them."""

    source: str
    recipe: str
    budget: float | None
    float_boxes: bool
    file_bytes: int | None
    bits_per_weight: float | None
    layers: tuple[LayerRow, ...]


def read(path: Path) -> LayerTable:
    """Of NAME.plan.toml, or of the record of NAME.record.json or NAME.tflite.

    Raises RecipeError, DataError, OSError.
    """
    if path.suffix == ".toml":
        return of_plan(planfile.read(path), path.name)
    if path.suffix == ".tflite":
        path = path.with_suffix(RECORD_SUFFIX)
    if not path.is_file():
        raise DataError(
            f"there is no record {path}",
            hint="`halfbyte convert` writes it beside each quantized model.",
        )
    with path.open("rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    return of_record(_parsed(data, path.name), path.name)


def of_plan(plan: PlanFile, source: str) -> LayerTable:
    """What a plan asks for; facts of a model are not in it."""
    rows = tuple(
        LayerRow(
            layer=name,
            shape=None,
            scheme=choice.scheme,
            bits=choice.bits,
            packed_bits=None,
            granularity=words_of(choice.granularity),
            search=choice.search,
            float_output=choice.float_output,
        )
        for name, choice in plan.layers
    )
    budget = plan.budget or plan.recipe.default_budget
    return LayerTable(source, str(plan.recipe), budget, plan.float_boxes, None, None, rows)


def of_record(record: Any, source: str) -> LayerTable:
    """What `record.describe` said.  Raises DataError where it is another document."""
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        _refuse(source, "it is no record of a quantization")
    if record.get("version") != VERSION:
        _refuse(source, f"it says version {record.get('version')!r:.40}, not {VERSION}")
    layers = record.get("layers")
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        _refuse(source, "it lists no layers")
    facts = _Facts(record, source)
    file_bytes = facts.number("file_bytes")
    rows = [_row(_Facts(layer, source), file_bytes) for layer in layers]
    weights = sum(_size(row) for row in rows)
    return LayerTable(
        source=source,
        recipe=facts.text("recipe"),
        budget=facts.number("budget_bits_per_weight"),
        float_boxes=facts.flag("float_boxes") is not False,
        file_bytes=None if file_bytes is None else int(file_bytes),
        bits_per_weight=facts.number("bits_per_weight"),
        layers=tuple(dataclasses.replace(row, weight_share=_size(row) / weights) for row in rows),
    )


def _row(facts: _Facts, file_bytes: float | None) -> LayerRow:
    shape, scheme = facts.shape("shape"), facts.text("scheme")
    packed_bits, file_bits = facts.number("packed_bits"), facts.number("file_bits")
    file_share = None
    if file_bits is not None and file_bytes:
        file_share = math.prod(shape) * file_bits / (8 * file_bytes)
    float_output = bool(facts.flag("float_output"))
    return LayerRow(
        layer=facts.text("layer"),
        shape=shape,
        scheme=scheme,
        bits=packed_bits if scheme == "entropy" else facts.number("bits"),
        packed_bits=32.0 if float_output else packed_bits,
        granularity=facts.text("granularity"),
        search=facts.text("search"),
        float_output=float_output,
        file_share=file_share,
        weight_sqnr_db=facts.number("weight_sqnr_db"),
        error_left=facts.number("second_order_error_left"),
        sensitivity=facts.number("sensitivity"),
    )


def _size(row: LayerRow) -> int:
    return math.prod(row.shape or ())


@dataclasses.dataclass(frozen=True)
class _Facts:
    """One object of the record, each value checked as it is taken.  Raises DataError."""

    values: Any
    source: str

    def text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str) or len(value) > planfile.MAX_NAME:
            _refuse(self.source, f"{key} is {value!r:.40}")
        return value

    def number(self, key: str) -> float | None:
        value = self._value(key)
        if value is None:
            return None
        if type(value) not in (int, float) or not abs(value) <= _MOST:
            _refuse(self.source, f"{key} is {value!r:.40}")
        return float(value)

    def flag(self, key: str) -> bool | None:
        value = self._value(key)
        if value is not None and not isinstance(value, bool):
            _refuse(self.source, f"{key} is {value!r:.40}")
        return value

    def shape(self, key: str) -> tuple[int, ...]:
        value = self._value(key)
        right = isinstance(value, list) and len(value) == 4
        if not right or not all(type(size) is int and 0 < size < 2**20 for size in value):
            _refuse(self.source, f"{key} is {value!r:.40}")
        return tuple(value)

    def _value(self, key: str) -> Any:
        if not isinstance(self.values, dict):
            _refuse(self.source, "it lists something that is no layer")
        return self.values.get(key)


def _parsed(data: bytes, source: str) -> Any:
    if len(data) > MAX_FILE_BYTES:
        _refuse(source, f"it has more than {MAX_FILE_BYTES} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        _refuse(source, f"it is no JSON: {error!s:.200}")


def _refuse(source: str, what: str) -> NoReturn:
    raise DataError(
        f"{source}: {what}",
        hint=f"Give the {RECORD_SUFFIX} or {planfile.SUFFIX} that `halfbyte convert` writes.",
    )
