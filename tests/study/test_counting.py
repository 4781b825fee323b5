"""Bits and proxies, on the real filters of YOLOv5s."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from toolchain import calibrationset
from toolchain.calibrationset import Pictures
from toolchain.quantize import Options, device, parse, quantize
from toolchain.quantize.granularity import Channel, Group, Layer, Network
from toolchain.quantize.recovered import Recovered
from toolchain.study import filters as making
from toolchain.study import models
from toolchain.study.cell import Cell, Combined
from toolchain.study.filters import filters, methods_of
from toolchain.study.float_moments import LayerMoments
from toolchain.study.made import Made, count
from toolchain.study.material import Material, Opened
from toolchain.study.proxy import layer_error
from toolchain.tflite import flatbuffer


def made(source: Opened, cell: Cell) -> Made:
    groups = models.ranges(source, cell)
    found = filters(source, cell, groups)
    return count(source, found, models.build(source, cell, groups, found).packed_bytes)


def totals(source: Opened) -> tuple[int, int, int]:
    """Weights, output channels, layers."""
    shapes = [source.graph.shape(op.inputs[1]) for op in source.graph.convolutions]
    return sum(int(np.prod(s)) for s in shapes), sum(s[0] for s in shapes), len(shapes)


def test_uniform_channels_take_their_codes_a_scale_and_a_bias_each(source: Opened) -> None:
    weights, channels, _ = totals(source)
    found = made(source, Cell("uniform", 4, Channel()))
    expected = (4 * weights + (32 + 32) * channels) / source.facts.parameters
    assert found.bits_per_weight == pytest.approx(expected, rel=1e-12)
    assert found.file_bytes is not None
    assert found.file_bits_per_weight == 8 * found.file_bytes / source.facts.parameters


def test_piecewise_linear_takes_one_bit_more_than_it_says_and_has_no_file(source: Opened) -> None:
    weights, channels, layers = totals(source)
    found = made(source, Cell("piecewise", 4, Layer()))
    expected = (5 * weights + 64 * layers + 32 * channels) / source.facts.parameters
    assert found.bits_per_weight == pytest.approx(expected, rel=1e-12)
    assert found.file_bits_per_weight is None


def test_groups_pay_for_each_of_their_scales(source: Opened) -> None:
    shapes = [source.graph.shape(op.inputs[1]) for op in source.graph.convolutions]
    groups = sum(s[0] * -(-int(np.prod(s[1:])) // 64) for s in shapes)
    weights, channels, _ = totals(source)
    found = made(source, Cell("uniform", 4, Group(64)))
    expected = (4 * weights + 32 * groups + 32 * channels) / source.facts.parameters
    assert found.bits_per_weight == pytest.approx(expected, rel=1e-12)


def test_entropy_coded_channels_take_what_was_asked_and_the_file_a_little_more(
    source: Opened,
) -> None:
    weights, channels, _ = totals(source)
    found = made(source, Cell("entropy", 4.0, Channel()))
    codes = found.bits_per_weight * found.parameters - 64 * channels
    assert codes / weights == pytest.approx(4.0, abs=0.02)
    assert found.file_bits_per_weight is not None
    assert found.bits_per_weight < found.file_bits_per_weight < found.bits_per_weight + 0.15


@pytest.mark.parametrize(
    "cell",
    [
        Cell("grouped", 4, Group(32), spare_ends=True),
        Cell("uniform", 8, Channel(), "min-max", activations="int8"),
    ],
    ids=lambda cell: cell.name,
)
def test_a_whole_file_holds_more_than_codes_side_data_and_biases(
    source: Opened, cell: Cell
) -> None:
    found = made(source, cell)
    assert found.file_bits_per_weight is not None
    assert found.file_bits_per_weight > found.bits_per_weight


def test_granularities_combined_spend_what_they_are_given_and_beat_channels(
    source: Opened,
) -> None:
    mixed = made(source, Cell("uniform", 4, Combined(0.2)))
    assert 4.19 < mixed.bits_per_weight <= 4.2
    assert len({layer.method for layer in mixed.layers}) > 1
    assert mixed.proxy < made(source, Cell("uniform", 4, Channel())).proxy


def test_a_network_shares_one_scale(source: Opened) -> None:
    found = filters(source, Cell("uniform", 4, Network()), ())
    steps = {float(np.float32(one.scale).max()) for one in found.values() if one.scale is not None}
    assert len(steps) == 1
    assert len(found) == len(source.graph.convolutions)


def test_a_network_shares_one_codebook(source: Opened) -> None:
    found = filters(source, Cell("codebook", 4, Network()), ())
    levels = {one.coded.levels.tobytes() for one in found.values()}  # type: ignore[union-attr]
    assert len(levels) == 1


def test_spared_ends_are_the_heads_and_the_first_two(source: Opened) -> None:
    found = methods_of(source, Cell("uniform", 4, Channel(), spare_ends=True))
    spared = {index for index, method in found.items() if method.bits == 8}
    convolutions = source.graph.convolutions
    heads = {op.index for op in convolutions if op.output in source.graph.outputs}
    assert spared == heads | {op.index for op in convolutions[:2]}


def test_the_proxy_falls_with_every_bit(source: Opened) -> None:
    proxies = [made(source, Cell("uniform", bits, Channel())).proxy for bits in (3, 4, 6, 8)]
    assert proxies == sorted(proxies, reverse=True)
    assert proxies[0] > 100 * proxies[-1] > 0


def test_a_layers_proxy_is_the_squared_error_at_its_output_by_gradient() -> None:
    random = np.random.default_rng(3)
    patches = random.normal(0.5, 1, (200, 12)).astype(np.float32)
    gradients = random.random(200).astype(np.float32)  # squared, the same for all channels
    exact, stored = random.normal(0, 1, (2, 4, 2, 2, 3)).astype(np.float32)
    mean = gradients @ patches / gradients.sum()
    centred = patches - mean
    covariance = (centred * gradients[:, None]).T @ centred / gradients.sum()
    energy = np.full(4, float(gradients @ np.square(patches).sum(axis=1)))
    errors = centred @ (exact - stored).reshape(4, -1).T
    expected = float((gradients[:, None] * errors**2).sum())
    found = layer_error(exact, stored, LayerMoments(covariance, mean), energy)
    assert found == pytest.approx(expected, rel=1e-4)
    assert layer_error(exact, exact, LayerMoments(covariance, mean), energy) == 0


def test_what_an_int8_cell_runs_is_what_the_quantizer_makes(source: Opened) -> None:
    """The same ranges, the same float box outputs: a figure of the study is one of a model."""
    cell = Cell("uniform", 8, Channel(), "min-max", activations="int8")
    groups = models.ranges(source, cell)
    ours = models.build(source, cell, groups, filters(source, cell, groups)).runs
    theirs = quantize(
        source.material.float_model.tflite.read_bytes(),
        source.calibration,
        parse("w8c-a8"),
        sensitivity=source.sensitivity,
        options=Options(recovery=None),
    ).model
    assert parts(ours) == parts(theirs)


def parts(model: bytes) -> list[tuple[bytes, str, list[float], bytes]]:
    """Tensors of a model: name, type, scales, content; all but what its metadata say."""
    parsed = flatbuffer.parse(model)
    (subgraph,) = parsed.subgraphs
    found = []
    for tensor in subgraph.tensors:
        scales = None if tensor.quantization is None else tensor.quantization.scale
        data = parsed.buffers[tensor.buffer].data
        found.append(
            (
                bytes(tensor.name),
                str(tensor.type),
                [] if scales is None else [float(scale) for scale in scales],
                b"" if data is None else bytes(data),
            )
        )
    return sorted(found)


def test_pictures_of_one_name_in_two_folders_are_two_pictures(
    material: Material, pictures: Pictures, tmp_path: Path
) -> None:
    paths = []
    for number, path in enumerate(pictures.paths[:2]):
        paths.append(tmp_path / str(number) / "picture.jpg")
        paths[-1].parent.mkdir()
        paths[-1].write_bytes(path.read_bytes())
    again = calibrationset.find_calibration(tmp_path, limit=2)
    assert [path.name for path in again.paths] == ["picture.jpg"] * 2
    first, second = Opened(dataclasses.replace(material, pictures=again)).seen()
    assert not np.array_equal(first, second)


def test_recovery_goes_to_a_gpu_where_there_is_one(
    source: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made there is the quantizer's own to test; here only whether it is asked to."""
    asked = []

    def recover(*_: object, device: str, **__: object) -> dict[int, Recovered]:
        asked.append(device)
        return {}

    monkeypatch.setattr(making, "recover", recover)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for where in ("cuda", "cpu"):
        monkeypatch.setenv(device.VARIABLE, where)
        making.filters(source, Cell("uniform", 4, Channel(), recovery="gptq"), ())
    assert asked == ["cuda", "cpu"]
