from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.tflite.graphs import ENDS, float_conv, int8_conv, with_ends
from tests.tflite.test_metadata import METADATA
from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import FLOAT32, INT8, UINT8, Element
from toolchain.tflite.facts import facts, facts_of
from toolchain.tflite.flatbuffer import serialize
from toolchain.tflite.metadata import embed


def test_a_convolution_has_weights_and_biases_as_parameters(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(serialize(float_conv()))

    found = facts(path)

    assert found.parameters == 3 * 3 * 3 * 2 + 3
    assert found.weights == {"float32": 57}
    assert found.file_bytes == path.stat().st_size
    assert found.bits_per_weight == 8 * path.stat().st_size / 57
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.operators == {"CONV_2D": 1}
    assert found.signatures == ("detect",)
    assert [(end.name, end.dtype, end.shape) for end in found.inputs] == [
        ("images", "float32", (1, 4, 6, 2))
    ]


def test_weights_are_told_by_element_type() -> None:
    assert facts_of(serialize(int8_conv())).weights == {"int8": 54, "int32": 3}


def test_the_models_own_count_is_preferred() -> None:
    found = facts_of(serialize(embed(float_conv(), METADATA)))

    assert found.metadata == METADATA
    assert found.parameters == METADATA.parameters


def test_a_model_without_parameters_has_no_bits_per_weight() -> None:
    assert facts_of(with_ends(FLOAT32)).bits_per_weight is None


@pytest.mark.parametrize(
    ("ends", "scale", "zero_point"),
    [(FLOAT32, None, None), (INT8, 1 / 255, -128), (UINT8, 1 / 255, 0)],
)
def test_type_and_scale_are_read_per_end(
    ends: Element, scale: float | None, zero_point: int | None
) -> None:
    found = facts_of(with_ends(ends))

    for end in (*found.inputs, *found.outputs):
        assert end.dtype == ends.name
        assert end.scale == pytest.approx(scale)
        assert end.zero_point == zero_point
    assert ends in ENDS


def test_a_float_tensor_with_scale_zero_is_not_quantized() -> None:
    graph = Graph()
    x = graph.tensor("x", (1, 4), FLOAT32, scale=0.0)
    y = graph.tensor("y", (1, 4), FLOAT32, scale=0.0)
    graph.operator("LOGISTIC", [x], [y])

    found = facts_of(serialize(graph.model([x], [y])))

    assert found.outputs[0].scale is None


def test_a_custom_operator_is_told_by_its_name() -> None:
    graph = Graph()
    x, y = graph.tensor("x", (1, 4)), graph.tensor("y", (1, 4))
    graph.operator("TFLite_Detection_PostProcess", [x], [y])

    assert facts_of(serialize(graph.model([x], [y]))).operators == {
        "TFLite_Detection_PostProcess": 1
    }
