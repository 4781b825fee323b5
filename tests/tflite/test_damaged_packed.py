"""Packed models that are cut, damaged or made to do harm: an error of ours, soon."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from hypothesis import given
from hypothesis import strategies as st

from targets.agent import expand, unpack
from targets.agent.expand_model import Model
from tests.tflite.packing_cases import (
    coded_filter,
    expanded,
    int8_model,
    packed_mixed,
)
from toolchain.quantize import coded
from toolchain.tflite.packed import options, pack
from toolchain.tflite.packed_codecs import store

PACKED = packed_mixed()
ENTROPY_CODED = store(coded_filter("entropy", (40, 3, 3, 10), seed=1)).tensors[0][1].tobytes()


def attempt(data: bytes) -> None:
    """Expands, or says why not; any other error is a fault."""
    with contextlib.suppress(expand.Malformed):
        expansion = expand.read(data)
        if expansion is not None:
            assert expansion.total_bytes < 64 * len(data) + (17 << 20)
            expand.to_bytes(expansion)


@given(st.integers(0, len(PACKED) - 16))  # the last bytes may be padding
def test_a_file_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(expand.Malformed):
        expanded(PACKED[:length])


@given(
    st.lists(
        st.tuples(st.integers(0, len(PACKED) - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_flipped_bytes_are_survived(flips: list[tuple[int, int]]) -> None:
    data = bytearray(PACKED)
    for place, value in flips:
        data[place] = value
    attempt(bytes(data))


@given(st.sampled_from(range(0, len(PACKED) - 4, 4)), st.sampled_from([0, 1, 0x7F, 0xFFFF, -1]))
def test_flipped_words_are_survived(place: int, value: int) -> None:
    word = (value & 0xFFFFFFFF).to_bytes(4, "little")
    attempt(PACKED[:place] + word + PACKED[place + 4 :])


@given(st.data())
def test_damaged_entropy_coded_bytes_are_refused_or_read_as_others(data: st.DataObject) -> None:
    stored = bytearray(ENTROPY_CODED)
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    found = np.zeros((40, 90), np.int8)
    with contextlib.suppress(expand.Malformed):
        unpack.decode(unpack.ENTROPY, (memoryview(bytes(stored)),), found)


@pytest.mark.parametrize("length", [*range(12), 100, len(ENTROPY_CODED) - 1])
def test_entropy_coded_bytes_that_are_cut_short_are_refused(length: int) -> None:
    found = np.zeros((40, 90), np.int8)
    with pytest.raises(expand.Malformed):
        unpack.decode(unpack.ENTROPY, (memoryview(ENTROPY_CODED)[:length],), found)


def test_what_lies_behind_entropy_coded_bytes_is_refused() -> None:
    found = np.zeros((40, 90), np.int8)
    with pytest.raises(expand.Malformed, match="behind"):
        unpack.decode(unpack.ENTROPY, (memoryview(ENTROPY_CODED + b"x"),), found)


def test_damaged_codes_are_an_error_of_ours_in_a_file_and_in_memory(tmp_path: Path) -> None:
    filter_ = coded_filter("entropy", (40, 3, 3, 10), seed=1)
    model, places = int8_model({"conv": coded.expand(filter_)})
    packed = bytearray(pack(model, {places["conv"]: filter_}))
    place = packed.index(ENTROPY_CODED)
    packed[place + 60 : place + 90] = bytes(30)
    expansion = expand.read(bytes(packed))
    assert expansion is not None

    with pytest.raises(expand.Malformed):
        expand.to_bytes(expansion)
    with (tmp_path / "expanded").open("wb") as stream, pytest.raises(expand.Malformed):
        expand.write(expansion, stream.fileno())


@given(st.binary(max_size=400))
def test_anything_at_all_is_survived(data: bytes) -> None:
    attempt(data)
    attempt(b"\x10\x00\x00\x00TFL3" + data)


def test_a_shape_that_lies_is_refused_before_memory_is_taken() -> None:
    filter_ = coded_filter("entropy", (4, 3, 3, 4), seed=5)
    model, places = int8_model({"conv": coded.expand(filter_)})
    packed = bytearray(pack(model, {places["conv"]: filter_}))
    shape = Model(bytes(packed))
    shape.open()
    start, count = shape.tensors[0][places["conv"]].span(0, 4)
    assert count == 4
    packed[start : start + 4] = (50_000_000).to_bytes(4, "little")

    tracemalloc.start()
    with pytest.raises(expand.Malformed, match="larger than its codes can mean"):
        expanded(bytes(packed))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_small_file_cannot_ask_for_endless_work() -> None:
    """Fifty thousand convolutions that are one and the same, with fifty thousand inputs."""
    builder = Builder(1 << 20)
    inputs = builder.CreateNumpyVector(np.zeros(50_000, np.int32))
    schema.TensorStart(builder)
    tensors = table_vector(builder, [schema.TensorEnd(builder)])
    schema.BufferStart(builder)
    buffers = table_vector(builder, [schema.BufferEnd(builder)])
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, inputs)
    operator = schema.OperatorEnd(builder)
    operators = table_vector(builder, [operator] * 50_000)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    schema.SubGraphAddOperators(builder, operators)
    graphs = table_vector(builder, [schema.SubGraphEnd(builder)])
    schema.OperatorCodeStart(builder)
    schema.OperatorCodeAddBuiltinCode(builder, schema.BuiltinOperator.CONV_2D)
    codes = table_vector(builder, [schema.OperatorCodeEnd(builder)])
    schema.ModelStart(builder)
    schema.ModelAddOperatorCodes(builder, codes)
    schema.ModelAddSubgraphs(builder, graphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")

    with pytest.raises(expand.Malformed, match="parts"):
        expand.read(bytes(builder.Output()))


def table_vector(builder: Builder, tables: list[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


@pytest.mark.parametrize(
    ("version", "codec", "kind", "words"),
    [(2, 5, 0, "version 2"), (1, 99, 0, "codec 99"), (1, 5, 7, "kind 7")],
)
def test_another_versions_files_are_refused_by_what_is_new(
    version: int, codec: int, kind: int, words: str
) -> None:
    known = options(unpack.ENTROPY, 0)
    place = PACKED.index(known)
    other = bytearray(PACKED)
    other[place + 1 : place + 4] = bytes([version, codec, kind])

    with pytest.raises(expand.Malformed, match=words):
        expanded(bytes(other))


def test_writing_to_a_full_file_system_is_the_systems_error() -> None:
    expansion = expand.read(PACKED)
    assert expansion is not None
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError):
            expand.write(expansion, descriptor)
    finally:
        os.close(descriptor)
