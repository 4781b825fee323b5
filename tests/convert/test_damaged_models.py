"""A real model, damaged: an error of ours, or a model that can be read and written."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from toolchain.convert import FloatModel
from toolchain.errors import ModelError
from toolchain.tflite.facts import facts_of
from toolchain.tflite.flatbuffer import parse, serialize


def read_all(data: bytes) -> None:
    with contextlib.suppress(ModelError):
        facts_of(data)
        serialize(parse(data))


@given(data=st.data())
def test_flipped_bytes(leaky_model: FloatModel, data: st.DataObject) -> None:
    damaged = bytearray(leaky_model.tflite.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read_all(bytes(damaged))


@given(data=st.data())
def test_cuts(leaky_model: FloatModel, data: st.DataObject) -> None:
    whole = leaky_model.tflite.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    read_all(whole[:start] + whole[end:])
