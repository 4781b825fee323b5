from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quantize import models
from toolchain.calibrationset import Pictures
from toolchain.errors import EmptyCalibration, UnsupportedModel
from toolchain.judging import Judge
from toolchain.predicting import BUDGETS, Try, lost_points, parted, recipe_at, search
from toolchain.quantize import W4E_A8, parse


def losing(points: dict[float, float]) -> list[float]:
    """Budgets in the order in which they are tried."""
    return [one.budget for one in search(lambda b: Try(b, predicted_points=points[b]), 0.5)[1]]


@given(st.lists(st.floats(0, 2), min_size=len(BUDGETS), max_size=len(BUDGETS)), st.floats(0.01, 2))
def test_what_is_taken_was_tried_and_keeps_the_limit(losses: list[float], limit: float) -> None:
    falling = dict(zip(BUDGETS, sorted(losses, reverse=True), strict=True))
    taken, tries = search(lambda b: Try(b, predicted_points=falling[b]), limit)
    fine = [budget for budget in BUDGETS if falling[budget] <= limit]
    assert len(tries) == 3
    assert (None if taken is None else taken.budget) == (fine[0] if fine else None)
    assert taken is None or taken in tries


def test_the_middle_comes_first_and_no_budget_twice() -> None:
    tried = losing({budget: 0.4 if budget >= 4.5 else 0.6 for budget in BUDGETS})
    assert tried == [4.0, 5.0, 4.5]


def test_a_budget_that_cannot_be_made_counts_as_too_small() -> None:
    def attempt(budget: float) -> Try:
        return Try(budget, problem="no") if budget < 4 else Try(budget, predicted_points=0.1)

    taken, tries = search(attempt, 0.5)
    assert taken is not None
    assert taken.budget == 4.0
    assert [bool(one.problem) for one in tries] == [False, True, True]


def test_the_predicted_loss_rises_with_disagreement_and_is_0_without_any() -> None:
    losses = [lost_points(100 - short / 10) for short in range(1001)]
    assert losses[0] == 0
    assert all(low < high for low, high in itertools.pairwise(losses))


@pytest.mark.parametrize("count", [6, 7, 64])
def test_pictures_that_judge_do_not_calibrate(count: int) -> None:
    names = tuple(f"{number:03}" for number in range(count))
    kept, judges = parted(Pictures(tuple(map(Path, names)), names))
    assert not set(kept.hashes) & set(judges.hashes)
    assert {*kept.hashes, *judges.hashes} == set(names)
    assert len(judges.paths) == pytest.approx(count / 3, abs=1)
    assert [path.name for path in judges.paths] == list(judges.hashes)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(EmptyCalibration, match="5 calibration pictures are too few"):
        parted(Pictures((Path("a"),) * 5, ("a",) * 5))


@pytest.mark.parametrize(
    ("budget", "name"), [(2.5, "w2e-a8"), (3.0, "w3e-a8"), (4.0, "w4e-a8"), (6.0, "w6e-a8")]
)
def test_a_budget_has_the_recipe_nearest_to_it(budget: float, name: str) -> None:
    assert str(recipe_at(budget, W4E_A8)) == name
    assert str(recipe_at(budget, parse("w4e"))) == name.removesuffix("-a8")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return models.pictures(tmp_path / "pictures", 4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_model_agrees_with_itself_more_than_with_another(
    pictures: list[Path], tmp_path: Path, cache: Path
) -> None:
    for seed in (0, 1):
        (tmp_path / f"{seed}.tflite").write_bytes(models.described(models.detector(seed)))
    judge = Judge(tmp_path / "0.tflite", pictures)
    assert judge.images == 4
    assert judge.boxes >= 20
    itself = judge.agreement(tmp_path / "0.tflite")
    # Not 100: AP takes 100 boxes of a class and picture, and this model finds more.
    assert itself > 70
    assert judge.agreement(tmp_path / "1.tflite") < itself - 20
    kept = list((cache / "judged").glob("*/detected.json"))
    assert len(kept) == 2  # one a model, found again for the second look


def test_a_model_without_boxes_judges_nothing(pictures: list[Path], tmp_path: Path) -> None:
    weights, bias = np.zeros((4, 1, 1, 3), np.float32), np.zeros(4, np.float32)
    path = tmp_path / "other.tflite"
    path.write_bytes(models.one_convolution(weights, bias))
    with pytest.raises(UnsupportedModel, match="no boxes can be compared"):
        Judge(path, pictures)


def test_pictures_on_which_the_float_model_sees_little_are_refused(
    pictures: list[Path], tmp_path: Path
) -> None:
    net = models.Net()
    x = net.picture()
    stem = net.silu(net.conv(x, 8, "stem", size=3, stride=2), "stem/silu")
    bias = np.full(2, -20, np.float32)
    outputs = [net.conv(stem, 8, "boxes_2"), net.conv(stem, 2, "objectness_2", bias=bias)]
    outputs.append(net.conv(stem, 6, "classes_2"))
    path = tmp_path / "blind.tflite"
    path.write_bytes(models.described(net.finish(x, *outputs)))
    with pytest.raises(EmptyCalibration, match="sees 0 boxes on the 4 calibration pictures"):
        Judge(path, pictures)
