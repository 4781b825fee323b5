"""What the bits of a model are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quantize import models
from tests.quantize.conftest import known
from toolchain.quantize import Recipe, parse
from toolchain.quantize.budget import Budget
from toolchain.subject import subject


@pytest.mark.parametrize(
    ("name", "budget", "bits"),
    [
        ("w4m-a8", 5.0, 4),
        ("w4s-a8", 5.0, 4),
        ("w4k-a8", None, 4),
        ("w8c-a8", None, 8),
        ("w4e-a8", 3.2, 3),
    ],
)
def test_levels_are_called_by_their_recipe_and_budgets_by_what_they_take(
    tmp_path: Path, name: str, budget: float | None, bits: int
) -> None:
    """Indices of sixteen levels may be coded in 3 bits, and a mixture's int8 is no packed one."""
    wide = known(models.described(models.wide()), tmp_path)
    recipe: Recipe = parse(name)
    asked = None if budget is None else Budget(bits_per_weight=budget)
    path = tmp_path / f"model-{name}.tflite"
    path.write_bytes(wide.quantize(recipe, budget=asked, recovery=None).model)
    assert subject(path).meta.bits == bits
