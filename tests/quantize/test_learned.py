"""Scales and biases that are learned bring the outputs nearer, and change nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.quantize import models
from tests.quantize.conftest import Subject, known
from toolchain.quantize import learned, parse
from toolchain.quantize.recovery import Settings
from toolchain.tflite import flatbuffer
from toolchain.tflite.view import View

NOT_LEARNED = Settings(epochs=0)
LEARNED = Settings(epochs=6)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-logits)))


def error(
    subject: Subject, model: bytes, pictures: Iterable[NDArray[np.uint8]] | None = None
) -> float:
    """Mean squared error of what the sigmoid makes of the logits, by default on new pictures."""
    exact, found = models.Runner(subject.float_bytes), models.Runner(models.expanded(model))
    errors = []
    for picture in models.pixels(8) if pictures is None else pictures:
        wanted, got = exact.real(picture), found.real(picture)
        errors += [float(((sigmoid(got[n]) - sigmoid(wanted[n])) ** 2).mean()) for n in wanted]
    return float(np.mean(errors))


@pytest.mark.parametrize("recipe", ["w2c-a8", "w3c-a8"])
def test_outputs_come_nearer_to_those_of_the_float_model(small: Subject, recipe: str) -> None:
    before = small.quantize(parse(recipe), recovery=NOT_LEARNED)
    after = small.quantize(parse(recipe), recovery=LEARNED)
    assert len(after.model) == len(before.model)
    assert error(small, after.model) < error(small, before.model)


def test_codes_stay_and_the_same_arguments_give_the_same_bytes(small: Subject) -> None:
    before = small.quantize(parse("w8c-a8"), recovery=NOT_LEARNED)
    after = small.quantize(parse("w8c-a8"), recovery=LEARNED)
    again = small.quantize(parse("w8c-a8"), recovery=LEARNED)
    assert after.model == again.model
    filters = [
        {view.name(node.inputs[1]): view.values(node.inputs[1]) for node in view.weighted}
        for view in (View(flatbuffer.parse(made.model)) for made in (before, after))
    ]
    assert filters[0].keys() == filters[1].keys()
    for name, codes in filters[0].items():
        np.testing.assert_array_equal(codes, filters[1][name])


def test_float_activations_learn_too(small: Subject) -> None:
    before = small.quantize(parse("w4k"), recovery=NOT_LEARNED)
    after = small.quantize(parse("w4k"), recovery=LEARNED)
    assert after.model != before.model
    assert len(after.model) == len(before.model)


@pytest.mark.parametrize("count", [1, 3])
def test_an_odd_number_of_pictures_is_learned_from(tmp_path: Path, count: int) -> None:
    subject = known(models.described(models.detector()), tmp_path, count)
    seen = [(picture[0] * 255).round().astype(np.uint8) for picture in subject.pictures]
    before = subject.quantize(parse("w2c-a8"), recovery=NOT_LEARNED)
    after = subject.quantize(parse("w2c-a8"), recovery=Settings(epochs=40))
    assert error(subject, after.model, seen) < error(subject, before.model, seen)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_picture_of_an_epoch_is_in_one_of_its_steps(count: int) -> None:
    steps = learned._steps(np.arange(count))
    assert np.concatenate(steps).tolist() == list(range(count))
    assert all(len(step) == learned.PICTURES_A_STEP for step in steps[:-1])
