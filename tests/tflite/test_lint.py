"""Each fault is found by its name, and a clean model has none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.quantize import models
from tests.tflite import broken
from tests.tflite.conftest import Made
from toolchain.errors import MalformedModel
from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import INT8, INT32
from toolchain.tflite.flatbuffer import parse, serialize
from toolchain.tflite.lint import Finding, Lint, lint, to_json
from toolchain.tflite.lint.attainable import attainable
from toolchain.tflite.lint.rules import ADVICE
from toolchain.tflite.probing.cutting import probe
from toolchain.tflite.view import View

LAYER = "model.4.cv3.conv"


def check(folder: Path, data: bytes, made: Made | None = None, *, alone: bool = False) -> Lint:
    """Lint of a model's bytes: of the file alone, or on pictures, beside the float model."""
    path = folder / "model.tflite"
    path.write_bytes(data)
    if made is None:
        return lint(path)
    return lint(path, images=made.images, against=None if alone else made.float_model)


def found(result: Lint, code: str) -> dict[str, Finding]:
    return {item.where: item for item in result.findings if item.code == code}


def faults(result: Lint) -> list[Finding]:
    """Without the notes: float islands are chosen by the quantizer, and told."""
    return [item for item in result.findings if item.severity != "note"]


def codes(result: Lint) -> set[str]:
    return {item.code for item in result.findings}


@pytest.mark.parametrize("alone", [True, False])
def test_a_clean_int8_model_of_real_weights_has_no_warning(
    real: Made, tmp_path: Path, alone: bool
) -> None:
    result = check(tmp_path, real.w8, real, alone=alone)
    assert faults(result) == []
    assert not result.failed(strict=True)
    assert result.images == 5
    assert result.boxes is not None
    assert result.boxes > 5
    assert [words.split(":")[0] for words in result.unchecked] == [
        "boxes and channels beside the float model"
    ] * alone


def test_without_pictures_it_says_what_was_not_looked_at(real: Made, tmp_path: Path) -> None:
    result = check(tmp_path, real.w8)
    assert faults(result) == []
    assert "--images" in result.unchecked[0]


def test_a_scale_a_hundred_times_too_large_collapses_its_tensor(real: Made, tmp_path: Path) -> None:
    result = check(tmp_path, broken.rescaled(real.w8, f"{LAYER}/conv", 100), real)
    finding = found(result, "collapsed-range")[f"{LAYER}/conv"]
    assert finding.severity == "error"
    assert finding.value <= 4
    assert "codes are in use" in finding.message
    assert found(result, "no-boxes")["the outputs"].severity == "error"


def test_where_biases_tell_it_a_wrong_scale_is_seen_in_the_file_alone(
    real: Made, tmp_path: Path
) -> None:
    result = check(tmp_path, broken.rescaled(real.w8, "model.13.cv1.conv/silu", 100))
    [finding] = faults(result)
    assert (finding.code, finding.where) == ("bias-scale", "model.13.m.0.cv1.conv")
    assert "model.13.cv1.conv/silu" in finding.message
    assert finding.value == pytest.approx(0.01, rel=0.05)


def test_a_range_cut_to_a_tenth_saturates_its_tensor(real: Made, tmp_path: Path) -> None:
    result = check(tmp_path, broken.rescaled(real.w8, f"{LAYER}/conv", 0.1), real, alone=True)
    saturated = found(result, "saturation")
    assert saturated.keys() == {f"{LAYER}/conv"}
    assert saturated[f"{LAYER}/conv"].severity == "error"
    assert saturated[f"{LAYER}/conv"].value > 0.3


def test_a_filter_row_of_zeros_is_named_and_so_is_its_channel(real: Made, tmp_path: Path) -> None:
    def zeroed(filter_: np.ndarray) -> np.ndarray:
        filter_[7] = 0
        return filter_

    data = broken.refiltered(real.w8, f"{LAYER}/weight", zeroed)
    [finding] = faults(check(tmp_path, data))
    assert (finding.code, finding.where, finding.value) == ("dead-filter", LAYER, 1)
    assert finding.message.endswith("channel 7")
    result = check(tmp_path, data, real)
    assert found(result, "dead-filter")[LAYER].severity == "warning"
    still = found(result, "constant-channel")
    assert still.keys() == {f"{LAYER}/conv"}
    assert "channel 7" in still[f"{LAYER}/conv"].message


def test_a_filter_that_is_dead_in_the_float_model_too_is_only_a_note(
    small: Made, tmp_path: Path
) -> None:
    weights = np.random.default_rng(1).normal(0, 1, (4, 1, 1, 3)).astype(np.float32)
    weights[2] = 0
    from tests.quantize.conftest import calibrated
    from toolchain.quantize import W8C_A8, quantize

    float_bytes = models.one_convolution(weights, np.ones(4, np.float32))
    data = quantize(float_bytes, calibrated(float_bytes, tmp_path), W8C_A8).model
    (tmp_path / "float.tflite").write_bytes(float_bytes)
    made = small._replace(float_model=tmp_path / "float.tflite")
    assert found(check(tmp_path, data), "dead-filter")["conv"].severity == "warning"
    assert found(check(tmp_path, data, made), "dead-filter")["conv"].severity == "note"


def test_boxes_and_scores_at_one_scale_are_an_error_in_the_file_alone(
    real: Made, tmp_path: Path
) -> None:
    data = broken.joined(real.w8, "boxes_16", ["objectness_16", "classes_16"], 2.8)
    finding = found(check(tmp_path, data), "shared-scale")["everything"]
    assert finding.severity == "error"
    assert finding.value < 2
    assert "objectness_16/sigmoid (0 to 1)" in finding.message


@pytest.mark.parametrize(("factor", "severity"), [(20, "warning"), (200, "error")])
def test_a_score_output_with_few_steps_is_named(
    real: Made, tmp_path: Path, factor: float, severity: str
) -> None:
    result = check(tmp_path, broken.rescaled(real.w8, "objectness_16", factor))
    [finding] = faults(result)
    assert (finding.code, finding.where) == ("coarse-scores", "objectness_16")
    assert finding.severity == severity


def test_what_operators_can_give_holds_for_what_they_gave(small: Made) -> None:
    view = View(parse(small.float_model.read_bytes()))
    tensors = [tensor for tensor in view.activations if tensor not in view.inputs]
    reach = attainable(view)
    assert sum(low > -np.inf for low, _ in reach.values()) > 12  # gates, SiLUs, their sums, ReLU
    runner = models.Runner(probe(view, tensors))
    for picture in models.pixels(3):
        for tensor in tensors:
            values = runner.codes(picture)[view.name(tensor)]
            low, high = reach[tensor]
            assert low - 1e-6 <= values.min() <= values.max() <= high + 1e-6, view.name(tensor)


def test_int4_convolutions_are_named_as_slow(real: Made, tmp_path: Path) -> None:
    [finding] = faults(check(tmp_path, real.w4))
    assert (finding.code, finding.severity) == ("int4-convolution", "warning")
    assert finding.value == 1 + len(finding.others) == 56
    assert finding.where == "model.1.conv"


def test_packed_filters_are_named_and_looked_into(real: Made, tmp_path: Path) -> None:
    from toolchain.quantize.coded import Nibbles
    from toolchain.tflite.packed import pack
    from toolchain.tflite.plain import plain_bytes

    def zeroed(filter_: np.ndarray) -> np.ndarray:
        filter_[7] = 0
        return filter_

    plain = broken.refiltered(plain_bytes(real.w4, "w4"), f"{LAYER}/weight", zeroed)
    view = View(parse(plain))
    [filter_] = [tensor for tensor in view.tensors if tensor.name == f"{LAYER}/weight"]
    codes_of_filter = np.asarray(view.values(filter_.index))
    result = check(tmp_path, pack(parse(plain), {filter_.index: Nibbles(codes_of_filter)}), real)
    assert found(result, "packed").keys() == {f"{LAYER}/weight"}
    assert found(result, "dead-filter").keys() == {LAYER}
    assert result.boxes is not None


def test_scales_that_differ_around_a_copy_are_named_with_the_refusal(
    real: Made, tmp_path: Path
) -> None:
    result = check(tmp_path, broken.rescaled(real.w8, f"{LAYER}/silu", 2), real, alone=True)
    unequal = found(result, "unequal-scales")
    assert unequal.keys() == {"pad_052", "concatenation_143"}
    assert unequal["pad_052"].value == pytest.approx(2)
    assert "failed to delegate PAD" in found(result, "does-not-run")["the model"].message


def test_a_scale_of_zero_is_found_though_the_runtime_aborts_on_it(
    real: Made, tmp_path: Path
) -> None:
    result = check(tmp_path, broken.rescaled(real.w8, f"{LAYER}/conv", 0), real, alone=True)
    assert found(result, "zero-scale")[f"{LAYER}/conv"].severity == "error"
    assert "does-not-run" in codes(result)


def test_a_bias_at_the_end_of_int32_is_found(real: Made, tmp_path: Path) -> None:
    def cut(bias: np.ndarray) -> np.ndarray:
        bias[3] = 2**31 - 1
        return bias

    [finding] = faults(check(tmp_path, broken.refiltered(real.w8, f"{LAYER}/bias", cut)))
    assert (finding.code, finding.where, finding.severity) == ("bias-overflow", LAYER, "error")
    assert "channel 3" in finding.message


def int8_convolution(*, weights: Any, output: float, bias: float | None = None) -> bytes:
    """[1, 8, 8, 4] -> 1x1 convolution with one weight scale of 1 -> [1, 8, 8, O]."""
    graph = Graph()
    x = graph.tensor("x", (1, 8, 8, 4), INT8, scale=1.0)
    w = graph.constant("c/weights", np.asarray(weights, np.int8), INT8, scale=1.0)
    count = len(weights)
    b = graph.constant("c/bias", np.zeros(count, np.int32), INT32, scale=bias or 1.0)
    y = graph.tensor("y", (1, 8, 8, count), INT8, scale=output)
    options = schema.Conv2DOptionsT(strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    graph.operator("CONV_2D", [x, w, b], [y], options, version=3)
    return serialize(graph.model([x], [y]))


def test_multipliers_that_the_runtime_refuses_or_that_move_nothing(tmp_path: Path) -> None:
    full = np.full((3, 1, 1, 4), 100)
    [refused] = check(tmp_path, int8_convolution(weights=full, output=1 / 256)).findings
    assert (refused.code, refused.where, refused.value) == ("multiplier-range", "c", 256)
    [stuck] = check(tmp_path, int8_convolution(weights=full, output=40_000)).findings
    assert (stuck.code, stuck.where) == ("collapsed-range", "y")
    assert stuck.value == pytest.approx(100 * 4 * 255 / 40_000)
    assert check(tmp_path, int8_convolution(weights=full, output=100.0)).findings == ()


def test_one_scale_for_channels_of_unlike_size_is_named(tmp_path: Path) -> None:
    weights = np.full((8, 1, 1, 4), 127)
    weights[5:] = 3
    [finding] = check(tmp_path, int8_convolution(weights=weights, output=100.0)).findings
    assert (finding.code, finding.where) == ("coarse-filter", "c")
    assert finding.value == pytest.approx(3 / 8)
    assert finding.message.endswith("channel 5, 6, 7")


def test_element_wise_scales_out_of_reach_of_fast_kernels_are_named(tmp_path: Path) -> None:
    graph = Graph()
    a, b = (graph.tensor(name, (1, 8), INT8, scale=1.0) for name in "ab")
    c = graph.tensor("sum", (1, 8), INT8, scale=1.0 / 300)
    graph.operator("ADD", [a, b], [c], schema.AddOptionsT())
    [finding] = check(tmp_path, serialize(graph.model([a, b], [c]))).findings
    assert (finding.code, finding.where, finding.limit) == ("multiplier-range", "sum", 256)


def test_a_float_layer_in_a_quantized_model_is_an_island(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.tensor("x", (1, 8), INT8, scale=0.1)
    real = graph.tensor("real", (1, 8))
    w = graph.constant("dense/weights", np.ones((4, 8), np.float32))
    y = graph.tensor("y", (1, 4))
    graph.operator("DEQUANTIZE", [x], [real])
    graph.operator("FULLY_CONNECTED", [real, w, -1], [y], schema.FullyConnectedOptionsT())
    [finding] = check(tmp_path, serialize(graph.model([x], [y]))).findings
    assert (finding.code, finding.severity) == ("float-island", "warning")
    assert finding.where == "dense"
    assert finding.value == 1


def test_a_float_model_is_told_to_be_one(real: Made, tmp_path: Path) -> None:
    result = check(tmp_path, real.float_model.read_bytes(), real)
    assert codes(result) == {"not-quantized"}
    assert not result.failed(strict=True)
    assert result.boxes == result.boxes_against


def test_bytes_that_are_no_model_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MalformedModel, match=r"model.tflite: not a TFLite model"):
        check(tmp_path, b"not a model at all")


def test_the_json_is_strict_and_says_its_schema(real: Made, tmp_path: Path) -> None:
    value = to_json(check(tmp_path, real.w4, real))
    assert (value["schema"], value["version"]) == ("halfbyte.lint", 1)
    assert value["warnings"] == len([f for f in value["findings"] if f["severity"] == "warning"])
    assert json.loads(json.dumps(value, allow_nan=False))["findings"][0]["code"] in ADVICE


def test_the_guide_explains_every_code_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check-a-model.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`([a-z0-9-]+)`", "".join(rows))) == sorted(ADVICE)
