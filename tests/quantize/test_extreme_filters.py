"""Filters of zeros, of hardly a weight, of numbers that are not finite: in every recipe."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.quantize import models
from tests.quantize.conftest import Subject, known
from tests.quantize.recipes import QUICK, each_recipe
from tests.quantize.reference import tensors
from toolchain.errors import NotFinite
from toolchain.quantize import (
    Recipe,
    quantize,
)
from toolchain.quantize.budget import Budget
from toolchain.quantize.recovery import Settings
from toolchain.quantize.weights import MAX_BIAS
from toolchain.tflite import flatbuffer


def one_layer(tmp_path: Path) -> Subject:
    """A convolution of 8 channels, the fourth of them dead."""
    random = np.random.default_rng(3)
    weights = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    weights[3] = 0
    bias = random.normal(0, 0.3, 8).astype(np.float32)
    return known(models.one_convolution(weights, bias), tmp_path)


def enough(recipe: Recipe) -> Budget | None:
    """For models that are mostly tables."""
    return None if recipe.default_budget is None else Budget(bits_per_weight=1000.0)


@each_recipe
@pytest.mark.parametrize("recovery", [QUICK, None], ids=["recovered", "nearest"])
def test_a_filter_of_zeros_gives_its_bias_in_every_recipe(
    tmp_path: Path, recipe: Recipe, recovery: Settings | None
) -> None:
    subject = one_layer(tmp_path)
    bias = models.constants(subject.float_bytes)["conv/bias"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = subject.quantize(recipe, recovery=recovery, budget=enough(recipe))
    assert made.record["layers"][0]["dead_channels"] == 1
    runner = models.Runner(models.expanded(made.model))
    step = runner.outputs["conv"]["quantization"][0]
    for picture in models.pixels(2):
        output = runner.real(picture)["conv"][0, :, :, 3]
        assert np.abs(output - bias[3]).max() <= step * 0.51 + 1e-6


@each_recipe
def test_a_model_of_zeros_runs_in_every_recipe(tmp_path: Path, recipe: Recipe) -> None:
    weights = np.zeros((4, 3, 3, 3), np.float32)
    subject = known(models.one_convolution(weights, np.zeros(4, np.float32)), tmp_path)
    made = subject.quantize(recipe, recovery=QUICK, budget=enough(recipe))
    runner = models.Runner(models.expanded(made.model))
    assert not runner.real(next(models.pixels(1)))["conv"].any()


@each_recipe
def test_a_channel_with_hardly_a_weight_keeps_its_bias_in_every_recipe(
    tmp_path: Path, recipe: Recipe
) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 1, 1, 3)).astype(np.float32)
    weights[2] = 1e-30
    bias = np.array([0.1, -0.2, 1.5, 0.0], np.float32)
    subject = known(models.one_convolution(weights, bias), tmp_path)
    made = subject.quantize(recipe, recovery=QUICK, budget=enough(recipe))
    runner = models.Runner(models.expanded(made.model))
    step = runner.outputs["conv"]["quantization"][0]
    output = runner.real(next(models.pixels(1)))["conv"][..., 2]
    assert output == pytest.approx(1.5, abs=max(step, 1e-5))
    assert MAX_BIAS == 2**30


@each_recipe
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weights", "bias"])
def test_a_number_that_is_not_finite_is_refused_with_layer_channel_and_count(
    wide: Subject, recipe: Recipe, bad: float, where: str
) -> None:
    tree = copy.copy(flatbuffer.parse(wide.float_bytes))
    tree.buffers = list(tree.buffers)
    index = tensors(wide.float_bytes)[f"deep/{where}"].buffer
    values = np.frombuffer(bytes(tree.buffers[index].data), np.float32).copy()
    values.reshape(96, -1)[5, 0] = values.reshape(96, -1)[7, -1] = bad
    tree.buffers[index] = schema.BufferT(data=values.view(np.uint8))
    words = {"weights": "weights", "bias": "biases"}
    with pytest.raises(NotFinite, match=rf"layer deep: 2 {words[where]} .* channel 5"):
        quantize(flatbuffer.serialize(tree), wide.calibration, recipe, sensitivity=wide.sensitivity)
