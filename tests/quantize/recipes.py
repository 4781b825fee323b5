"""Every recipe that is named anywhere, for tests that hold of all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.quantize import models
from toolchain.quantize import FLOAT32, parse
from toolchain.quantize.recipe import USUAL
from toolchain.quantize.recovery import Settings

QUICK = Settings(patches=64)
RECIPES = [*(recipe for recipe in USUAL if recipe is not FLOAT32), parse("w8c"), parse("w4k")]
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=str)


def outputs(model: bytes) -> dict[str, Any]:
    """By name, of the model as it is run."""
    return {str(d["name"]): d for d in models.Runner(models.expanded(model)).outputs.values()}
