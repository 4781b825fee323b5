import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.sets import NOTHING, PERFECT, coco, made, scattered
from tests.places import shared_coco
from toolchain.errors import DataError
from toolchain.evaluate.agreement import agreement
from toolchain.evaluate.coco_ap import average_precision, evaluate
from toolchain.evaluate.datasets import load
from toolchain.evaluate.detections import Detections, from_rows


def test_perfect_detections_score_one(tmp_path: Path) -> None:
    accuracy = average_precision(load(coco(tmp_path)), PERFECT)
    assert accuracy.ap == pytest.approx(1.0)
    assert accuracy.ap50 == pytest.approx(1.0)
    assert accuracy.per_class == {1: pytest.approx(1.0)}
    assert (accuracy.images, accuracy.detections) == (2, 3)
    assert not accuracy.nothing_detected


def test_no_detections_score_zero_and_say_so(tmp_path: Path) -> None:
    accuracy = average_precision(load(coco(tmp_path)), NOTHING)
    assert (accuracy.ap, accuracy.ap50) == (0.0, 0.0)
    assert accuracy.nothing_detected


def test_a_size_without_objects_is_unknown_not_minus_one(tmp_path: Path) -> None:
    accuracy = average_precision(load(coco(tmp_path)), PERFECT)
    assert accuracy.ap_medium == pytest.approx(1.0)
    assert accuracy.ap_small is None
    assert accuracy.ap_large is None


def test_nothing_to_find_is_unknown_not_zero() -> None:
    accuracy = average_precision(made([], images=2), from_rows([(1, 1, 5, 5, 9, 9, 0.5)]))
    assert accuracy.ap is None
    assert accuracy.per_class == {1: None}


def test_a_class_without_objects_is_unknown_and_does_not_pull_the_mean_down() -> None:
    dataset = made([(1, 1, 10, 10, 50, 50)], images=1, categories=3)
    found = from_rows([(1, 1, 10, 10, 50, 50, 0.9), (1, 3, 300, 300, 20, 20, 0.8)])
    accuracy = average_precision(dataset, found)
    assert accuracy.ap == pytest.approx(1.0)
    assert accuracy.per_class == {1: pytest.approx(1.0), 2: None, 3: None}


def test_a_box_beside_the_object_scores_at_the_overlaps_it_reaches() -> None:
    """IoU 0.6 is enough for thresholds 0.50, 0.55 and 0.60 of ten."""
    dataset = made([(1, 1, 0, 0, 100, 100)], images=1)
    accuracy = average_precision(dataset, from_rows([(1, 1, 0, 0, 100, 60.001, 0.9)]))
    assert accuracy.ap == pytest.approx(0.3)
    assert accuracy.ap50 == pytest.approx(1.0)
    assert accuracy.ap75 == pytest.approx(0.0)


def test_detections_on_a_crowd_are_neither_right_nor_wrong() -> None:
    truth = [(1, 1, 10, 10, 50, 50), (1, 1, 200, 200, 300, 300)]
    found = from_rows([(1, 1, 250, 250, 40, 40, 0.99), (1, 1, 10, 10, 50, 50, 0.5)])
    assert average_precision(made(truth, images=1), found).ap == pytest.approx(0.252, abs=0.01)
    crowded = made(truth, images=1, crowds=[2])
    assert average_precision(crowded, found).ap == pytest.approx(1.0)


def test_a_detection_on_an_unknown_image_is_an_error() -> None:
    with pytest.raises(DataError, match="image 7"):
        average_precision(made([], images=2), from_rows([(7, 1, 0, 0, 9, 9, 0.5)]))


def test_evaluating_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    average_precision(load(coco(tmp_path)), PERFECT)
    assert capfd.readouterr() == ("", "")


def test_without_sizes_everything_else_is_the_same() -> None:
    dataset, found = scattered(np.random.default_rng(3), images=6, categories=3, objects=60)
    whole, quick = average_precision(dataset, found), evaluate(dataset, found, sizes=False)
    assert quick.accuracy.ap == whole.ap
    assert quick.accuracy.per_class == whole.per_class
    assert quick.accuracy.ap_small is None
    assert whole.ap_small is not None


def test_a_model_agrees_with_itself_and_less_with_another() -> None:
    dataset, found = scattered(np.random.default_rng(4), images=6, categories=3, objects=60)
    other = dataclasses.replace(found, boxes=found.boxes * [1, 1, 0.8, 1])
    itself, less = agreement(dataset, found, found), agreement(dataset, found, other)
    assert itself is not None
    assert less is not None
    assert itself.ap == pytest.approx(1.0)
    assert less.ap is not None
    assert less.ap < 0.8


def test_agreement_needs_no_ground_truth_and_boxes_to_agree_on() -> None:
    dataset = made([], images=1)
    faint = from_rows([(1, 1, 5, 5, 30, 30, 0.2)])
    seen = from_rows([(1, 1, 5, 5, 30, 30, 0.3)])
    assert agreement(dataset, faint, seen) is None
    found = agreement(dataset, seen, faint)
    assert found is not None
    assert found.ap == pytest.approx(1.0)
    missed = agreement(dataset, seen, Detections(*(part[:0] for part in _parts(seen))))
    assert missed is not None
    assert missed.ap == 0.0


def test_the_boxes_of_coco_itself_score_one() -> None:
    dataset = load(shared_coco() / "dev" / "instances.json")
    dataset = dataset.only([picture.id for picture in dataset.images[:40]])
    found = from_rows(
        [
            (b.image_id, b.category_id, b.x, b.y, b.width, b.height, 0.5)
            for b in dataset.boxes
            if not b.crowd
        ]
    )
    assert average_precision(dataset, found).ap == pytest.approx(1.0)


def _parts(found: Detections) -> tuple[np.ndarray, ...]:
    return found.image_ids, found.category_ids, found.boxes, found.scores
