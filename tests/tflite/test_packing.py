from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from targets.agent.expand import unpack_int4
from toolchain.errors import OutOfRange
from toolchain.tflite.packing import pack_int4


def test_the_first_of_each_pair_is_the_low_nibble() -> None:
    assert pack_int4(np.array([1, 2, -1, -8, 7], np.int8)) == bytes([0x21, 0x8F, 0x07])


@given(arrays(np.int8, st.integers(0, 99), elements=st.integers(-8, 7)))
def test_board_unpacks_what_the_host_packed(values: NDArray[np.int8]) -> None:
    np.testing.assert_array_equal(unpack_int4(pack_int4(values), count=values.size), values)


def test_pieces_join_without_a_seam() -> None:
    values = np.random.default_rng(0).integers(-8, 8, size=300_001).astype(np.int8)

    np.testing.assert_array_equal(unpack_int4(pack_int4(values), values.size), values)


def test_filters_are_packed_in_c_order() -> None:
    filters = np.arange(-8, 8, dtype=np.int8).reshape(2, 2, 2, 2)

    assert pack_int4(filters.transpose(3, 0, 1, 2)) == pack_int4(
        np.ascontiguousarray(filters.transpose(3, 0, 1, 2))
    )


@pytest.mark.parametrize("value", [-9, 8])
def test_a_value_of_more_than_4_bits_is_refused(value: int) -> None:
    with pytest.raises(OutOfRange, match="-8 to 7"):
        pack_int4(np.array([0, value], np.int8))


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 packed bytes for 5 values"):
        unpack_int4(b"\x00\x00", 5)
