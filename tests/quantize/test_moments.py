"""Second moments against all patches of all pictures, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tests.quantize import models
from tests.quantize.test_replica import noise, parsed
from toolchain.quantize import moments
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.walk import Walk

ALL = 1 << 20
Array = NDArray[np.float64]


def graph_of(**options: int) -> FloatGraph:
    net = models.Net()
    x = net.picture(11, 9)
    return parsed(net.finish(x, net.conv(x, 2, "conv", **options)))


def patches(graph: FloatGraph, operation: Operation, picture: NDArray[np.float32]) -> Array:
    """Every input patch, [positions, taps x channels], by a window over the padded picture."""
    options = operation.options
    taps, stride, dilation = (
        graph.shape(operation.inputs[1])[1], int(options.strideH), int(options.dilationHFactor),
    )  # fmt: skip
    height, width = graph.shape(operation.output)[1:3]
    reach = (taps - 1) * dilation + 1
    total = [
        max((size - 1) * stride + reach - have, 0) if options.padding == schema.Padding.SAME else 0
        for size, have in zip((height, width), picture.shape[1:3], strict=True)
    ]
    around = [(n // 2, n - n // 2) for n in total]
    padded = np.pad(picture[0].astype(np.float64), [*around, (0, 0)])
    return np.array(
        [
            padded[
                y * stride : y * stride + reach : dilation,
                x * stride : x * stride + reach : dilation,
            ].ravel()
            for y in range(height)
            for x in range(width)
        ]
    )


def written_out(rows: Array, weights: Array) -> tuple[Array, Array]:
    """Mean and centred second moments by their definition."""
    share = weights / weights.sum()
    mean = share @ rows
    centred = rows - mean
    return mean, (centred * share[:, None]).T @ centred


def gathered(
    graph: FloatGraph,
    pictures: list[NDArray[np.float32]],
    importance: NDArray[np.float32] | None,
    count: int,
    seed: int = 0,
) -> moments.Moments:
    [operation] = graph.convolutions
    walk = Walk(graph, {}, pictures)
    rng = np.random.default_rng(seed)
    return moments.gather(walk, operation, importance, patches=count, rng=rng)


def test_all_patches_give_the_moments_of_the_definition() -> None:
    for options in (
        {"size": 1},
        {"size": 3},
        {"size": 3, "stride": 2},
        {"size": 2, "stride": 2},
        {"size": 3, "dilation": 2},
        {"size": 3, "stride": 2, "padding": schema.Padding.VALID},
    ):
        graph = graph_of(**options)
        pictures = [noise(graph, seed) for seed in range(3)]
        [operation] = graph.convolutions
        rows = np.concatenate([patches(graph, operation, picture) for picture in pictures])
        mean, covariance = written_out(rows, np.ones(len(rows)))
        found = gathered(graph, pictures, None, ALL)
        np.testing.assert_allclose(found.mean, mean, atol=1e-3)
        np.testing.assert_allclose(found.covariance, covariance, atol=1e-3)


def test_patches_are_in_the_order_of_the_filters_weights() -> None:
    graph = graph_of(size=3)
    [operation] = graph.convolutions
    picture = noise(graph)
    filter_ = graph.constant(operation.inputs[1]).reshape(2, -1).astype(np.float64)
    made = patches(graph, operation, picture) @ filter_.T + graph.bias(operation)
    found = gathered(graph, [picture], None, ALL)
    np.testing.assert_allclose(
        np.cov(made.T, bias=True),
        filter_ @ found.covariance.double().numpy() @ filter_.T,
        rtol=1e-2,
    )
    np.testing.assert_allclose(
        made.mean(axis=0), filter_ @ found.mean.double().numpy() + graph.bias(operation), rtol=1e-2
    )


def weight_of(importance: NDArray[np.float32]) -> Array:
    """What a position counts: its importance, and an even share of its picture's."""
    exact = importance.astype(np.float64)
    return exact + moments.EVEN * exact.mean(axis=(1, 2), keepdims=True)


def test_few_patches_drawn_by_importance_estimate_those_of_all() -> None:
    graph = graph_of(size=3)
    [operation] = graph.convolutions
    pictures = [noise(graph, seed) for seed in range(2)]
    # What matters lies where the picture is bright, so that chance alone would be far off.
    rows = [patches(graph, operation, picture) for picture in pictures]
    importance = np.stack(
        [row.mean(axis=1).reshape(graph.shape(operation.output)[1:3]) ** 8 for row in rows]
    ).astype(np.float32)
    mean, covariance = written_out(np.concatenate(rows), weight_of(importance).ravel())
    plain, _ = written_out(np.concatenate(rows), np.ones(importance.size))
    drawn = [gathered(graph, pictures, importance, 24, seed) for seed in range(200)]
    means = np.stack([one.mean.numpy() for one in drawn])
    error = np.abs(means.mean(axis=0) - mean)
    deviation = means.std(axis=0) / np.sqrt(len(drawn))
    assert (error < 5 * deviation + 2e-3).all()
    assert np.abs(plain - mean).mean() > 5 * error.mean()
    # Of second moments the weighted sum is unbiased; their ratio's bias falls with the draws.
    average = np.mean([one.covariance.numpy() for one in drawn], axis=0)
    assert np.abs(average - covariance).max() < 0.1 * covariance.diagonal().max()


def test_the_weights_of_a_draw_add_up_to_the_importance_on_average() -> None:
    rng = np.random.default_rng(0)
    importance = rng.gamma(0.3, size=(1, 7, 5)).astype(np.float32)
    sums = np.zeros(35)
    for _ in range(4000):
        chosen, weights = moments._chosen(35, importance[0], 6, rng)
        np.add.at(sums, chosen, weights)
    np.testing.assert_allclose(
        sums / 4000, weight_of(importance).ravel(), atol=0.05 * importance.max()
    )


def test_the_place_that_matters_weighs_as_much_as_it_matters() -> None:
    graph = graph_of(size=1)
    picture = noise(graph)
    importance = np.zeros((1, 11, 9), np.float32)
    importance[0, 4, 3] = 1e-20  # squared gradients are as small as they like
    found = gathered(graph, [picture], importance, 20_000)
    share = weight_of(importance).ravel()
    mean, covariance = written_out(picture.reshape(-1, 3).astype(np.float64), share)
    assert share[4 * 9 + 3] / share.sum() > 0.6
    np.testing.assert_allclose(found.mean, mean, atol=0.02)
    np.testing.assert_allclose(found.covariance, covariance, atol=0.02)


def test_a_picture_in_which_nothing_matters_leaves_the_moments_alone() -> None:
    graph = graph_of(size=1)
    pictures = [noise(graph), np.ones((1, 11, 9, 3), np.float32)]
    importance = np.full((2, 11, 9), 1e-6, np.float32)
    importance[1] = 0
    found = gathered(graph, pictures, importance, 512)
    alone = gathered(graph, pictures[:1], importance[:1], 512)
    np.testing.assert_allclose(found.mean, alone.mean, atol=0.05)


@pytest.mark.parametrize("importance", [None, np.zeros((2, 11, 9), np.float32)])
def test_where_nothing_is_known_to_matter_all_patches_are_alike(
    importance: NDArray[np.float32] | None,
) -> None:
    graph = graph_of(size=1)
    pictures = [noise(graph, seed) for seed in range(2)]
    found = gathered(graph, pictures, importance, ALL)
    every = np.concatenate([picture.reshape(-1, 3) for picture in pictures]).astype(np.float64)
    np.testing.assert_allclose(found.mean, every.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(found.covariance, np.cov(every.T, bias=True), atol=1e-3)


def test_a_large_mean_does_not_drown_the_moments_around_it() -> None:
    graph = graph_of(size=1)
    far = [noise(graph, seed) * 1e-2 + 50 for seed in range(3)]
    every = np.concatenate([p.astype(np.float16).reshape(-1, 3) for p in far]).astype(np.float64)
    found = gathered(graph, far, None, ALL)
    np.testing.assert_allclose(found.mean, every.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.covariance, np.cov(every.T, bias=True), atol=1e-5)


def test_energy_is_the_mean_square_of_each_input_channel() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(1, 1, (5000, 12)))
    covariance = torch.cov(rows.T, correction=0)
    found = moments.Moments(covariance, rows.mean(dim=0)).energy(3)
    due = (rows.numpy() ** 2).mean(axis=0).reshape(4, 3).mean(axis=0)
    np.testing.assert_allclose(found, due, rtol=1e-9)


def test_the_same_generator_draws_the_same_patches() -> None:
    graph = graph_of(size=3)
    importance = np.random.default_rng(1).gamma(0.3, size=(1, 11, 9)).astype(np.float32)
    one, other = (gathered(graph, [noise(graph)], importance, 16, seed=7) for _ in range(2))
    assert torch.equal(one.covariance, other.covariance)
    assert torch.equal(one.mean, other.mean)
