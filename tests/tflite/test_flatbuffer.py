"""Reading .tflite files that may be damaged or hostile, and writing them."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from tests.tflite.graphs import float_conv, int8_conv
from toolchain.errors import MalformedModel
from toolchain.tflite.elements import INT8
from toolchain.tflite.flatbuffer import parse, read, serialize

MODEL = serialize(int8_conv())


def test_what_was_written_is_read_back() -> None:
    model = parse(serialize(float_conv()))

    graph = model.subgraphs[0]
    assert [tensor.name for tensor in graph.tensors] == [b"images", b"w", b"b", b"y"]
    assert list(graph.tensors[1].shape) == [3, 3, 3, 2]
    assert model.signatureDefs[0].signatureKey == b"detect"


def test_writing_is_deterministic_and_stable_under_reading() -> None:
    assert serialize(int8_conv()) == MODEL
    assert serialize(parse(MODEL)) == MODEL


def test_buffers_lie_on_multiples_of_16_bytes() -> None:
    model = parse(MODEL)

    weights = next(t for t in model.subgraphs[0].tensors if t.name == b"w")
    data = model.buffers[weights.buffer].data
    start = data.__array_interface__["data"][0]
    base = np.frombuffer(MODEL, np.uint8).__array_interface__["data"][0]
    assert MODEL[start - base : start - base + len(data)] == data.tobytes()
    assert (start - base) % 16 == 0


def test_the_stock_runtime_runs_what_was_written() -> None:
    interpreter = Interpreter(model_content=serialize(float_conv()))
    run = interpreter.get_signature_runner("detect")

    assert run(images=np.zeros((1, 4, 6, 2), np.float32))["y"].shape == (1, 4, 6, 3)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(60), bytes(4) + b"ONNX" + bytes(60)])
def test_another_kind_of_file_is_refused_with_what_to_give(data: bytes) -> None:
    with pytest.raises(MalformedModel, match="identifier TFL3") as caught:
        parse(data)
    assert ".tflite" in caught.value.hint


@pytest.mark.parametrize("model", [MODEL, serialize(float_conv())], ids=["int8", "float"])
def test_every_cut_leaves_an_error_or_a_whole_model(model: bytes) -> None:
    for size in range(len(model)):
        try:
            parse(model[:size])
        except MalformedModel:
            continue
        assert size >= len(model) - 16, "only trailing padding may be missing"


@given(st.data())
def test_flipped_bytes_end_in_a_model_or_an_error_of_ours(data: st.DataObject) -> None:
    damaged = bytearray(MODEL)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(8, len(MODEL) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = parse(bytes(damaged))
    except MalformedModel:
        return
    serialize(model)


@given(st.integers(0, len(MODEL) // 4 - 1), st.sampled_from([0xFFFFFFFF, 0x7FFFFFFF, 0x80000000]))
def test_huge_numbers_anywhere_allocate_little(word: int, value: int) -> None:
    damaged = bytearray(MODEL)
    struct.pack_into("<I", damaged, 4 * word, value)
    damaged[4:8] = b"TFL3"
    tracemalloc.start()
    try:
        parse(bytes(damaged))
    except MalformedModel:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20_000_000


class Shared:
    """Packs its part once; whoever refers to it gets the same place in the file."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self._at: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802
        if self._at is None:
            self._at = self._part.Pack(builder)
        return self._at


def test_a_small_file_that_asks_for_millions_of_objects_is_refused() -> None:
    model = int8_conv()
    graph = model.subgraphs[0]
    graph.tensors = [Shared(graph.tensors[0])] * 10_000
    model.subgraphs = [Shared(graph)] * 1_000
    bomb = serialize(model)

    assert len(bomb) < 100_000
    with pytest.raises(MalformedModel, match="more than 200,000 parts"):
        parse(bomb)


def test_a_small_file_that_asks_for_gigabytes_of_names_is_refused() -> None:
    model = int8_conv()
    model.metadata = [Shared(schema.MetadataT(name="x" * 1_000_000))] * 10_000

    with pytest.raises(MalformedModel, match="names take more than 16 MiB"):
        parse(serialize(model))


def test_a_short_buffer_is_refused_with_the_tensors_name() -> None:
    model = float_conv()
    model.buffers[1].data = model.buffers[1].data[:-4]

    with pytest.raises(MalformedModel, match="tensor w needs 216 bytes and has 212"):
        parse(serialize(model))


def test_indices_that_name_nothing_are_refused() -> None:
    for break_it in (
        lambda m: setattr(m.subgraphs[0].operators[0], "opcodeIndex", 9),
        lambda m: setattr(m.subgraphs[0].operators[0], "inputs", np.array([0, 1, 99], np.int32)),
        lambda m: setattr(m.subgraphs[0].operators[0], "outputs", np.array([-1], np.int32)),
        lambda m: setattr(m.subgraphs[0], "inputs", np.array([4], np.int32)),
        lambda m: setattr(m.subgraphs[0].tensors[2], "buffer", 3),
        lambda m: setattr(m.signatureDefs[0].outputs[0], "tensorIndex", 4),
        lambda m: setattr(m.signatureDefs[0], "subgraphIndex", 1),
    ):
        model = float_conv()
        break_it(model)
        with pytest.raises(MalformedModel, match="names"):
            parse(serialize(model))


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_scale_that_is_no_scale_is_refused(scale: float) -> None:
    model = int8_conv()
    model.subgraphs[0].tensors[3].quantization.scale = np.array([scale], np.float32)

    with pytest.raises(MalformedModel, match="tensor y has a scale"):
        parse(serialize(model))


def test_scales_that_do_not_fit_the_axis_are_refused() -> None:
    model = int8_conv()
    model.subgraphs[0].tensors[1].quantization.quantizedDimension = 3

    with pytest.raises(MalformedModel, match=r"3 scales on axis 3 of its shape \[3, 3, 3, 2\]"):
        parse(serialize(model))


def test_an_unknown_element_type_is_refused() -> None:
    model = int8_conv()
    model.subgraphs[0].tensors[0].type = 77

    with pytest.raises(MalformedModel, match="unknown element type 77"):
        parse(serialize(model))


def test_names_out_of_the_file_are_shown_without_control_characters() -> None:
    model = int8_conv()
    model.subgraphs[0].tensors[0].name = b"\x1b[31m\xff"
    model.subgraphs[0].tensors[0].type = 77

    with pytest.raises(MalformedModel) as caught:
        parse(serialize(model))
    assert "\x1b" not in caught.value.message


def test_a_missing_file_is_a_plain_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent.tflite")


def test_element_types_are_kept() -> None:
    assert parse(MODEL).subgraphs[0].tensors[0].type == INT8.code
