"""Real weights: YOLOv5s at a small size, packed, expanded, run, beside the plain int8 model."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from targets.agent import expand
from tests.quantize import models
from toolchain import example, making
from toolchain.cli.main import _run
from toolchain.quantize import W8C_A8, Options, calibrate, coded, quantize
from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import INT8
from toolchain.tflite.facts import facts
from toolchain.tflite.packed import pack
from toolchain.tflite.trial import reach_of_centres

IMGSZ = (96, 128)  # that of tests/convert: the float model is made once for both


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    made = making.make_float(making.read_weights("yolov5s-seg"), IMGSZ)
    calibration = calibrate(made.tflite, models.pictures(folder / "pictures", 4))
    path = folder / "yolov5s.tflite"
    options = Options(recovery=None)
    path.write_bytes(quantize(made.tflite.read_bytes(), calibration, W8C_A8, options=options).model)
    return path


@pytest.fixture(scope="module")
def packed(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each convolution's own int8 codes, entropy-coded."""
    model = flatbuffer.read(plain)
    graph = model.subgraphs[0]
    filters = {}
    for operator in graph.operators:
        if len(operator.inputs) != 3:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        if tensor.type == INT8.code:
            codes = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8)
            filters[int(operator.inputs[1])] = coded.Entropy(codes.reshape(tensor.shape))
    path = tmp_path_factory.mktemp("packed") / "yolov5s.tflite"
    path.write_bytes(pack(model, filters))
    return path


@pytest.fixture(scope="module")
def expanded(packed: Path) -> Path:
    assert _run(["expand", str(packed)]) == 0
    return packed.with_name("yolov5s-expanded.tflite")


def outputs(model: bytes) -> dict[str, NDArray[Any]]:
    runner = models.Runner(model)
    picture = np.random.default_rng(0).integers(0, 256, (*IMGSZ, 3)).astype(np.uint8)
    return runner.codes(picture)


def test_the_expanded_model_answers_as_the_plain_one_does(plain: Path, expanded: Path) -> None:
    found, due = outputs(expanded.read_bytes()), outputs(plain.read_bytes())

    assert found.keys() == due.keys()
    for name, values in due.items():
        np.testing.assert_array_equal(found[name], values, name)


def test_the_delegate_takes_as_much_of_the_expanded_model(plain: Path, expanded: Path) -> None:
    delegated = [models.Runner(path.read_bytes()).delegated() for path in (plain, expanded)]
    assert delegated[0] == delegated[1]
    assert delegated[0]


def test_what_is_not_codes_takes_less_than_in_the_plain_file(plain: Path, packed: Path) -> None:
    found, due = facts(packed), facts(plain)
    assert found.packed_bits is not None

    rest = found.file_bytes - found.weights["packed"] * found.packed_bits / 8
    assert rest < 0.9 * (due.file_bytes - due.weights["int8"])


def test_facts_of_a_packed_model_count_its_weights(plain: Path, packed: Path) -> None:
    found, due = facts(packed), facts(plain)

    assert found.parameters == due.parameters
    assert found.weights["packed"] == due.weights["int8"]
    assert found.bits_per_weight == 8 * packed.stat().st_size / due.parameters
    assert found.packed_bits is not None
    assert 4 < found.packed_bits < 8
    assert 50 < found.operators["HalfbyteExpand"] <= found.operators["CONV_2D"]
    assert (found.inputs, found.outputs) == (due.inputs, due.outputs)


def test_a_packed_model_is_tried_as_what_it_expands_to(packed: Path) -> None:
    """Models without metadata are run once, to tell pixels from fractions."""
    assert reach_of_centres(packed, "rows") is not None


def test_a_plain_model_is_not_expanded(plain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["expand", str(plain)]) == 3
    assert "nothing in it is packed" in capsys.readouterr().err


def test_a_damaged_file_is_named(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(packed.read_bytes()[:-2000])

    assert _run(["expand", str(broken)]) == 3
    assert "broken.tflite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["broken.tflite"]


def test_the_example_runs_without_halfbyte(expanded: Path, tmp_path: Path) -> None:
    """In a folder of its own and with Python's isolation: nothing of ours can be imported."""
    [photo] = models.pictures(tmp_path, 1)
    beside = expanded.with_name(example.NAME)
    ended = subprocess.run(
        [sys.executable, "-I", str(beside), str(expanded), str(photo)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(beside.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported.isdisjoint({"toolchain", "targets"})


def test_expanding_again_gives_the_same_bytes(packed: Path, expanded: Path) -> None:
    expansion = expand.read(packed.read_bytes())
    assert expansion is not None
    assert expand.to_bytes(expansion) == expanded.read_bytes()
