"""The same picture in each input type stands for the same real values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.agent.inputs import InputMismatch, pack

PIXELS = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
UNIT = PIXELS.astype(np.float64) / 255


def test_float_inputs_are_fractions_of_255():
    tensor = pack(PIXELS, "float32")
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor[0], PIXELS.astype(np.float32) / np.float32(255))


def test_a_float_input_ignores_a_scale_of_zero():
    np.testing.assert_array_equal(pack(PIXELS, "float32", scale=0.0), pack(PIXELS, "float32"))


def test_int8_of_the_usual_scale_is_the_pixel_with_its_top_bit_flipped():
    tensor = pack(PIXELS, "int8", scale=float(np.float32(1 / 255)), zero_point=-128)
    assert tensor.dtype == np.int8
    np.testing.assert_array_equal(tensor[0], PIXELS.astype(np.int16) - 128)


def test_uint8_of_the_usual_scale_is_the_pixel():
    for scale in (1 / 255, 0.0):
        tensor = pack(PIXELS, "uint8", scale=scale)
        assert tensor.dtype == np.uint8
        np.testing.assert_array_equal(tensor[0], PIXELS)


@given(st.sampled_from(["int8", "uint8"]), st.floats(0.5 / 255, 4 / 255), st.integers(-128, 255))
def test_any_scale_stands_for_the_pixel_within_half_a_step(dtype, scale, zero_point):
    limits = np.iinfo(dtype)
    zero_point = min(max(zero_point, limits.min), limits.max)
    tensor = pack(PIXELS, dtype, scale=scale, zero_point=zero_point)
    real = (tensor[0].astype(np.float64) - zero_point) * scale
    low, high = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
    assert np.abs(real - np.clip(UNIT, low, high)).max() <= scale * 0.501


def test_channels_can_come_first():
    tensor = pack(PIXELS, "float32", channels_first=True)
    assert tensor.shape == (1, 3, 16, 16)
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), pack(PIXELS, "float32")[0])


@pytest.mark.parametrize(("dtype", "scale"), [("int8", 0.0), ("int8", -1.0), ("int64", 1.0)])
def test_what_cannot_be_packed_is_refused(dtype, scale):
    with pytest.raises(InputMismatch):
        pack(PIXELS, dtype, scale=scale)
