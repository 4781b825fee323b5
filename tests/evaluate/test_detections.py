import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.wire import Detected
from tests.evaluate.sets import PERFECT, coco, made
from toolchain.errors import DataError
from toolchain.evaluate.classes import match_classes
from toolchain.evaluate.datasets import load
from toolchain.evaluate.detections import from_records, from_rows, read_coco, to_coco, write_coco

DATASET = made([], images=3, categories=2)
CLASSES = match_classes(["thing B", "thing A", "unheard of"], DATASET)


def detected(image: str = "2", *rows: tuple[float, ...], size: int = 640) -> Detected:
    return Detected(image=image, width=size, height=size, detections=rows)


def test_records_become_boxes_of_the_data_sets_categories() -> None:
    found = from_records([detected("2", (10, 20, 40, 60, 0.5, 0))], DATASET, CLASSES)
    assert to_coco(found) == [
        {"image_id": 2, "category_id": 2, "bbox": [10, 20, 30, 40], "score": 0.5}
    ]


def test_classes_that_the_data_set_does_not_know_are_left_out() -> None:
    found = from_records([detected("1", (0, 0, 9, 9, 0.5, 2))], DATASET, CLASSES)
    assert len(found) == 0


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (detected("9"), "is not in the data set"),
        (detected("../../etc/passwd"), "is not in the data set"),
        (detected(size=480), "480 x 480 where it ran, and is 640 x 640 here"),
        (detected("1", (0, 0, 9, 9, 0.5, 3)), "class 3 of a model of 3 classes"),
        (detected("1", (0, 0, 9, 9, 0.5, 0.5)), "class 0.5"),
        (detected("1", (0, 0, 9, 9, 0.5)), "not six numbers"),
        (detected("1", (0, 0, float("nan"), 9, 0.5, 0)), "not six numbers"),
        (detected("1", (9, 0, 0, 9, 0.5, 0)), "out of order"),
        (detected("1", (0, 0, 9, 9, 1.5, 0)), "out of order"),
    ],
)
def test_records_that_do_not_fit_are_refused(record: Detected, told: str) -> None:
    with pytest.raises(DataError) as caught:
        from_records([record], DATASET, CLASSES)
    assert told in caught.value.message


def test_choosing_by_score_and_image_keeps_the_rest_in_order() -> None:
    assert PERFECT.above(0.8).scores.tolist() == [0.9, 0.8]
    assert PERFECT.on([2]).scores.tolist() == [0.7]
    assert len(PERFECT.on([])) == 0


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    write_coco(PERFECT, tmp_path / "results.json")
    annotations = coco(tmp_path)
    index = COCO(str(annotations))
    assert len(index.loadRes(str(tmp_path / "results.json")).getAnnIds()) == 3


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    write_coco(from_rows([]), tmp_path / "results.json")
    assert (tmp_path / "results.json").read_text() == "[]"
    assert len(read_coco(tmp_path / "results.json")) == 0


finite = st.floats(0, 1000, allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 99), finite, finite, finite, finite))
)
def test_what_is_written_is_read_again(
    rows: list[tuple[int, int, float, float, float, float]],
) -> None:
    found = from_rows([(*row, 0.125) for row in rows])
    text = json.dumps(to_coco(found), allow_nan=False)
    again = from_rows(
        [(e["image_id"], e["category_id"], *e["bbox"], e["score"]) for e in json.loads(text)]
    )
    np.testing.assert_array_equal(again.image_ids, found.image_ids)
    np.testing.assert_allclose(again.boxes, found.boxes, atol=0.0005)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "not a list"),
        ("[", "not JSON"),
        ('[{"image_id": 1}]', "[0] lacks 'bbox'"),
        ('[{"image_id": "1", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]', "whole number"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, -1, 1], "score": 1}]', "not negative"),
        ('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, NaN, 1], "score": 1}]', "finite"),
    ],
)
def test_files_that_are_no_results_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_coco(path)
    assert told in caught.value.message


def test_a_truncated_picture_is_in_the_set_until_it_is_decoded(tmp_path: Path) -> None:
    dataset = load(coco(tmp_path))
    found = from_records(
        [Detected(image="2", width=200, height=200, detections=((20, 30, 80, 90, 0.7, 0),))],
        dataset,
        match_classes(["person"], dataset),
    )
    assert found.image_ids.tolist() == [2]
