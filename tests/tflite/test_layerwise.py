"""A quantized model beside its float reference: the layer that is wrong is named, and no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.quantize import models
from tests.tflite import broken
from tests.tflite.conftest import Made
from toolchain.errors import NotFinite, UnsupportedModel
from toolchain.tflite.layerwise import Rule, Verification, to_json, verify
from toolchain.tflite.layerwise.results import LOWEST_DB


def compared(folder: Path, data: bytes, made: Made, rule: Rule | None = None) -> Verification:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return verify(path, made.float_model, made.images, rule=rule)


def test_no_layer_of_a_good_int8_model_diverges(real: Made, tmp_path: Path) -> None:
    result = compared(tmp_path, real.w8, real)
    assert result.first is None
    assert result.rule == Rule(12.0, 3.0)
    assert (result.images, result.unmatched) == (5, 0)
    operators = [layer.operator for layer in result.layers]
    assert operators == sorted(operators)
    assert sum(layer.has_weights for layer in result.layers) == 66
    assert all(layer.sqnr_db is not None and layer.sqnr_db > 14 for layer in result.layers)
    assert all(abs(layer.mean_shift) < 0.05 for layer in result.layers)


def test_at_4_bits_the_rule_allows_more_noise(real: Made, tmp_path: Path) -> None:
    result = compared(tmp_path, real.w4, real)
    assert result.rule == Rule(3.0, 3.0)
    noisy = [layer for layer in result.layers if (layer.sqnr_db or 99) < 12]
    assert len(noisy) > len(result.layers) / 4  # at 8 bits each of them would be a bad one
    assert sum(layer.diverges for layer in noisy) < len(noisy) / 10


@pytest.mark.parametrize("layer", ["model.0.conv", "model.4.cv3.conv", "model.23.m.0.cv2.conv"])
def test_the_layer_whose_weights_were_shuffled_is_the_first_that_diverges(
    real: Made, tmp_path: Path, layer: str
) -> None:
    data = broken.refiltered(real.w8, f"{layer}/weight", lambda codes: np.roll(codes, 1, axis=0))
    first = compared(tmp_path, data, real).first
    assert first is not None
    assert (first.layer, first.tensor) == (layer, f"{layer}/conv")
    assert first.sqnr_db is not None
    assert first.sqnr_db < 5


def test_a_layer_whose_weights_changed_sign_is_the_first_at_4_bits_too(
    real: Made, tmp_path: Path
) -> None:
    from toolchain.tflite.plain import plain_bytes

    name = "model.13.cv3.conv"
    data = broken.refiltered(plain_bytes(real.w4, "w4"), f"{name}/weight", lambda codes: -codes)
    first = compared(tmp_path, data, real, Rule(0.0, 3.0)).first
    assert first is not None
    assert first.layer == name


def test_a_range_cut_to_a_tenth_is_named_where_it_is(real: Made, tmp_path: Path) -> None:
    first = compared(tmp_path, broken.rescaled(real.w8, "classes_16", 0.1), real).first
    assert first is not None
    assert first.tensor == "classes_16"
    assert first.mean_shift != 0


def test_the_drop_is_against_the_worst_of_what_a_layer_reads(small: Made, tmp_path: Path) -> None:
    result = compared(tmp_path, small.w8, small)
    by_name = {layer.tensor: layer for layer in result.layers}
    first, joined = by_name["stem"], by_name["joined"]
    assert (first.input_sqnr_db, first.drop_db) == (None, None)  # the picture is exact
    worst = min(by_name["sum"].sqnr_db, by_name["pool"].sqnr_db)  # type: ignore[type-var]
    assert joined.input_sqnr_db == worst
    assert joined.drop_db == max(0.0, worst - joined.sqnr_db)  # type: ignore[operator]


def test_what_is_cut_off_before_silu_is_compared_after_it(small: Made, tmp_path: Path) -> None:
    by_name = {layer.tensor: layer for layer in compared(tmp_path, small.w8, small).layers}
    assert by_name["stem"].reader == "silu"
    assert by_name["stem/silu"].reader == by_name["boxes_2"].reader == "value"


def test_a_rule_of_ones_own_is_kept_to(small: Made, tmp_path: Path) -> None:
    result = compared(tmp_path, small.w8, small, Rule(40.0, 0.0))
    assert result.first is not None
    assert result.first.tensor == "stem/silu"
    assert compared(tmp_path, small.w8, small, Rule(40.0, 90.0)).first is None


def test_a_model_beside_itself_is_exact(small: Made, tmp_path: Path) -> None:
    result = compared(tmp_path, small.float_model.read_bytes(), small)
    assert {layer.sqnr_db for layer in result.layers} == {None}
    assert result.first is None


def test_another_models_float_reference_is_refused(real: Made, small: Made, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="no tensor of the same name"):
        compared(tmp_path, small.w8, real)


def test_a_float_model_that_gives_nan_is_told_by_tensor(small: Made, tmp_path: Path) -> None:
    weights = np.full((4, 1, 1, 3), np.nan, np.float32)
    good = np.ones((4, 1, 1, 3), np.float32)
    (tmp_path / "float.tflite").write_bytes(models.one_convolution(weights, np.ones(4, np.float32)))
    made = small._replace(float_model=tmp_path / "float.tflite")
    with pytest.raises(NotFinite, match=r"float.tflite: tensor conv holds NaN"):
        compared(tmp_path, models.one_convolution(good, np.ones(4, np.float32)), made)


def test_a_reference_of_zeros_gets_the_lowest_number_and_strict_json(
    small: Made, tmp_path: Path
) -> None:
    zeros, ones = np.zeros((4, 1, 1, 3), np.float32), np.ones((4, 1, 1, 3), np.float32)
    (tmp_path / "float.tflite").write_bytes(models.one_convolution(zeros, np.zeros(4, np.float32)))
    made = small._replace(float_model=tmp_path / "float.tflite")
    result = compared(tmp_path, models.one_convolution(ones, np.zeros(4, np.float32)), made)
    assert result.lowest.sqnr_db == LOWEST_DB
    value = json.loads(json.dumps(to_json(result), allow_nan=False))
    assert (value["schema"], value["version"]) == ("halfbyte.verification", 1)
    assert value["first"] == "conv"
