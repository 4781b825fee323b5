"""Sensitivities where they can be written down, or measured by disturbing the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from tests.quantize import models
from tests.quantize.conftest import Subject, known
from tests.quantize.test_moments import patches
from tests.quantize.test_replica import parsed
from toolchain.errors import EmptyCalibration, NotFinite, UnsupportedModel
from toolchain.quantize import gradients
from toolchain.quantize.histogram import centres, place
from toolchain.quantize.replica import Replica


def written(model: bytes, folder: Path) -> Path:
    path = folder / "float.tflite"
    path.write_bytes(model)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 1},
        {"stride": 2},
        {"stride": 2, "padding": schema.Padding.VALID},
        {"dilation": 2},
    ],
)
def test_the_energy_of_one_convolution_is_the_sum_of_its_squared_inputs(
    options: dict[str, int], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    subject = known(models.one_convolution(weights, np.zeros(4, np.float32), **options), tmp_path)
    graph = subject.graph
    [operation] = graph.convolutions
    found = subject.sensitivity.layers["conv"]
    # Outputs are what matters, so g^2 = 1 everywhere and energy is sum_p sum_k x[p, k]^2.
    due = np.mean([(patches(graph, operation, p) ** 2).sum() for p in subject.pictures])
    np.testing.assert_allclose(found.energy, np.full(4, due), rtol=1e-4)
    assert found.positions.shape == (8, *graph.shape(operation.output)[1:3])
    np.testing.assert_allclose(found.positions, 4, rtol=1e-4)


def test_what_reads_an_output_scales_its_energy(tmp_path: Path) -> None:
    net = models.Net()
    x = net.picture()
    first = net.conv(x, 2, "first")
    gains = np.array([[3.0, 0.0]], np.float32).reshape(1, 1, 1, 2)
    last = net.conv(first, 1, "last", weights=gains, bias=np.zeros(1, np.float32))
    subject = known(net.finish(x, last), tmp_path)
    squares = np.mean([(picture**2).sum() for picture in subject.pictures])
    np.testing.assert_allclose(
        subject.sensitivity.layers["first"].energy, [9 * squares, 0.0], rtol=1e-4
    )


def test_energy_foretells_what_noise_in_weights_does_to_the_outputs(tmp_path: Path) -> None:
    """Each channel's weights are disturbed in turn; behind a 1x1 layer first order is exact."""
    net = models.Net()
    x = net.picture(16, 16)
    first = net.conv(x, 3, "first", size=3)
    second = net.conv(first, 4, "second")
    subject = known(net.finish(x, second), tmp_path)
    graph, energy = subject.graph, subject.sensitivity.layers["first"].energy
    operation = graph.convolutions[0]
    exact = graph.constant(operation.inputs[1])
    random = np.random.default_rng(0)
    plain, disturbed = Replica(graph), Replica(graph)
    for channel in range(3):
        made = []
        for _ in range(40):
            noisy = exact.copy()
            noisy[channel] += random.normal(size=exact.shape[1:]).astype(np.float32)
            disturbed.set_filter(operation, noisy)
            for picture in subject.pictures[:3]:
                before, after = (replica.run(picture) for replica in (plain, disturbed))
                made.append(sum(float(((after[t] - before[t]) ** 2).sum()) for t in before))
        assert np.mean(made) == pytest.approx(energy[channel], rel=0.3)


@pytest.mark.parametrize("kernel", ["random", "positive"])
def test_energy_holds_for_errors_that_are_independent_from_position_to_position(
    kernel: str, tmp_path: Path
) -> None:
    """Behind a 3x3 layer.  Errors in weights, which all positions share, cost something else."""
    weights = np.random.default_rng(1).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    net = models.Net()
    x = net.picture(16, 16)
    first = net.conv(x, 3, "first", size=3)
    given = np.abs(weights) if kernel == "positive" else weights
    second = net.conv(first, 4, "second", size=3, weights=given)
    subject = known(net.finish(x, second), tmp_path)
    graph, energy = subject.graph, subject.sensitivity.layers["first"].energy
    before, after = graph.convolutions
    # All is linear: an error of the first layer becomes what the second, without bias, makes of it.
    replica, random = Replica(graph), torch.Generator().manual_seed(0)
    replica.set_bias(after, np.zeros(4, np.float32))
    independent, shared = np.zeros((2, 3))
    for picture in subject.pictures:
        rows = torch.from_numpy(patches(graph, before, picture).astype(np.float32))
        spread = (rows**2).sum(dim=1).sqrt()
        for _ in range(20):
            alone = spread * torch.randn(3, len(rows), generator=random)
            together = torch.randn(3, rows.shape[1], generator=random) @ rows.T
            for found, errors in ((independent, alone), (shared, together)):
                for channel in range(3):
                    error = torch.zeros(1, 3, 16, 16)
                    error[0, channel] = errors[channel].reshape(16, 16)
                    found[channel] += float((replica.convolve(after, error) ** 2).sum())
    tries = 20 * len(subject.pictures)
    np.testing.assert_allclose(independent / tries, energy, rtol=0.15)
    times = shared / tries / energy
    assert (times > 4 if kernel == "positive" else np.abs(times - 1) > 0.2).all()


def test_counts_are_values_weighed_by_the_squared_gradient(tmp_path: Path) -> None:
    weights = np.array([2.0, 0.0, -1.0], np.float32).reshape(1, 1, 1, 3)
    subject = known(models.one_convolution(weights, np.ones(1, np.float32)), tmp_path)
    counts = subject.sensitivity.counts
    values = np.concatenate([picture.ravel() for picture in subject.pictures])
    gradient = np.tile([4.0, 0.0, 1.0], values.size // 3)
    due = np.bincount(place(values), weights=gradient, minlength=len(counts["images"])) / 8
    np.testing.assert_allclose(counts["images"], due, rtol=1e-4, atol=1e-6)
    assert counts["conv"].sum() == pytest.approx(models.SIDE**2)


def test_before_silu_an_error_counts_where_it_comes_out(tmp_path: Path) -> None:
    net = models.Net()
    x = net.picture()
    bias = np.array([-30.0, 30.0], np.float32)
    silu = net.silu(net.conv(x, 2, "conv", bias=bias), "silu")
    subject = known(net.finish(x, silu), tmp_path)
    counts, values = subject.sensitivity.counts["conv"], centres()
    # Half of the values lie at -30, where SiLU is 0 whatever they are; they count all the same,
    # since the range's own error (`ranges`, reader "silu") knows what SiLU makes of them.
    assert counts[values < 0].sum() == pytest.approx(counts[values > 0].sum(), rel=1e-3)


def test_the_same_pictures_and_seed_give_the_same(small: Subject, tmp_path: Path) -> None:
    path = written(small.float_bytes, tmp_path)
    pictures = models.pictures(tmp_path / "pictures", 2)
    one, same = (gradients.measure(path, pictures, seed=1) for _ in range(2))
    other = gradients.measure(path, pictures, seed=2)
    for name, layer in one.layers.items():
        np.testing.assert_array_equal(layer.energy, same.layers[name].energy)
        np.testing.assert_array_equal(layer.positions, same.layers[name].positions)
    assert (one.layers["inner"].energy != other.layers["inner"].energy).any()


def test_every_layer_and_tensor_is_there_and_felt(small: Subject) -> None:
    found, graph = small.sensitivity, small.graph
    assert found.layers.keys() == set(graph.layer_names().values())
    assert found.counts.keys() == small.calibration.tensors.keys()
    assert found.model_sha256 == models.sha256(small.float_bytes)
    assert all((layer.energy >= 0).all() for layer in found.layers.values())
    assert all(layer.energy.any() for layer in found.layers.values())
    assert all(counts.any() for counts in found.counts.values())


def test_unreadable_pictures_are_left_out(small: Subject, tmp_path: Path) -> None:
    path = written(small.float_bytes, tmp_path)
    good = models.pictures(tmp_path / "pictures", 2)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 and nothing more")
    mixed = gradients.measure(path, [tmp_path / "bad.jpg", *good])
    clean = gradients.measure(path, good)
    assert mixed.images == clean.images == ("00.png", "01.png")
    np.testing.assert_array_equal(mixed.layers["stem"].energy, clean.layers["stem"].energy)


def test_no_pictures_are_refused(small: Subject, tmp_path: Path) -> None:
    with pytest.raises(EmptyCalibration):
        gradients.measure(written(small.float_bytes, tmp_path), [])


def test_outputs_that_are_not_finite_name_the_picture(tmp_path: Path) -> None:
    huge = np.full((2, 1, 1, 3), 3e38, np.float32)
    path = written(models.one_convolution(huge, np.zeros(2, np.float32)), tmp_path)
    with pytest.raises(NotFinite, match=r"00\.png makes outputs that are not finite"):
        gradients.measure(path, models.pictures(tmp_path / "pictures", 1))
    assert torch.tensor([1e-40]) * 1 != 0  # denormal numbers are as they were for others


def test_a_weight_that_is_not_finite_is_refused_with_its_layer(tmp_path: Path) -> None:
    weights = np.ones((2, 1, 1, 3), np.float32)
    weights[1, 0, 0, 0] = np.nan
    path = written(models.one_convolution(weights, np.zeros(2, np.float32)), tmp_path)
    with pytest.raises(NotFinite, match=r"layer conv: 1 weights .* channel 1"):
        gradients.measure(path, models.pictures(tmp_path / "pictures", 1))


def test_a_model_that_takes_no_picture_is_refused(tmp_path: Path) -> None:
    net = models.Net()
    x = net._tensor("vector", (4, 4, 7))
    path = written(net.finish(x, net.conv(x, 2, "conv")), tmp_path)
    with pytest.raises(UnsupportedModel, match=r"\[1, 4, 4, 7\]"):
        gradients.measure(path, models.pictures(tmp_path / "pictures", 1))


def test_a_picture_of_one_colour_is_measured_too(small: Subject, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "black.png")
    found = gradients.measure(written(small.float_bytes, tmp_path), [tmp_path / "black.png"])
    assert not found.layers["stem"].energy.any()  # its inputs are all 0
    assert found.layers["boxes_2"].energy.any()
    assert parsed(small.float_bytes).imgsz == (models.SIDE, models.SIDE)
