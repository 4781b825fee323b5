import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.evaluate.sets import made, scattered
from toolchain.evaluate.coco_ap import average_precision, evaluate
from toolchain.evaluate.detections import Detections, from_rows
from toolchain.evaluate.intervals import draw, paired_interval, weighted_ap
from toolchain.evaluate.truth import Dataset, Picture


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.integers(1, 50))
def test_weights_of_one_give_the_evaluators_own_ap(
    seed: int, images: int, categories: int, objects: int
) -> None:
    dataset, found = scattered(
        np.random.default_rng(seed), images=images, categories=categories, objects=objects
    )
    evaluated = evaluate(dataset, found, sizes=False)
    [ap] = weighted_ap(evaluated, np.ones((1, images), np.int64))
    if evaluated.accuracy.ap is None:
        assert np.isnan(ap)
    else:
        assert ap == pytest.approx(evaluated.accuracy.ap, abs=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_an_image_of_weight_k_counts_as_k_copies_do_in_the_evaluator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dataset, found = scattered(rng, images=5, categories=3, objects=40)
    weights = rng.integers(0, 4, (1, 5))
    copies, found_copies = repeated(dataset, found, weights[0])
    [ap] = weighted_ap(evaluate(dataset, found, sizes=False), weights)
    expected = average_precision(copies, found_copies).ap
    if expected is None:
        assert np.isnan(ap)
    else:
        assert ap == pytest.approx(expected, abs=1e-9)


def repeated(
    dataset: Dataset, found: Detections, weights: NDArray[np.int64]
) -> tuple[Dataset, Detections]:
    """The same images as often as weights say, as images of their own."""
    images, boxes, rows = [], [], []
    for picture, weight in zip(dataset.images, weights, strict=True):
        on_it = [box for box in dataset.boxes if box.image_id == picture.id]
        for _ in range(weight):
            number = len(images) + 1
            images.append(Picture(number, Path(f"{number}.jpg"), 640, 640))
            for box in on_it:
                boxes.append(dataclasses.replace(box, id=len(boxes) + 1, image_id=number))
            one = found.on([picture.id])
            rows += [
                (number, int(c), *map(float, b), float(s))
                for c, b, s in zip(one.category_ids, one.boxes, one.scores, strict=True)
            ]
    copies = dataclasses.replace(dataset, images=tuple(images), boxes=tuple(boxes))
    return copies, from_rows(rows)  # type: ignore[arg-type]


def test_many_resamples_in_batches_are_what_they_are_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, found = scattered(np.random.default_rng(1), images=5, categories=2, objects=50)
    evaluated, weights = evaluate(dataset, found, sizes=False), draw(5, 40, seed=7)
    together = weighted_ap(evaluated, weights)
    monkeypatch.setattr("toolchain.evaluate.intervals._BATCH_CELLS", 1)
    np.testing.assert_allclose(together, weighted_ap(evaluated, weights), atol=1e-12)
    alone = [weighted_ap(evaluated, row[np.newaxis])[0] for row in weights]
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_a_draw_is_the_same_each_time_and_as_large_as_the_set() -> None:
    weights = draw(30, 200, seed=5)
    assert weights.shape == (200, 30)
    assert (weights.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(weights, draw(30, 200, seed=5))
    assert len(np.unique(weights, axis=0)) > 190


def test_a_model_against_itself_has_lost_nothing_for_sure() -> None:
    dataset, found = scattered(np.random.default_rng(2), images=8, categories=2, objects=60)
    evaluated = evaluate(dataset, found)
    interval = paired_interval(evaluated, evaluated)
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_a_clear_loss_lies_inside_its_interval_and_zero_outside() -> None:
    dataset, found = scattered(np.random.default_rng(6), images=40, categories=2, objects=400)
    worse = dataclasses.replace(found, boxes=found.boxes * [1, 1, 0.85, 1])
    one, other = evaluate(dataset, found), evaluate(dataset, worse)
    interval = paired_interval(one, other)
    assert interval is not None
    assert one.accuracy.ap is not None
    assert other.accuracy.ap is not None
    assert 0 < interval.low < one.accuracy.ap - other.accuracy.ap < interval.high
    assert paired_interval(one, other) == interval


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Both models miss at random alike, so that the true difference is 0."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        dataset, found = scattered(rng, images=30, categories=1, objects=120)
        sides = [found._taken(rng.random(len(found)) < 0.8) for _ in range(2)]
        one, other = (evaluate(dataset, side, sizes=False) for side in sides)
        interval = paired_interval(one, other, resamples=200)
        assert interval is not None
        covered += interval.low <= 0 <= interval.high
    assert covered >= 33


def test_one_image_gives_no_interval() -> None:
    evaluated = evaluate(made([(1, 1, 0, 0, 9, 9)], images=1), from_rows([]))
    assert paired_interval(evaluated, evaluated) is None


def test_other_images_on_each_side_are_refused() -> None:
    one, other = (evaluate(made([(1, 1, 0, 0, 9, 9)], images=n), from_rows([])) for n in (2, 3))
    with pytest.raises(ValueError, match="same images"):
        paired_interval(one, other)
