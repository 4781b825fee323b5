from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.quantize import models
from tests.quantize.conftest import calibrated
from tests.quantize.reference import codes_of, convolve, tensors
from toolchain.errors import DataError, NotFinite, RecipeError, UnsupportedModel
from toolchain.quantize import W4C_A8, W8C_A8, Calibration, Options, Recipe, parse, quantize
from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import INT4, INT8
from toolchain.tflite.metadata import extract

BOTH = pytest.mark.parametrize("recipe", [W8C_A8, W4C_A8], ids=str)
INT4_TENSORS = Options(form="int4")


def ordinary(model: bytes, calibration: Calibration, recipe: Recipe) -> bytes:
    """A file that the stock runtime takes: int8 filters, or INT4 ones for w4c-a8."""
    options = INT4_TENSORS if recipe == W4C_A8 else None
    return quantize(model, calibration, recipe, options=options).model


@BOTH
def test_the_same_arguments_give_the_same_bytes(
    float_bytes: bytes, calibration: Calibration, recipe: Recipe
) -> None:
    one, other = (quantize(float_bytes, calibration, recipe) for _ in range(2))
    assert models.sha256(one.model) == models.sha256(other.model)
    assert one.record == other.record


@pytest.mark.parametrize(("recipe", "least_db"), [(W8C_A8, 25.0), (W4C_A8, 15.0)], ids=str)
def test_outputs_in_the_stock_runtime_are_near_the_float_models(
    float_bytes: bytes, calibration: Calibration, recipe: Recipe, least_db: float
) -> None:
    exact = models.Runner(float_bytes)
    found = models.Runner(ordinary(float_bytes, calibration, recipe))
    for picture in models.pixels(4):
        expected, outputs = exact.real(picture), found.real(picture)
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            assert models.sqnr_db(values, outputs[name]) > least_db, name


def test_the_fast_kernels_take_all_that_they_take_of_the_float_model(
    float_bytes: bytes, calibration: Calibration
) -> None:
    int8 = models.Runner(quantize(float_bytes, calibration, W8C_A8).model)
    assert int8.delegated() == models.Runner(float_bytes).delegated()
    assert int8.delegated()


@BOTH
def test_ends_are_int8_each_output_with_its_own_scale(
    float_bytes: bytes, calibration: Calibration, recipe: Recipe
) -> None:
    runner = models.Runner(ordinary(float_bytes, calibration, recipe))
    assert runner.input["dtype"] == np.int8
    assert runner.input["quantization"] == (pytest.approx(1 / 255), -128)
    scales = {detail["quantization"] for detail in runner.outputs.values()}
    assert all(detail["dtype"] == np.int8 for detail in runner.outputs.values())
    assert len(scales) == len(runner.outputs) == 3


@BOTH
def test_only_first_and_last_layers_keep_8_bits_at_4(
    float_bytes: bytes, calibration: Calibration, recipe: Recipe
) -> None:
    found = tensors(ordinary(float_bytes, calibration, recipe))
    types = {name: found[name].type for name in found if name.endswith("/weights")}
    eight = {"stem/weights", "boxes_2/weights", "objectness_2/weights", "classes_2/weights"}
    narrow = INT4.code if recipe is W4C_A8 else INT8.code
    assert len(types) == 9
    assert types == {name: INT8.code if name in eight else narrow for name in types}


@BOTH
def test_weights_have_a_scale_for_each_output_channel_and_stay_in_narrow_range(
    float_bytes: bytes, calibration: Calibration, recipe: Recipe
) -> None:
    model = ordinary(float_bytes, calibration, recipe)
    for name, tensor in tensors(model).items():
        if name.endswith("/weights"):
            limit = 7 if tensor.type == INT4.code else 127
            assert np.abs(codes_of(model, name)).max() == limit
            assert len(tensor.quantization.scale) == tensor.shape[0]
            assert tensor.quantization.quantizedDimension == 0
            assert not tensor.quantization.zeroPoint.any()


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    size=st.sampled_from([1, 3]),
    channels=st.integers(1, 9),
    recipe=st.sampled_from([W8C_A8, W4C_A8]),
    dead=st.booleans(),
)
def test_the_runtime_computes_what_plain_arithmetic_says(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    size: int,
    channels: int,
    recipe: Recipe,
    dead: bool,
) -> None:
    random = np.random.default_rng(seed)
    weights = random.normal(0, 1, (channels, size, size, 3)).astype(np.float32)
    if dead:
        weights[0] = 0
    model = models.one_convolution(weights, random.normal(0, 2, channels).astype(np.float32))
    found = calibrated(model, tmp_path_factory.mktemp("one"), count=2)
    quantized = ordinary(model, found, recipe)
    runner = models.Runner(quantized)
    for picture in models.pixels(2, seed):
        codes = runner.codes(picture)["conv"][0].astype(np.int64)
        # Kernels round halves, and the products of scales, each in their own way.
        assert np.abs(codes - convolve(quantized, picture)).max() <= 1


@BOTH
def test_a_filter_of_zeros_gives_its_bias(tmp_path: Path, recipe: Recipe) -> None:
    random = np.random.default_rng(3)
    weights = random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    weights[3] = 0
    bias = random.normal(0, 0.3, 8).astype(np.float32)
    model = models.one_convolution(weights, bias)
    found = calibrated(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quantized = quantize(model, found, recipe)
    assert quantized.record["layers"][0]["dead_channels"] == 1
    runner = models.Runner(models.expanded(quantized.model))
    step = runner.outputs["conv"]["quantization"][0]
    for picture in models.pixels(2):
        output = runner.real(picture)["conv"][0, :, :, 3]
        assert np.abs(output - bias[3]).max() <= step * 0.51


def test_a_model_of_zeros_runs(tmp_path: Path) -> None:
    model = models.one_convolution(np.zeros((4, 3, 3, 3), np.float32), np.zeros(4, np.float32))
    runner = models.Runner(quantize(model, calibrated(model, tmp_path), W8C_A8).model)
    assert not runner.real(next(models.pixels(1)))["conv"].any()


def test_a_channel_with_hardly_a_weight_keeps_its_bias(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 1, 1, 3)).astype(np.float32)
    weights[2] = 1e-30
    bias = np.array([0.1, -0.2, 1.5, 0.0], np.float32)
    model = models.one_convolution(weights, bias)
    runner = models.Runner(quantize(model, calibrated(model, tmp_path), W8C_A8).model)
    output = runner.real(next(models.pixels(1)))["conv"][..., 2]
    assert output == pytest.approx(1.5, abs=runner.outputs["conv"]["quantization"][0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["weights", "bias"])
def test_a_number_that_is_not_finite_is_refused_with_layer_channel_and_count(
    float_bytes: bytes, calibration: Calibration, bad: float, where: str
) -> None:
    tree = copy.copy(flatbuffer.parse(float_bytes))
    index = tensors(float_bytes)[f"inner/{where}"].buffer
    values = np.frombuffer(bytes(tree.buffers[index].data), np.float32).copy()
    per_channel = values.reshape(8, -1)
    per_channel[3, 0] = per_channel[5, -1] = bad
    tree.buffers[index] = schema.BufferT(data=values.view(np.uint8))
    words = {"weights": "weights", "bias": "biases"}
    with pytest.raises(NotFinite, match=rf"layer inner: 2 {words[where]} .* channel 3"):
        quantize(flatbuffer.serialize(tree), calibration, W8C_A8)


def test_convolutions_that_share_weights_and_bias_get_their_own_scales(tmp_path: Path) -> None:
    net = models.Net()
    x = net.picture()
    first = net.conv(x, 3, "first", bias=np.full(3, 0.25, np.float32))
    second = net.conv(first, 3, "second")
    shared = net.graph.model([x], [second])
    operators = shared.subgraphs[0].operators
    operators[1].inputs = np.array([operators[1].inputs[0], *operators[0].inputs[1:]], np.int32)
    model = flatbuffer.serialize(shared)
    exact = models.Runner(model)
    runner = models.Runner(quantize(model, calibrated(model, tmp_path), W8C_A8).model)
    picture = next(models.pixels(1))
    assert models.sqnr_db(exact.real(picture)["second"], runner.real(picture)["second"]) > 35


def test_nothing_of_the_float_weights_stays_in_the_file(
    float_bytes: bytes, calibration: Calibration
) -> None:
    tree = flatbuffer.parse(quantize(float_bytes, calibration, W8C_A8).model)
    used = {tensor.buffer for tensor in tree.subgraphs[0].tensors}
    assert used | {0} == set(range(len(tree.buffers)))
    names = [tensor.name for tensor in tree.subgraphs[0].tensors]
    assert len(names) == len(set(names))
    read = {int(i) for op in tree.subgraphs[0].operators for i in (*op.inputs, *op.outputs)}
    assert read | {int(tree.subgraphs[0].inputs[0])} == set(range(len(names)))


def test_operators_say_the_versions_that_int8_and_int4_need(
    float_bytes: bytes, calibration: Calibration
) -> None:
    tree = flatbuffer.parse(ordinary(float_bytes, calibration, W4C_A8))
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    versions = {(names[code.builtinCode], code.version) for code in tree.operatorCodes}
    assert {("CONV_2D", 3), ("CONV_2D", 7), ("LOGISTIC", 2), ("MUL", 2), ("ADD", 2)} <= versions


def test_the_signature_keeps_its_names(float_bytes: bytes, calibration: Calibration) -> None:
    model = ordinary(float_bytes, calibration, W4C_A8)
    runner = models.Runner(model).interpreter.get_signature_runner("detect")
    outputs = runner(images=np.zeros((1, models.SIDE, models.SIDE, 3), np.int8))
    assert set(outputs) == {"boxes_2", "objectness_2", "classes_2"}


def test_metadata_says_the_recipe_and_which_outputs_are_scores(
    float_bytes: bytes, tmp_path: Path
) -> None:
    model = models.described(float_bytes)
    quantized = quantize(
        model, calibrated(model, tmp_path), W4C_A8, options=Options(float_boxes=False)
    )
    facts = extract(flatbuffer.parse(quantized.model))
    assert facts == dataclasses.replace(
        extract(flatbuffer.parse(model)),  # type: ignore[type-var]
        recipe="w4c-a8",
    )
    readers = {
        name: entry["readers"]
        for entry in quantized.record["activations"]
        for name in entry["sources"]
    }
    assert readers["objectness_2"] == readers["classes_2"] == ["logit"]
    assert readers["boxes_2"] == ["value"]
    assert readers["stem"] == readers["inner"] == ["silu"]


def test_the_record_is_strict_json_and_names_every_choice(
    float_bytes: bytes, calibration: Calibration
) -> None:
    record = quantize(float_bytes, calibration, W4C_A8).record
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["schema"], record["version"]) == ("halfbyte.quantization", 2)
    assert record["recipe"] == "w4c-a8"
    assert record["calibration"]["images"] == list(calibration.images)
    layers = {layer["layer"]: layer for layer in record["layers"]}
    assert {layer["bits"] for layer in layers.values()} == {4, 8}
    assert layers["stem"]["why"] == "first convolution"
    assert layers["boxes_2"]["why"] == "head"
    assert layers["inner"]["why"] is None
    tensors_named = [name for entry in record["activations"] for name in entry["tensors"]]
    assert "joined" in tensors_named
    assert len(tensors_named) == len(set(tensors_named))


def test_float32_is_no_quantization(float_bytes: bytes, calibration: Calibration) -> None:
    with pytest.raises(RecipeError, match="float32"):
        quantize(float_bytes, calibration, parse("float32"))


def test_a_calibration_of_another_model_is_refused(calibration: Calibration) -> None:
    with pytest.raises(DataError, match="another float model"):
        quantize(models.detector(seed=1), calibration, W8C_A8)


def test_an_operator_without_an_int8_rule_is_refused_by_name(
    calibration: Calibration,
) -> None:
    net = models.Net()
    x = net.picture()
    y = net._tensor("y", net.shapes[x])
    net.graph.operator("SOFTMAX", [x], [y], schema.SoftmaxOptionsT(beta=1.0))
    with pytest.raises(UnsupportedModel, match="SOFTMAX"):
        quantize(net.finish(x, y), calibration, W8C_A8)


def test_a_quantized_model_is_not_quantized_again(
    float_bytes: bytes, calibration: Calibration
) -> None:
    int8 = quantize(float_bytes, calibration, W8C_A8).model
    with pytest.raises(UnsupportedModel, match="int8, not float32"):
        quantize(int8, calibration, W8C_A8)


def test_a_height_that_is_not_the_width_goes_through(tmp_path: Path) -> None:
    net = models.Net()
    x = net.picture(32, 64)
    model = net.finish(x, net.silu(net.conv(x, 4, "conv", size=3, stride=2), "silu"))
    runner = models.Runner(quantize(model, calibrated(model, tmp_path, 3), W8C_A8).model)
    picture: NDArray[np.uint8] = np.zeros((32, 64, 3), np.uint8)
    assert runner.codes(picture)["silu"].shape == (1, 16, 32, 4)
