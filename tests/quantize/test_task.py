"""What is known of a model and its choices before any picture is seen."""

from __future__ import annotations

import pytest

from tests.quantize.conftest import Subject
from toolchain.errors import OutOfRange, RecipeError
from toolchain.quantize import W4E_A8, W8C_A8, Options, Recipe, check_model, parse, planfile
from toolchain.quantize.budget import Budget
from toolchain.quantize.outputs import logits
from toolchain.quantize.plan import choose_ranges
from toolchain.quantize.task import Task

HEAD = 'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w4e-a8"\n'


def asking(lines: str, recipe: str = "w4e-a8") -> Options:
    return Options(plan=planfile.parse(HEAD.replace("w4e-a8", recipe) + lines), recovery=None)


def test_a_layer_that_the_model_does_not_have_is_refused_without_pictures(wide: Subject) -> None:
    options = asking('[[layer]]\nname = "deeq"\nbits = 4\n')
    with pytest.raises(RecipeError, match="'deeq', and the model has none") as refused:
        check_model(wide.float_bytes, W4E_A8, options)
    assert refused.value.hint == "Did you mean 'deep'?"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("budget = 0.2\n", "all but the codes takes"),
        ('budget = 3\n[[layer]]\nname = "deep"\nbits = 7.9\n', "what has bits of its own takes"),
    ],
)
def test_a_budget_that_is_spent_before_any_code_is_refused_without_pictures(
    wide: Subject, lines: str, why: str
) -> None:
    with pytest.raises(OutOfRange, match=why):
        check_model(wide.float_bytes, W4E_A8, asking(lines))


@pytest.mark.parametrize("recipe", [W4E_A8, parse("w4e"), W8C_A8], ids=str)
def test_what_can_be_made_passes(wide: Subject, recipe: Recipe) -> None:
    check_model(wide.float_bytes, recipe)


@pytest.mark.parametrize("recipe", [W4E_A8, parse("w4e")], ids=str)
@pytest.mark.parametrize("name", ["small", "wide"])
def test_no_budget_is_refused_that_pictures_leave_room_in(
    name: str, recipe: Recipe, request: pytest.FixtureRequest
) -> None:
    subject: Subject = request.getfixturevalue(name)
    task = Task(subject.float_bytes, recipe, Options(budget=Budget(bits_per_weight=100.0)))
    groups = ()
    if recipe.activation_bits:
        outputs = logits(task.graph, task.facts)
        groups = choose_ranges(task.graph, subject.calibration, outputs, task.chosen.islands)
    beside = 100.0 - task.room_bits(groups, 0.0) / task.parameters
    for bits in (beside + 1e-6, 0.9 * beside):
        options = Options(budget=Budget(bits_per_weight=bits))
        if bits > beside:
            check_model(subject.float_bytes, recipe, options)
        else:
            with pytest.raises(OutOfRange, match="all but the codes"):
                check_model(subject.float_bytes, recipe, options)


@pytest.mark.parametrize("form", [None, "packed"])
def test_a_plan_with_few_bits_is_packed_and_keeps_its_budget_whatever_its_recipe(
    wide: Subject, form: str | None
) -> None:
    options = asking('budget = 5.0\n[default]\nscheme = "entropy"\n', "w8c-a8")
    made = wide.quantize(W8C_A8, plan=options.plan, recovery=None, form=form)
    assert made.record["form"] == "packed"
    assert 4.7 < made.record["bits_per_weight"] <= 5.0


@pytest.mark.parametrize("recipe", ["w8c-a8", "w4e-a8", "w4e"])
def test_a_plan_with_layers_that_share_a_budget_cannot_be_expanded_at_once(
    wide: Subject, recipe: str
) -> None:
    options = asking('budget = 5.0\n[default]\nscheme = "entropy"\n', recipe)
    with pytest.raises(RecipeError, match="not with --format int8") as refused:
        wide.quantize(parse(recipe), plan=options.plan, recovery=None, form="plain")
    assert "Leave --format out" in refused.value.hint


def test_a_plan_whose_layers_have_bits_of_their_own_can(wide: Subject) -> None:
    lines = 'budget = 5.0\n[default]\nscheme = "entropy"\nbits = 4.5\n'
    options = asking(lines)
    made = wide.quantize(W4E_A8, plan=options.plan, recovery=None, form="plain")
    assert made.record["form"] == "plain"


def test_a_plan_of_8_bits_stays_an_ordinary_file(wide: Subject) -> None:
    options = asking('[[layer]]\nname = "deep"\nbits = 8\n', "w8c-a8")
    made = wide.quantize(W8C_A8, plan=options.plan, recovery=None)
    assert made.record["form"] == "plain"


@pytest.mark.parametrize("recipe", [W4E_A8, parse("w3e")], ids=str)
def test_a_budget_is_not_for_expanded_files(wide: Subject, recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="not with --format int8"):
        wide.quantize(recipe, budget=Budget(bits_per_weight=5.0), form="plain")
