"""Models of other tools: nothing crashes, and the fault that makes detectors blind is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.agent.heads import Head
from tests.quantize import models
from tests.tflite.conftest import Made
from toolchain.tflite.flatbuffer import parse
from toolchain.tflite.layerwise import verify
from toolchain.tflite.lint import lint, outputs
from toolchain.tflite.view import View


def theirs(small: Made, name: str) -> bytes:
    """The small detector by ai-edge-quantizer."""
    from ai_edge_quantizer import quantizer, recipe

    made = quantizer.Quantizer(str(small.float_model))
    made.load_quantization_recipe(getattr(recipe, name)())
    data = {"detect": [{"images": p[None].astype(np.float32) / 255} for p in models.pixels(4)]}
    ranges = made.calibrate(data) if name.startswith("static") else None
    return bytes(made.quantize(ranges).quantized_model)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("static_wi8_ai8", {"float-island"}),
        ("static_wi8_ai16", {"float-island"}),
        ("dynamic_wi8_afp32", {"float-activations"}),
        ("dynamic_wi4_afp32", {"float-activations", "int4-convolution"}),
        ("weight_only_wi8_afp32", {"float-activations"}),
    ],
)
def test_ai_edge_quantizers_models_are_understood(
    small: Made, tmp_path: Path, name: str, told: set[str]
) -> None:
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(theirs(small, name))
    result = lint(path, images=small.images, against=small.float_model)
    assert {item.code for item in result.findings} - {"constant-channel"} == told
    assert result.count("error") == 0
    if name == "static_wi8_ai8":
        assert verify(path, small.float_model, small.images).first is None
    if name == "static_wi8_ai16":  # no picture is packed as int16, and that is said
        assert "int16" in result.unchecked[0]


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Float and int8, by TensorFlow's converter: boxes in pixels and scores in one output."""
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    first = tf.constant(random.normal(0, 0.3, (3, 3, 3, 16)).astype(np.float32))
    second = tf.constant(random.normal(0, 0.3, (1, 1, 16, 24)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([1, 32, 32, 3], tf.float32)])  # type: ignore[untyped-decorator]
    def detector(x: Any) -> Any:
        y = tf.nn.conv2d(x, first, 2, "SAME")
        z = tf.reshape(tf.nn.conv2d(y * tf.sigmoid(y), second, 1, "VALID"), [1, 768, 8])
        p = tf.sigmoid(z)
        return tf.concat([p[..., :4] * 640.0, p[..., 4:]], -1)

    folder = tmp_path_factory.mktemp("decoded")
    paths = folder / "float.tflite", folder / "int8.tflite"
    for path in paths:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [detector.get_concrete_function()]
        )
        if path.stem == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [p[None].astype(np.float32) / 255] for p in models.pixels(8)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        path.write_bytes(converter.convert())
    return paths


def test_decoded_boxes_beside_scores_are_found_in_tensorflows_int8(
    decoded: tuple[Path, Path], small: Made
) -> None:
    float_model, int8 = decoded
    shared = [item for item in lint(int8).findings if item.code == "shared-scale"]
    assert shared
    assert {item.severity for item in shared} == {"error"}
    assert all("(0 to 1)" in item.message and item.value < 2 for item in shared)
    view = View(parse(int8.read_bytes()))
    head = Head("rows", ("a", "b", "c"), output=view.name(view.outputs[0]))
    [known] = outputs.checks(view, head)
    assert (known.code, known.severity) == ("shared-scale", "error")
    assert "every score rounds to 0 or 1" in known.message
    result = verify(int8, float_model, small.images)
    assert result.first is not None
    assert result.lowest.sqnr_db == pytest.approx(0, abs=0.1)
    before = [layer for layer in result.layers if layer.operator < result.first.operator]
    assert all(layer.sqnr_db is None or layer.sqnr_db > 30 for layer in before)
