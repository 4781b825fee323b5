"""Every recipe as a file: packed, expanded, run by the stock runtime, and kept to a budget."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.quantize import models
from tests.quantize.conftest import Subject, known
from tests.quantize.recipes import QUICK, each_recipe, outputs
from tests.quantize.reference import tensors
from toolchain.errors import DataError, OutOfRange, RecipeError
from toolchain.quantize import (
    W4C_A8,
    W4E_A8,
    W8C_A8,
    Options,
    Quantized,
    Recipe,
    parse,
    quantize,
)
from toolchain.quantize.budget import Budget
from toolchain.quantize.budget import parse as parse_budget
from toolchain.quantize.recovery import Settings
from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import FLOAT32 as FLOAT32_ELEMENT
from toolchain.tflite.elements import INT4, INT8

LEAST_DB = {2: 3.0, 3: 12.0, 4: 15.0, 8: 28.0}


def operators(model: bytes) -> list[str]:
    """Names of a model's operators, in their order; a custom one by its own name."""
    tree = flatbuffer.parse(model)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = [code.customCode or names[code.builtinCode] for code in tree.operatorCodes]
    texts = [code.decode() if isinstance(code, bytes) else str(code) for code in codes]
    return [texts[operator.opcodeIndex] for operator in tree.subgraphs[0].operators]


def decibels(subject: Subject, model: bytes, count: int = 4) -> dict[str, float]:
    """Signal to noise of each output against the float model, on pictures it did not see."""
    exact, found = models.Runner(subject.float_bytes), models.Runner(models.expanded(model))
    made = [(exact.real(p), found.real(p)) for p in models.pixels(count)]
    return {
        name: models.sqnr_db(*(np.stack([pair[side][name] for pair in made]) for side in (0, 1)))
        for name in made[0][0]
    }


Make = Callable[..., Quantized]


@pytest.fixture(scope="module")
def make(wide: Subject) -> Make:
    """Each choice made once."""

    @functools.cache
    def quantized(recipe: Recipe, **options: Any) -> Quantized:
        return wide.quantize(recipe, **options)

    return quantized


@each_recipe
def test_every_recipe_expands_and_runs_near_the_float_model(
    wide: Subject, make: Make, recipe: Recipe
) -> None:
    made = make(recipe, recovery=QUICK)
    assert ("HalfbyteExpand" in operators(made.model)) is recipe.is_packed
    found = decibels(wide, made.model)
    assert found.keys() == {"boxes_2", "objectness_2", "classes_2"}
    least = LEAST_DB[recipe.weight_bits or 8]
    assert min(found.values()) > least, found
    assert made.record["recipe"] == str(recipe)
    assert json.loads(json.dumps(made.record, allow_nan=False)) == made.record


@each_recipe
def test_the_ends_are_of_the_recipes_type(make: Make, recipe: Recipe) -> None:
    made = make(recipe, recovery=QUICK).model
    runner = models.Runner(models.expanded(made))
    whole = np.float32 if recipe.activation_bits is None else np.int8
    assert runner.input["dtype"] == whole
    types = {name: detail["dtype"] for name, detail in outputs(made).items()}
    assert types == {"boxes_2": np.float32, "objectness_2": whole, "classes_2": whole}


@each_recipe
def test_few_bits_make_a_small_file(wide: Subject, make: Make, recipe: Recipe) -> None:
    made = make(recipe, recovery=QUICK)
    bits = 8 * len(made.model) / wide_parameters(wide)
    assert made.record["file_bytes"] == len(made.model)
    assert made.record["bits_per_weight"] == pytest.approx(bits)
    assert made.record["form"] == ("packed" if recipe.is_packed else "plain")
    assert bits < (recipe.weight_bits or 8) + 1.2


def wide_parameters(subject: Subject) -> int:
    return sum(values.size for values in models.constants(subject.float_bytes).values())


@pytest.mark.parametrize("recipe", [W4E_A8, parse("w4e")], ids=str)
@pytest.mark.parametrize("bits", [2.5, 4.08, 6.0])
@pytest.mark.parametrize("recovery", [QUICK, None], ids=["recovered", "nearest"])
def test_a_budget_of_the_whole_file_is_kept_and_used(
    wide: Subject, recipe: Recipe, bits: float, recovery: Settings | None
) -> None:
    budget = Budget(bits_per_weight=bits)
    made = wide.quantize(recipe, budget=budget, recovery=recovery)
    assert 0.95 * bits < 8 * len(made.model) / wide_parameters(wide) <= bits
    assert made.record["budget_bits_per_weight"] == bits


def test_a_budget_in_bytes_is_the_same(wide: Subject) -> None:
    made = wide.quantize(W4E_A8, budget=parse_budget("64kB"), recovery=None)
    assert 0.95 * 64_000 < len(made.model) <= 64_000


def test_more_bytes_lose_less(wide: Subject, make: Make) -> None:
    few, many = (
        make(W4E_A8, budget=Budget(bits_per_weight=bits), recovery=QUICK).model
        for bits in (2.5, 5.0)
    )
    assert min(decibels(wide, many).values()) > min(decibels(wide, few).values()) + 5


@pytest.mark.parametrize("bits", [0.01, 0.5, 1.0])
def test_an_impossible_budget_is_refused_with_what_to_do(wide: Subject, bits: float) -> None:
    with pytest.raises(OutOfRange, match=f"a budget of {bits:g} bits a weight") as refused:
        wide.quantize(W4E_A8, budget=Budget(bits_per_weight=bits), recovery=QUICK)
    assert "Ask for more" in refused.value.hint


def test_the_default_budget_of_a_model_of_tables_is_refused_too(small: Subject) -> None:
    with pytest.raises(OutOfRange, match=r"4\.08 bits a weight: .* takes .* already"):
        small.quantize(W4E_A8, recovery=QUICK)


def test_what_the_outputs_hardly_feel_gets_fewer_bits(wide: Subject, make: Make) -> None:
    layers = make(W4E_A8, recovery=None).record["layers"]
    stored = {layer["layer"]: layer["bits_stored"] for layer in layers}
    felt = {
        name: found.energy.mean() / wide.graph.elements(op.inputs[1])
        for op in wide.graph.convolutions
        for name, found in wide.sensitivity.layers.items()
        if name == wide.graph.layer_names()[op.index]
    }
    order = sorted(felt, key=felt.__getitem__)
    assert stored[order[0]] < stored[order[-1]]


def test_box_outputs_are_islands_of_float_behind_int8(make: Make) -> None:
    made = make(W8C_A8, recovery=QUICK).model
    names = operators(made)
    assert names.count("DEQUANTIZE") == 1
    found = tensors(made)
    assert found["boxes_2"].type == found["boxes_2/weights"].type == FLOAT32_ELEMENT.code
    assert found["classes_2"].type == INT8.code
    all_int8 = make(W8C_A8, recovery=QUICK, float_boxes=False).model
    assert "DEQUANTIZE" not in operators(all_int8)
    assert {detail["dtype"] for detail in outputs(all_int8).values()} == {np.int8}


def test_an_island_is_nearer_to_the_float_model_than_int8_boxes_are(
    wide: Subject, make: Make
) -> None:
    island, int8 = (
        decibels(wide, make(W8C_A8, recovery=QUICK, float_boxes=boxes).model)
        for boxes in (True, False)
    )
    assert island["boxes_2"] > int8["boxes_2"] + 0.3
    assert island["boxes_2"] > 30
    assert island["classes_2"] == pytest.approx(int8["classes_2"], abs=0.5)


def test_a_packed_island_is_the_filter_that_was_recovered(make: Make) -> None:
    """Its filter is float32 = scale x code in the expanded file, exactly."""
    made = make(W4E_A8, recovery=QUICK).model
    filters = models.constants(models.expanded(made))
    weights = filters["boxes_2/weights"]
    steps = np.abs(weights).max(axis=(1, 2, 3)) / 127
    codes = np.array([len(np.unique(channel)) for channel in weights])
    assert (steps > 0).all()
    assert (codes < 256).all()
    assert "classes_2/weights" not in filters


def test_boxes_that_another_layer_reads_stay_int8(tmp_path: Path) -> None:
    net = models.Net()
    x = net.picture()
    last = net.conv(x, 8, "last", size=3, stride=2)
    boxes = net.conv(last, 8, "boxes_2")
    others = [net.conv(last, n, name) for n, name in ((2, "objectness_2"), (6, "classes_2"))]
    again = net.conv(boxes, 2, "again")
    model = models.described(net.finish(x, boxes, *others, again))
    subject = known(model, tmp_path)
    made = subject.quantize(W8C_A8, recovery=QUICK).model
    assert tensors(made)["boxes_2"].type == INT8.code
    assert min(decibels(subject, made).values()) > 20


def test_int4_tensors_hold_what_packed_nibbles_hold(make: Make) -> None:
    packed = make(W4C_A8, recovery=QUICK, form="packed")
    int4 = make(W4C_A8, recovery=QUICK, form="int4")
    types = {name: tensor.type for name, tensor in tensors(int4.model).items()}
    assert types["deep/weights"] == INT4.code
    assert "HalfbyteExpand" not in operators(int4.model)
    for picture in models.pixels(2):
        one, other = (
            models.Runner(models.expanded(made.model)).codes(picture) for made in (packed, int4)
        )
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])


def test_a_plain_file_is_the_packed_one_expanded(make: Make) -> None:
    packed = make(parse("w4g32-a8"), recovery=QUICK)
    plain = make(parse("w4g32-a8"), recovery=QUICK, form="plain")
    assert "HalfbyteExpand" not in operators(plain.model)
    assert len(plain.model) > 1.5 * len(packed.model)
    for picture in models.pixels(2):
        one = models.Runner(models.expanded(packed.model)).codes(picture)
        for name, values in models.Runner(plain.model).codes(picture).items():
            np.testing.assert_array_equal(values, one[name])


@pytest.mark.parametrize("recipe", [W8C_A8, W4E_A8], ids=str)
def test_the_same_arguments_give_the_same_bytes(wide: Subject, make: Make, recipe: Recipe) -> None:
    one, other = make(recipe, recovery=QUICK), wide.quantize(recipe, recovery=QUICK)
    assert models.sha256(one.model) == models.sha256(other.model)
    assert one.record == other.record


# Case C04: dead channels, and numbers that are none.


# What cannot be asked for.


def test_entropy_coding_without_a_sensitivity_is_refused(wide: Subject) -> None:
    with pytest.raises(RecipeError, match="w4e-a8 needs the sensitivity"):
        quantize(wide.float_bytes, wide.calibration, W4E_A8)


def test_a_sensitivity_of_another_model_is_refused(wide: Subject, small: Subject) -> None:
    with pytest.raises(DataError, match="another float model"):
        quantize(wide.float_bytes, wide.calibration, W8C_A8, sensitivity=small.sensitivity)


@pytest.mark.parametrize("name", ["w4g64-a8", "w4k-a8", "w4e-a8", "w3c-a8", "w4c"])
def test_int4_tensors_for_other_recipes_are_refused(wide: Subject, name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name} cannot be written as INT4") as refused:
        wide.quantize(parse(name), form="int4", recovery=None)
    assert "w4c-a8" in refused.value.hint


def test_a_model_of_8_bits_beside_int4_ones_is_what_it_always_is(make: Make) -> None:
    one, other = (make(W8C_A8, form=form, recovery=None) for form in (None, "int4"))
    assert one.model == other.model


@pytest.mark.parametrize("name", ["w8c-a8", "w4c-a8", "w4g32-a8"])
def test_a_budget_for_weights_of_a_fixed_width_is_refused(wide: Subject, name: str) -> None:
    with pytest.raises(RecipeError, match=f"a budget steers .* not {name}") as refused:
        wide.quantize(parse(name), budget=Budget(bits_per_weight=4.0))
    assert "w4e-a8" in refused.value.hint


def test_without_pictures_weights_are_rounded_to_nearest(wide: Subject, make: Make) -> None:
    made = quantize(
        wide.float_bytes, wide.calibration, W4C_A8, sensitivity=wide.sensitivity, options=Options()
    )
    plain = make(W4C_A8, recovery=None)
    assert made.model == plain.model
    assert made.record["recovery"] is None
    assert make(W4C_A8, recovery=QUICK).record["recovery"]["patches"] == 64
