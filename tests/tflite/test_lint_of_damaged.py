"""Damaged and odd models: findings or an error of ours, never a crash."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tflite import broken
from tests.tflite.conftest import Made
from toolchain.errors import ModelError
from toolchain.tflite.flatbuffer import parse
from toolchain.tflite.layerwise import default_rule
from toolchain.tflite.lint import lint, to_json
from toolchain.tflite.lint.attainable import attainable
from toolchain.tflite.probing.cutting import probe
from toolchain.tflite.probing.matching import counterparts
from toolchain.tflite.probing.readers import reader_of
from toolchain.tflite.view import View


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "model.tflite"


def look_at(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with contextlib.suppress(ModelError):
        to_json(lint(path))
        view = View(parse(data))
        default_rule(view)
        attainable(view)
        counterparts(view, view)
        for tensor in view.activations:
            reader_of(view, tensor)
        probe(view, [tensor for tensor in view.activations if tensor not in view.inputs])


@settings(max_examples=40)
@given(data=st.data())
def test_flipped_bytes(small: Made, path: Path, data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from([small.w8, small.w4])))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    look_at(bytes(damaged), path)


SCALES = st.lists(st.floats(0, 2.0**99, width=32), max_size=9)


@settings(max_examples=40)
@given(data=st.data())
def test_parts_that_are_valid_and_do_not_fit_each_other(
    small: Made, path: Path, data: st.DataObject
) -> None:
    def change(model: Any, places: dict[str, int]) -> None:
        graph = model.subgraphs[0]
        for _ in range(data.draw(st.integers(1, 4))):
            tensor = graph.tensors[data.draw(st.integers(0, len(places) - 1))]
            operator = data.draw(st.sampled_from(graph.operators))
            match data.draw(st.sampled_from(["scale", "shape", "type", "wire", "axis", "drop"])):
                case "scale" if tensor.quantization is not None:
                    tensor.quantization.scale = np.array(data.draw(SCALES), np.float32)
                    tensor.quantization.zeroPoint = None
                case "axis" if tensor.quantization is not None:
                    tensor.quantization.quantizedDimension = data.draw(st.integers(0, 3))
                case "shape":
                    tensor.shape = np.array(
                        data.draw(st.lists(st.integers(0, 9), max_size=5)), np.int32
                    )
                case "type":
                    tensor.type = data.draw(st.sampled_from([0, 2, 3, 7, 9, 17]))
                case "wire":
                    operator.inputs = np.array(
                        data.draw(st.lists(st.integers(-1, len(places) - 1), max_size=4)), np.int32
                    )
                case "drop":
                    operator.outputs = operator.outputs[:0]

    look_at(broken.edited(small.w8, change), path)
