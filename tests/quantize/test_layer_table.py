from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quantize.conftest import Subject
from toolchain.errors import DataError
from toolchain.quantize import W4E_A8, layertable, parse
from toolchain.report import plan_picture

LAYER = {
    "layer": "stem",
    "shape": [8, 3, 3, 3],
    "scheme": "entropy",
    "bits": 4,
    "packed_bits": 5.5,
    "file_bits": 5.5,
    "granularity": "channel",
    "search": "weighted",
    "float_output": False,
    "weight_sqnr_db": 21.5,
    "second_order_error_left": None,
    "sensitivity": 0.25,
}
RECORD: dict[str, Any] = {
    "schema": "halfbyte.quantization",
    "version": 2,
    "recipe": "w4e-a8",
    "budget_bits_per_weight": 4.08,
    "file_bytes": 1000,
    "bits_per_weight": 4.1,
    "float_boxes": True,
    "layers": [LAYER, {**LAYER, "layer": "head", "shape": [16, 1, 1, 8], "float_output": True}],
}


def test_shares_of_a_quantization_add_up(wide: Subject) -> None:
    made = wide.quantize(W4E_A8, recovery=None)
    table = layertable.of_record(made.record, "model")
    assert sum(row.weight_share or 0 for row in table.layers) == pytest.approx(1)
    of_file = sum(row.file_share or 0 for row in table.layers)
    assert 0.7 < of_file < 1  # the rest is the graph, scales and biases
    assert table.file_bytes == len(made.model)
    for row in table.layers:
        assert row.packed_bits == (32 if row.float_output else row.bits)


@pytest.mark.parametrize(
    ("form", "recipe", "bits"), [("plain", "w8c-a8", 8), ("int4", "w4c-a8", 4)]
)
def test_an_ordinary_file_holds_whole_bits(
    small: Subject, form: str, recipe: str, bits: int
) -> None:
    record = small.quantize(parse(recipe), form=form, recovery=None).record
    held = {layer["layer"]: layer["file_bits"] for layer in record["layers"]}
    assert held["inner"] == bits
    assert held["stem"] == 8
    assert held["boxes_2"] == 32  # float beside int8 activations


def test_a_table_is_read_from_a_model_s_record_its_plan_and_the_model(tmp_path: Path) -> None:
    record, model = tmp_path / "m.record.json", tmp_path / "m.tflite"
    record.write_text(json.dumps(RECORD))
    assert layertable.read(model) == layertable.read(record)
    plan = tmp_path / "m.plan.toml"
    plan.write_text(
        'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n'
        '[[layer]]\nname = "stem"\nbits = 5.5\n'
    )
    [row] = layertable.read(plan).layers
    assert (row.layer, row.scheme, row.bits, row.shape) == ("stem", "entropy", 5.5, None)


def test_a_model_without_a_record_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no record .*m\.record\.json"):
        layertable.read(tmp_path / "m.tflite")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"schema": "halfbyte.report"}, "no record of a quantization"),
        ({"version": 1}, "version 1, not 2"),
        ({"layers": []}, "lists no layers"),
        ({"layers": {}}, "lists no layers"),
        ({"layers": [3]}, "something that is no layer"),
        ({"layers": [{**LAYER, "shape": [8, 3, 3]}]}, "shape is"),
        ({"layers": [{**LAYER, "shape": [8, 3, 3, 0]}]}, "shape is"),
        ({"layers": [{**LAYER, "shape": [8, 3, 3, True]}]}, "shape is"),
        ({"layers": [{**LAYER, "packed_bits": "5"}]}, "packed_bits is"),
        ({"layers": [{**LAYER, "packed_bits": float("nan")}]}, "packed_bits is nan"),
        ({"layers": [{**LAYER, "sensitivity": 10**400}]}, "sensitivity is"),
        ({"layers": [{**LAYER, "layer": None}]}, "layer is None"),
        ({"layers": [{**LAYER, "float_output": 1}]}, "float_output is 1"),
        ({"file_bytes": []}, "file_bytes is"),
    ],
)  # fmt: skip
def test_a_record_that_is_wrong_is_refused(
    change: dict[str, Any], what: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.record.json"
    path.write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(DataError, match=r"m\.record\.json: ") as refused:
        layertable.read(path)
    assert what in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"1" * 10_000, b"3"])
def test_what_is_no_record_at_all_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.record.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"m\.record\.json: "):
        layertable.read(path)


values = st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.lists(st.integers())


@given(st.sampled_from(sorted(LAYER)), values)
def test_a_layer_with_one_odd_value_is_drawn_or_refused(key: str, value: Any) -> None:
    record = copy.deepcopy(RECORD)
    record["layers"][0][key] = value
    try:
        table = layertable.of_record(record, "model")
    except DataError:
        return
    ET.fromstring(plan_picture.picture(table))


def test_the_picture_has_a_bar_for_each_layer_and_says_its_name() -> None:
    record = copy.deepcopy(RECORD)
    record["layers"][0]["layer"] = "<script>&"
    drawn = ET.fromstring(plan_picture.picture(layertable.of_record(record, "<m>.record.json")))
    titles = [element.text for element in drawn.iter() if element.tag.endswith("title")]
    assert titles == ["<script>&: entropy, 5.50 bits", "head: float32, 32.00 bits"]
    assert "<m>.record.json: w4e-a8, 0.00 MB, 4.100 bits per weight" in drawn.itertext()


def test_a_plan_alone_is_drawn_without_facts() -> None:
    from toolchain.quantize import planfile

    plan = planfile.parse(
        'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n'
        '[[layer]]\nname = "a"\nbits = 3\n[[layer]]\nname = "b"\n'
    )
    ET.fromstring(plan_picture.picture(layertable.of_plan(plan, "a.plan.toml")))
