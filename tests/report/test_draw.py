from pathlib import Path

import numpy as np

from targets.agent.frames import read_picture
from tests.evaluate.sets import picture
from toolchain.report.draw import annotate, colour

GREY = np.full((120, 200, 3), 128, np.uint8)


def rows(*detections: tuple[float, ...]) -> np.ndarray:
    return np.array(detections, np.float32).reshape(-1, 6)


def test_a_box_is_drawn_where_it_is_and_the_picture_is_not_touched() -> None:
    before = GREY.copy()
    drawn = np.asarray(annotate(GREY, rows((50, 60, 150, 100, 0.9, 0)), ["cat"]))
    assert drawn.shape == GREY.shape
    changed = (drawn != GREY).any(axis=2)
    assert changed[60, 50:150].all()
    assert changed[99, 50:150].all()
    assert changed[60:100, 50].all()
    assert not changed[75:95, 60:140].any()
    assert not changed[105:].any()
    np.testing.assert_array_equal(GREY, before)


def test_faint_boxes_are_left_out() -> None:
    drawn = annotate(GREY, rows((50, 60, 150, 100, 0.2, 0)), ["cat"])
    np.testing.assert_array_equal(np.asarray(drawn), GREY)
    shown = annotate(GREY, rows((50, 60, 150, 100, 0.2, 0)), ["cat"], min_score=0.1)
    assert (np.asarray(shown) != GREY).any()


def test_nothing_found_leaves_the_picture_as_it_was() -> None:
    np.testing.assert_array_equal(np.asarray(annotate(GREY, rows(), [])), GREY)


def test_labels_at_the_edges_and_classes_without_a_name_do_not_matter() -> None:
    found = rows((0, 0, 5, 5, 0.9, 7), (195, 115, 200, 120, 0.9, 0), (-9, -9, 400, 400, 0.5, 1))
    assert annotate(GREY, found, ["a rather long name"]).size == (200, 120)


def test_names_in_other_scripts_and_with_control_characters_are_drawn() -> None:
    annotate(GREY, rows((0, 0, 50, 50, 0.9, 0), (9, 9, 60, 60, 0.8, 1)), ["자전거", "a\x1b[2Jb\n"])


def test_boxes_are_laid_on_the_upright_picture(tmp_path: Path) -> None:
    pixels = read_picture(picture(tmp_path / "a.jpg", 160, 96, orientation=6))
    assert annotate(pixels, rows((60, 20, 90, 140, 0.9, 0)), ["cat"]).size == (96, 160)


def test_classes_side_by_side_have_colours_far_apart() -> None:
    for index in range(80):
        one, other = np.array(colour(index)), np.array(colour(index + 1))
        assert np.abs(one - other).sum() > 80
