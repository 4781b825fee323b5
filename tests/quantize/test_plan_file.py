from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quantize.conftest import Subject
from toolchain.errors import RecipeError
from toolchain.quantize import W4E_A8, Quantized, parse, planfile
from toolchain.quantize.choice import FORMS, LayerChoice
from toolchain.quantize.granularity import Channel, Group, Layer
from toolchain.quantize.layertable import of_record
from toolchain.quantize.plantext import plan_text

HEAD = 'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n'


def text_of(made: Quantized) -> str:
    return plan_text(of_record(made.record, "model.tflite"))


def plan_of(made: Quantized) -> planfile.PlanFile:
    return planfile.parse(text_of(made))


def methods_of(made: Quantized) -> list[tuple[object, ...]]:
    keys = ("layer", "scheme", "bits", "granularity", "search", "why", "float_output")
    return [tuple(layer[key] for key in keys) for layer in made.record["layers"]]


def bits_of(made: Quantized) -> dict[str, float]:
    return {layer["layer"]: layer["packed_bits"] for layer in made.record["layers"]}


@pytest.fixture(scope="module")
def made(wide: Subject) -> Quantized:
    return wide.quantize(W4E_A8)


def test_the_plan_of_a_run_gives_a_model_of_that_size_and_the_same_methods(
    wide: Subject, made: Quantized
) -> None:
    again = wide.quantize(W4E_A8, plan=plan_of(made))
    assert len(again.model) == pytest.approx(len(made.model), rel=0.005)
    assert methods_of(again) == methods_of(made)
    weights = {layer["layer"]: math.prod(layer["shape"]) for layer in made.record["layers"]}
    for layer, bits in bits_of(again).items():
        share = 0.02 if weights[layer] > 5000 else 0.05  # small filters take whole bytes
        assert bits == pytest.approx(bits_of(made)[layer], rel=share), layer


@pytest.mark.parametrize("name", ["w8c-a8", "w4c-a8", "w4g32", "w3k-a8"])
def test_a_plan_of_fixed_widths_gives_the_same_bytes(small: Subject, name: str) -> None:
    recipe = parse(name)
    made = small.quantize(recipe, recovery=None)
    assert small.quantize(recipe, plan=plan_of(made), recovery=None).model == made.model


def test_a_layer_takes_the_bits_that_were_written_for_it(wide: Subject, made: Quantized) -> None:
    plan = plan_of(made)
    layers = dict(plan.layers)
    layers["deep"] = dataclasses.replace(layers["deep"], bits=5.0)
    layers["last"] = dataclasses.replace(layers["last"], bits=2.5)
    edited = dataclasses.replace(plan, layers=tuple(layers.items()))
    found = bits_of(wide.quantize(W4E_A8, plan=edited))
    assert found["deep"] == pytest.approx(5.0, rel=0.02)
    assert found["last"] == pytest.approx(2.5, rel=0.02)
    assert found["down"] == pytest.approx(bits_of(made)["down"], rel=0.02)


def test_layers_without_bits_share_what_the_others_leave_of_the_budget(wide: Subject) -> None:
    plan = planfile.parse(HEAD + 'budget = 4.5\n[[layer]]\nname = "deep"\nbits = 5.5\n')
    made = wide.quantize(W4E_A8, plan=plan)
    assert bits_of(made)["deep"] == pytest.approx(5.5, rel=0.02)
    assert bits_of(made)["last"] < 4.5
    assert made.record["bits_per_weight"] == pytest.approx(4.5, rel=0.03)


@pytest.mark.parametrize("budget", [4.5, 5.0, 6.0])
def test_a_budget_beside_codebooks_is_spent(wide: Subject, budget: float) -> None:
    """What their indices take is known only when they are coded."""
    layer = '[[layer]]\nname = "{}"\nscheme = "codebook"\nbits = 4\n'
    plan = planfile.parse(
        HEAD + f"budget = {budget}\n" + layer.format("down") + layer.format("last")
    )
    made = wide.quantize(W4E_A8, plan=plan)
    assert 0.97 * budget < made.record["bits_per_weight"] <= budget


def test_a_layer_that_is_not_named_takes_the_default(small: Subject) -> None:
    plan = planfile.parse(
        HEAD + '[default]\nscheme = "codebook"\nbits = 4\n[[layer]]\nname = "stem"\nbits = 3\n'
    )
    layers = {
        layer["layer"]: layer
        for layer in small.quantize(W4E_A8, plan=plan, recovery=None).record["layers"]
    }
    assert {(layer["scheme"], layer["bits"]) for layer in layers.values()} == {
        ("codebook", 3),
        ("codebook", 4),
    }
    assert layers["stem"]["bits"] == 3


def test_without_a_default_it_is_treated_as_the_recipe_says(small: Subject) -> None:
    plan = planfile.parse(HEAD.replace("w4e", "w4c") + '[[layer]]\nname = "inner"\nbits = 8\n')
    recipe = plan.recipe
    usual = small.quantize(recipe, recovery=None)
    edited = small.quantize(recipe, plan=plan, recovery=None)
    pairs = zip(methods_of(usual), methods_of(edited), strict=True)
    assert [before[0] for before, after in pairs if before != after] == ["inner"]


def test_several_schemes_go_into_one_file(small: Subject) -> None:
    plan = planfile.parse(
        HEAD
        + 'budget = 16\n[[layer]]\nname = "stem"\nscheme = "uniform"\nbits = 8\n'
        + '[[layer]]\nname = "inner"\nscheme = "grouped"\nbits = 4\ngranularity = "group 16"\n'
        + '[[layer]]\nname = "deep"\nscheme = "affine"\nbits = 5\ngranularity = "layer"\n'
    )
    record = small.quantize(W4E_A8, plan=plan, recovery=None).record
    schemes = [layer["scheme"] for layer in record["layers"]]
    assert {"uniform", "grouped", "affine", "entropy"} == set(schemes)
    assert record["bits_per_weight"] <= 16 * 1.005


def test_outputs_stay_float_where_the_plan_says_so(small: Subject) -> None:
    plan = planfile.parse(
        HEAD
        + '[default]\nscheme = "uniform"\nbits = 8\n'
        + '[[layer]]\nname = "classes_2"\nfloat_output = true\n'
        + '[[layer]]\nname = "boxes_2"\nfloat_output = false\n'
    )
    record = small.quantize(W4E_A8, plan=plan, recovery=None).record
    floats = [layer["layer"] for layer in record["layers"] if layer["float_output"]]
    assert floats == ["classes_2"]


def test_boxes_stay_float_unless_the_file_says_otherwise(small: Subject) -> None:
    for words, expected in (
        ("", True),
        ("float_boxes = true\n", True),
        ("float_boxes = false\n", False),
    ):
        plan = planfile.parse(HEAD.replace("w4e", "w8c") + words)
        layers = small.quantize(plan.recipe, plan=plan, recovery=None).record["layers"]
        assert [layer["float_output"] for layer in layers if layer["layer"] == "boxes_2"] == [
            expected
        ]


def test_a_layer_that_the_model_does_not_have_is_refused_with_the_nearest(small: Subject) -> None:
    plan = planfile.parse(HEAD + '[[layer]]\nname = "inne"\nbits = 4\n')
    with pytest.raises(RecipeError, match="'inne', and the model has none") as refused:
        small.quantize(W4E_A8, plan=plan)
    assert refused.value.hint == "Did you mean 'inner'?"


def test_an_output_that_others_read_cannot_stay_float(small: Subject) -> None:
    plan = planfile.parse(HEAD + '[[layer]]\nname = "inner"\nfloat_output = true\n')
    with pytest.raises(RecipeError, match="'inner': its output is read by other layers"):
        small.quantize(W4E_A8, plan=plan)


@pytest.mark.parametrize(
    ("bits", "why"), [(0.3, "with the coarsest steps"), (9.0, "no more than 8")]
)
def test_bits_that_no_steps_give_are_refused_with_the_layer(
    wide: Subject, bits: float, why: str
) -> None:
    plan = planfile.parse(HEAD + f'budget = 5\n[[layer]]\nname = "deep"\nbits = {bits}\n')
    with pytest.raises(RecipeError, match=f"'deep'.*{why}"):
        wide.quantize(W4E_A8, plan=plan)


def test_a_plan_is_for_its_own_recipe(small: Subject) -> None:
    plan = planfile.parse(HEAD)
    with pytest.raises(RecipeError, match="recipe and a budget of its own"):
        small.quantize(parse("w3e-a8"), plan=plan)


def test_what_is_left_out_is_as_the_default_has_it() -> None:
    plan = planfile.parse(
        HEAD
        + '[default]\nscheme = "grouped"\nbits = 4\ngranularity = "group 32"\nsearch = "mse"\n'
        + '[[layer]]\nname = "a"\nbits = 3\n[[layer]]\nname = "b"\nscheme = "uniform"\nbits = 8\n'
    )
    assert plan.layers == (
        ("a", LayerChoice("grouped", 3.0, Group(32), "mse")),
        ("b", LayerChoice("uniform", 8.0, Channel(), "min-max")),
    )


@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_name_of_a_layer_comes_back(names: list[str]) -> None:
    layer = {
        "layer": "", "shape": [2, 1, 1, 3], "scheme": "entropy", "bits": 4, "packed_bits": 4.25,
        "granularity": "channel", "search": "weighted",
    }  # fmt: skip
    record = {
        "schema": "halfbyte.quantization",
        "version": 2,
        "recipe": "w4e-a8",
        "layers": [{**layer, "layer": name} for name in names],
    }
    plan = planfile.parse(plan_text(of_record(record, "\n[x]\n.tflite")))
    assert [name for name, _ in plan.layers] == names
    assert {choice for _, choice in plan.layers} == {
        LayerChoice("entropy", 4.25, Channel(), "weighted")
    }


@pytest.mark.parametrize("scheme", FORMS)
def test_whatever_a_plan_may_ask_for_becomes_an_int8_filter(small: Subject, scheme: str) -> None:
    form = FORMS[scheme]
    words = {Channel: "channel", Layer: "layer", Group: "group 16"}
    least = 2.5 if scheme == "entropy" else 2
    for kind in form.granularities:
        for bits in (least, form.most_bits):
            text = (
                f'budget = 16\n[[layer]]\nname = "inner"\nscheme = "{scheme}"\nbits = {bits}\n'
                f'granularity = "{words[kind]}"\n'
            )
            plan = planfile.parse(HEAD.replace("w4e", "w8c") + text)
            record = small.quantize(plan.recipe, plan=plan, form="packed", recovery=None).record
            [found] = [entry for entry in record["layers"] if entry["layer"] == "inner"]
            assert found["scheme"] == scheme
            assert found["levels"] is not None
