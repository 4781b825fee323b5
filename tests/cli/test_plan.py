"""What `halfbyte plan` shows, and which options about plans go together."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from tests.cli.test_manners import halfbyte
from tests.quantize.test_layer_table import RECORD
from toolchain.cli.quantizing import quantizer_options_of, recipes_of

PLAN = 'schema = "halfbyte.plan"\nversion = 1\nrecipe = "w3e"\n[[layer]]\nname = "a"\nbits = 3\n'
NOTHING = {
    "bits": (),
    "recipe_names": (),
    "form": None,
    "budget": None,
    "plan_file": None,
    "max_ap_drop": None,
    "no_equalize": False,
    "recovery": "default",
}


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "mine.plan.toml"
    path.write_text(PLAN)
    return path


def test_a_record_is_shown_as_a_table_with_its_layers(tmp_path: Path) -> None:
    (tmp_path / "m.record.json").write_text(json.dumps(RECORD))
    done = halfbyte("plan", "m.record.json", "--picture", "m.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8 x 3 x 3 x 3" in done.stdout
    assert "m.record.json: w4e-a8, 2 layers, 0.00 MB, 4.100 bits per weight" in done.stdout
    assert (tmp_path / "m.svg").read_text().startswith("<svg")


def test_as_json_it_is_one_object(plan: Path) -> None:
    done = halfbyte("plan", str(plan), "--json")
    shown = json.loads(done.stdout)
    assert [layer["layer"] for layer in shown["layers"]] == ["a"]
    assert shown["layers"][0]["bits"] == 3


def test_a_plan_that_is_wrong_is_told_in_two_lines(plan: Path) -> None:
    plan.write_text(PLAN.replace("bits", "bitz"))
    done = halfbyte("plan", str(plan))
    assert done.returncode == 3
    what, hint = done.stderr.strip().splitlines()
    assert "layer 'a': there is no key 'bitz'" in what
    assert hint == "  try: Did you mean bits?"


def test_a_plan_brings_its_recipe(plan: Path) -> None:
    asked = {**NOTHING, "plan_file": plan}
    assert [str(recipe) for recipe in recipes_of(asked)] == ["w3e"]
    found = quantizer_options_of(asked).plan
    assert found is not None
    assert [name for name, _ in found.layers] == ["a"]


@pytest.mark.parametrize(
    "both",
    [
        {"plan_file": Path("p"), "bits": ("4",)},
        {"plan_file": Path("p"), "recipe_names": ("w4e",)},
        {"plan_file": Path("p"), "budget": "18MB"},
        {"plan_file": Path("p"), "max_ap_drop": 0.5},
        {"max_ap_drop": 0.5, "bits": ("4",)},
        {"max_ap_drop": 0.5, "budget": "18MB"},
        {"bits": ("4",), "recipe_names": ("w4e",)},
    ],
    ids=lambda both: " ".join(both),
)
def test_options_that_say_the_same_are_refused_together(both: dict[str, object]) -> None:
    with pytest.raises(click.UsageError, match="not both"):
        recipes_of({**NOTHING, **both})


def test_a_largest_loss_goes_with_one_entropy_coded_recipe() -> None:
    asked = {**NOTHING, "max_ap_drop": 0.5}
    assert [str(recipe) for recipe in recipes_of(asked)] == ["w4e-a8"]
    assert [str(r) for r in recipes_of({**asked, "recipe_names": ("w4e",)})] == ["w4e"]
    for names in (("w4c-a8",), ("w4e", "w4e-a8"), ("w8c-a8",)):
        with pytest.raises(click.UsageError, match="one entropy-coded recipe"):
            recipes_of({**asked, "recipe_names": names})
