"""A real detector becomes float TFLite and ONNX."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from targets.errors import CheckFailed
from tests.convert.conftest import IMGSZ
from tests.places import shared_coco
from toolchain.convert import FloatModel, agree, to_float_tflite
from toolchain.convert.canonical import OPERATORS
from toolchain.convert.float_model import made_picture
from toolchain.detector import Detector, head_of, output_names
from toolchain.errors import DataError, ImageUnreadable, OutOfRange
from toolchain.tflite import flatbuffer
from toolchain.tflite.facts import facts


def test_it_says_what_torch_says(
    yolov5s: Detector, float_model: FloatModel, pictures: list[Path]
) -> None:
    found = agree(yolov5s, float_model, pictures)

    assert found.images == 2
    assert found.max_abs <= 0.005
    assert found.mean_abs <= 0.0001
    assert tuple(output.name for output in found.outputs) == output_names(yolov5s)


def test_it_says_what_torch_says_on_photos(yolov5s: Detector, float_model: FloatModel) -> None:
    photos = sorted((shared_coco() / "dev").rglob("*.jpg"))[:4]

    assert agree(yolov5s, float_model, photos).images == 4


def test_a_model_that_says_something_else_fails_by_the_outputs_name(
    yolov5s: Detector, float_model: FloatModel, pictures: list[Path], tmp_path: Path
) -> None:
    model = flatbuffer.read(float_model.tflite)
    graph = model.subgraphs[0]
    bias = next(t for t in graph.tensors if t.name == b"model.24.objectness.1/bias")
    values = np.frombuffer(bytes(model.buffers[bias.buffer].data), np.float32) + np.float32(0.01)
    model.buffers[bias.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(flatbuffer.serialize(model))

    with pytest.raises(CheckFailed, match=r"0\.01 at worst \(objectness_16\)"):
        agree(yolov5s, dataclasses.replace(float_model, tflite=wrong), pictures)


def test_a_comparison_needs_pictures_that_can_be_read(
    yolov5s: Detector, float_model: FloatModel, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")

    with pytest.raises(DataError, match="no picture"):
        agree(yolov5s, float_model, [])
    with pytest.raises(ImageUnreadable, match=r"broken\.png"):
        agree(yolov5s, float_model, [broken])


def test_height_comes_before_width(float_model: FloatModel) -> None:
    found = facts(float_model.tflite)

    assert float_model.imgsz == IMGSZ == (96, 128)
    assert found.inputs[0].shape == (1, 96, 128, 3)
    assert found.outputs[0].shape == (1, 12, 16, 12)


def test_names_and_the_signature_are_the_documented_ones(float_model: FloatModel) -> None:
    found = facts(float_model.tflite)

    assert found.signatures == ("detect",)
    assert [end.name for end in found.inputs] == ["images"]
    assert [end.name for end in found.outputs] == [
        f"{part}_{stride}" for stride in (8, 16, 32) for part in ("boxes", "objectness", "classes")
    ]
    assert {end.dtype for end in (*found.inputs, *found.outputs)} == {"float32"}


def test_every_weight_is_there_under_its_layers_name(
    yolov5s: Detector, float_model: FloatModel
) -> None:
    model = flatbuffer.read(float_model.tflite)
    tensors = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}

    assert facts(float_model.tflite).weights == {"float32": yolov5s.parameters}
    for name, conv in yolov5s.weights.items():
        data = bytes(model.buffers[tensors[f"{name}/weight"].buffer].data)
        assert data == np.ascontiguousarray(conv.weight.transpose(0, 2, 3, 1)).tobytes()


def test_only_operators_that_boards_run_fast_are_used(float_model: FloatModel) -> None:
    assert set(facts(float_model.tflite).operators) <= OPERATORS
    assert "TRANSPOSE" not in OPERATORS


def test_it_tells_labels_anchors_letterbox_and_licence(
    yolov5s: Detector, float_model: FloatModel
) -> None:
    metadata = facts(float_model.tflite).metadata

    assert metadata is not None
    assert metadata.head == head_of(yolov5s)
    assert metadata.names[0] == "person"
    assert metadata.strides == (8, 16, 32)
    assert metadata.anchors == yolov5s.anchors
    assert metadata.imgsz == IMGSZ
    assert metadata.recipe == "float32"
    assert metadata.licence == yolov5s.licence
    assert metadata.parameters == yolov5s.parameters
    assert metadata.source_sha256 == yolov5s.source_sha256
    assert "114" in metadata.letterbox


def test_the_stock_runtime_runs_it_by_its_signature(float_model: FloatModel) -> None:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(float_model.tflite)).get_signature_runner("detect")
    outputs = run(images=np.zeros((1, *IMGSZ, 3), np.float32))

    assert outputs["classes_32"].shape == (1, 3, 4, 3 * 80)


def test_the_onnx_file_is_valid_and_says_the_same(
    yolov5s: Detector, float_model: FloatModel
) -> None:
    import onnx
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    from toolchain.tflite.metadata import from_json

    model = onnx.load(str(float_model.onnx))
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert from_json(properties["halfbyte"].encode()).head == head_of(yolov5s)

    session = onnxruntime.InferenceSession(str(float_model.onnx))
    assert [end.name for end in session.get_inputs()] == ["images"]
    assert session.get_inputs()[0].shape == [1, 3, *IMGSZ]
    names = [end.name for end in session.get_outputs()]
    assert names == list(output_names(yolov5s))

    images = np.float32(made_picture(IMGSZ)[None]) / 255
    lite = Interpreter(model_path=str(float_model.tflite)).get_signature_runner("detect")
    wanted = lite(images=images)
    for name, output in zip(
        names, session.run(None, {"images": images.transpose(0, 3, 1, 2)}), strict=True
    ):
        np.testing.assert_allclose(output.transpose(0, 2, 3, 1), wanted[name], atol=0.005)


def test_a_second_call_finds_the_first_ones_result(
    yolov5s: Detector, float_model: FloatModel
) -> None:
    again = to_float_tflite(yolov5s, IMGSZ)

    assert again.cached
    assert again.tflite == float_model.tflite
    assert again.agreement == float_model.agreement


def test_the_same_detector_gives_the_same_bytes(
    yolov5s: Detector, float_model: FloatModel, tmp_path: Path
) -> None:
    again = to_float_tflite(yolov5s, IMGSZ, cache=tmp_path)

    assert not again.cached
    assert again.tflite_sha256 == float_model.tflite_sha256
    assert again.onnx_sha256 == float_model.onnx_sha256


def test_four_anchors_three_classes_and_leaky_relu(leaky_model: FloatModel) -> None:
    found = facts(leaky_model.tflite)

    assert [end.shape for end in found.outputs[:3]] == [(1, 8, 4, 16), (1, 8, 4, 4), (1, 8, 4, 12)]
    assert found.operators["LEAKY_RELU"] > 0
    assert set(found.operators) <= OPERATORS
    assert leaky_model.agreement.max_abs <= 0.005


@pytest.mark.parametrize("imgsz", [(100, 128), (96, 0), (-32, 96), (1 << 20, 64)])
def test_an_odd_size_is_refused_with_height_and_width(
    yolov5s: Detector, imgsz: tuple[int, int]
) -> None:
    with pytest.raises(OutOfRange, match=f"height {imgsz[0]} and width {imgsz[1]}") as caught:
        to_float_tflite(yolov5s, imgsz)
    assert "height" in caught.value.hint
