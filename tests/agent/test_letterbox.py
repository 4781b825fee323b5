"""A picture keeps its shape in the network's input, and its boxes find the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.letterbox import GREY, letterbox, place

SIDES = st.integers(1, 5000)
INPUTS = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda n: (32 * n[0], 32 * n[1]))


def test_height_comes_before_width():
    picture = np.zeros((480, 640, 3), np.uint8)
    boxed = letterbox(picture, (320, 544))
    assert boxed.pixels.shape == (320, 544, 3)
    where = boxed.placement
    assert (where.resized_width, where.resized_height) == (427, 320)
    assert (boxed.pad_left, 544 - 427 - boxed.pad_left) == (58, 59)
    assert boxed.pad_top == 0
    grey = (boxed.pixels == GREY).all(axis=2).all(axis=0)
    assert np.flatnonzero(~grey).tolist() == list(range(58, 58 + 427))


def test_a_box_at_the_right_edge_comes_back_within_a_pixel():
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[200:280, 600:640] = 255
    boxed = letterbox(picture, (320, 544))
    rows, columns = np.nonzero((boxed.pixels > 127).all(axis=2))
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    back = boxed.placement.to_picture(seen)
    np.testing.assert_allclose(back, [[600, 200, 640, 280]], atol=1)


@given(SIDES, SIDES, INPUTS)
def test_the_whole_picture_comes_back_exactly(height, width, imgsz):
    where = place((height, width), imgsz)
    box = np.array([[0, 0, width, height]], np.float32)
    np.testing.assert_allclose(where.to_picture(where.to_input(box)), box, rtol=1e-5, atol=1e-3)


@given(SIDES, SIDES, INPUTS)
def test_the_picture_lies_inside_the_input_and_in_its_middle(height, width, imgsz):
    where = place((height, width), imgsz)
    spare_right = imgsz[1] - where.resized_width - where.pad_left
    spare_bottom = imgsz[0] - where.resized_height - where.pad_top
    assert min(where.resized_height, where.resized_width) >= 1
    assert where.resized_height == imgsz[0] or where.resized_width == imgsz[1]
    assert spare_right - where.pad_left in (0, 1)
    assert spare_bottom - where.pad_top in (0, 1)


def test_a_picture_of_the_right_size_is_not_touched():
    picture = np.arange(32 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 64, 3)
    np.testing.assert_array_equal(letterbox(picture, (32, 64)).pixels, picture)


def test_a_picture_of_one_line_does_not_vanish():
    boxed = letterbox(np.full((1, 4000, 3), 255, np.uint8), (64, 64))
    assert (boxed.pixels == 255).all(axis=2).sum() == 64


def test_boxes_outside_are_clipped_to_the_picture():
    where = place((480, 640), (640, 640))
    wild = np.array([[-50, -50, 900, 900]], np.float32)
    np.testing.assert_array_equal(where.to_picture(wild), [[0, 0, 640, 480]])


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(ValueError):
        place((0, 640), (640, 640))
