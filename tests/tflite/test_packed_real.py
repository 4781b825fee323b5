"""Real weights: YOLOv5s at a small size, packed, expanded, run, beside the plain int8 model."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from targets.agent import expand
from tests.quantize import models
from tests.tflite.conftest import IMGSZ as REAL_IMGSZ
from tests.tflite.conftest import Made
from toolchain import calibrationset, demo, example, making
from toolchain.cli.main import _run
from toolchain.quantize import W8C_A8, Options, calibrate, coded, parse, quantize
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


def printed(model: Path, photo: Path) -> list[tuple[str, float, list[float]]]:
    """Class, score and corners of what the example finds.

    In a folder of its own and with Python's isolation: nothing of ours can be imported.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = example.place(Path(folder))
        ended = subprocess.run(
            [sys.executable, "-I", str(script), str(model), str(photo)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [line.rsplit(maxsplit=5) for line in ended.stdout.splitlines()]
    return [(label, float(score), [float(value) for value in box]) for label, score, *box in rows]


def matches(
    found: list[tuple[str, float, list[float]]], due: list[tuple[str, float, list[float]]]
) -> Iterator[tuple[float, float]]:
    """Of each object of `due`: IoU with the nearest of its class in `found`, and that one's score
    over its own; 0, 0 where there is none."""
    for label, score, box in due:
        same = [
            (float(iou(box, other)), its / score) for name, its, other in found if name == label
        ]
        yield max(same, default=(0.0, 0.0))


def iou(one: list[float], other: list[float]) -> float:
    (a, b, c, d), (e, f, g, h) = one, other
    shared = max(0.0, min(c, g) - max(a, e)) * max(0.0, min(d, h) - max(b, f))
    return shared / ((c - a) * (d - b) + (g - e) * (h - f) - shared)


@pytest.fixture(scope="module")
def shapes(real: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same detector as people would run it: by what its inputs and outputs are."""
    folder = tmp_path_factory.mktemp("shapes")
    pictures = calibrationset.find_calibration(demo.material().calibration)
    source = making.read_weights("yolov5s-seg")
    made = making.make_float(source, REAL_IMGSZ)
    paths = {name: folder / f"{name}.tflite" for name in ("int8", "all-int8", "packed")}
    paths["int8"].write_bytes(real.w8)
    for name, recipe, options in (
        ("all-int8", W8C_A8, Options(recovery=None, float_boxes=False)),
        ("packed", parse("w8c"), Options(recovery=None)),
    ):
        quantized = making.make_quantized(source, made, pictures, recipe, options)
        paths[name].write_bytes(quantized.path.read_bytes())
    paths["float-activations"] = folder / "expanded.tflite"
    assert _run(["expand", str(paths["packed"]), "-o", str(paths["float-activations"])]) == 0
    return paths | {"float32": real.float_model}


@pytest.mark.parametrize(
    ("name", "boxes", "least_iou"),
    [
        ("float32", np.float32, 0.95),
        ("int8", np.float32, 0.8),
        ("all-int8", np.int8, 0.7),
        ("float-activations", np.float32, 0.8),
    ],
)
def test_the_example_finds_what_the_float_model_finds(
    real: Made, shapes: dict[str, Path], tmp_path: Path, name: str, boxes: type, least_iou: float
) -> None:
    """On a photo, against `halfbyte detect` with the float model."""
    details = models.Runner(shapes[name].read_bytes()).outputs.values()
    assert boxes in {detail["dtype"] for detail in details if detail["shape"][3] == 12}
    photo = real.images[0]
    assert (
        _run(["detect", str(photo), "--model", str(real.float_model), "--out", str(tmp_path)]) == 0
    )
    [seen] = json.loads((tmp_path / "detections.json").read_text())["pictures"]
    due = [
        (one["label"], one["score"], [one[corner] for corner in ("x1", "y1", "x2", "y2")])
        for one in seen["objects"]
        if one["score"] > 0.35
    ]
    found = printed(shapes[name], photo)
    assert len(due) >= 3
    for overlap, ratio in (*matches(found, due), *matches(due, [f for f in found if f[1] > 0.35])):
        assert overlap > least_iou, found
        assert ratio == pytest.approx(1, abs=0.25)


def test_the_example_imports_nothing_of_ours() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(example.text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {"json", "re", "sys", "pathlib", "numpy", "PIL", "ai_edge_litert"}


def test_the_example_lies_beside_every_expanded_model(expanded: Path) -> None:
    assert expanded.with_name(example.NAME).read_text("utf-8") == example.text()


def test_expanding_again_gives_the_same_bytes(packed: Path, expanded: Path) -> None:
    expansion = expand.read(packed.read_bytes())
    assert expansion is not None
    assert expand.to_bytes(expansion) == expanded.read_bytes()
