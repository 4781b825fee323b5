"""Layer after layer on what those before became: on hand-made detectors, and on real weights."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from targets.agent.frames import letterbox, read_picture
from targets.agent.inputs import pack
from tests.quantize import models
from tests.quantize.conftest import Subject
from tests.quantize.test_replica import parsed
from toolchain.errors import DataError, NotFinite
from toolchain.quantize import Recipe, parse
from toolchain.quantize.coded import expand
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.importance import what_matters
from toolchain.quantize.methods import methods
from toolchain.quantize.nearest import round_to_nearest
from toolchain.quantize.plan import channel_means, choose_ranges, scales_of
from toolchain.quantize.rate import Pace
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.recovery import Settings, floors_of, recover
from toolchain.quantize.replica import Replica
from toolchain.quantize.scales import Scale
from toolchain.quantize.walk import Walk
from toolchain.tflite import metadata
from toolchain.tflite.packed_codecs import stored_bits

Made = dict[int, Recovered]
Pictures = Sequence[NDArray[np.float32]]
W4C, W4C_A8, W8C = parse("w4c"), parse("w4c-a8"), parse("w8c")


def scales_for(subject: Subject, recipe: Recipe) -> dict[int, Scale]:
    if recipe.activation_bits is None:
        return {}
    return scales_of(choose_ranges(subject.graph, subject.calibration, frozenset()))


def recovering(subject: Subject, recipe: Recipe, settings: Settings, **more: Any) -> Made:
    graph, scales = subject.graph, scales_for(subject, recipe)
    arguments = {"sensitivity": subject.sensitivity, "settings": settings} | more
    pictures = arguments.pop("pictures", subject.pictures)
    floors = dict(floors_of(graph, scales))
    return recover(graph, scales, pictures, methods(graph, recipe), floors, **arguments)


def nearest(subject: Subject, recipe: Recipe) -> Made:
    graph = subject.graph
    return round_to_nearest(
        graph,
        methods(graph, recipe),
        channel_means(graph, subject.calibration),
        dict(floors_of(graph, scales_for(subject, recipe))),
    )


def with_filters(graph: FloatGraph, scales: dict[int, Scale], made: Made) -> Replica:
    replica = Replica(graph, scales)
    for operation in graph.convolutions:
        replica.set_filter(operation, made[operation.index].weights)
        replica.set_bias(operation, made[operation.index].bias)
    return replica


def loss(graph: FloatGraph, replica: Replica, pictures: Pictures) -> float:
    """Squared error of what matters (scores and weighted boxes), against the float model."""
    facts = metadata.extract(graph.model)
    head = facts.head if facts else None

    def vector(runner: Replica, picture: NDArray[np.float32]) -> torch.Tensor:
        made = runner.run(picture)
        names = graph.output_names()
        outputs = {name: value for tensor, value in made.items() for name in names[tensor]}
        return torch.cat([part.flatten() for part in what_matters(outputs, head)])

    exact = Replica(graph)
    return sum(float(((vector(replica, p) - vector(exact, p)) ** 2).sum()) for p in pictures)


def held_out(count: int = 12) -> Pictures:
    return [pixels[np.newaxis] / np.float32(255) for pixels in models.pixels(count, seed=900)]


@pytest.mark.parametrize("recipe", [W4C, W4C_A8, parse("w4g32")], ids=str)
def test_on_other_pictures_it_comes_nearer_to_the_float_model(
    wide: Subject, recipe: Recipe
) -> None:
    graph, scales = wide.graph, scales_for(wide, recipe)
    lost = [
        loss(graph, with_filters(graph, scales, made), held_out())
        for made in (nearest(wide, recipe), recovering(wide, recipe, Settings(patches=64)))
    ]
    assert lost[1] < 0.8 * lost[0]


def test_the_error_that_is_left_of_each_layer_is_told(wide: Subject) -> None:
    made = recovering(wide, W4C_A8, Settings(patches=64))
    left = [one.left for one in made.values()]
    assert all(share is not None and 0 < share <= 1 for share in left)
    plain = recovering(wide, W4C_A8, Settings(second_order=False, patches=64))
    assert {one.left for one in plain.values()} == {None}


def test_correcting_the_bias_removes_the_mean_shift_of_every_channel(small: Subject) -> None:
    """On the pictures it is taken from, at all positions, with inputs as they became."""
    every = Settings(second_order=False, patches=1 << 20)
    for corrected in (True, False):
        settings = dataclasses.replace(every, correct_bias=corrected)
        made = recovering(small, W4C, settings, sensitivity=None)
        shifts = mean_shifts(small, made)
        assert len(shifts) == 9
        worst = max(np.abs(shift).max() for shift in shifts.values())
        assert worst < 2e-3 if corrected else worst > 0.05


def mean_shifts(subject: Subject, made: Made) -> dict[int, NDArray[np.float64]]:
    """How far each convolution is off on average, given the inputs that it gets."""
    graph = subject.graph
    exact, walk = Replica(graph), Walk(graph, {}, subject.pictures)
    found = {}
    for operation in graph.operations:
        if operation.kind == "CONV_2D":
            one = made[operation.index]
            walk.replica.set_filter(operation, one.weights)
            walk.replica.set_bias(operation, one.bias)
            off = [
                walk.replica.convolve(operation, x) - exact.convolve(operation, x)
                for x in (walk.value(i, operation.data[0]) for i in range(len(walk)))
            ]
            found[operation.index] = torch.cat(off).double().mean(dim=(0, 2, 3)).numpy()
        walk.pass_by(operation)
    return found


def test_without_second_order_filters_are_rounded_to_nearest(small: Subject) -> None:
    settings = Settings(second_order=False, patches=64)
    made, plain = recovering(small, W8C, settings), nearest(small, W8C)
    for index, one in made.items():
        np.testing.assert_array_equal(one.weights, plain[index].weights)


def test_layers_make_up_for_what_those_before_them_lost(tmp_path: Any) -> None:
    """The second layer sees the first one's rounded outputs, not the float model's."""
    from tests.quantize.conftest import known

    net = models.Net()
    x = net.picture()
    first = net.conv(x, 8, "first", size=3, activation=1)
    model = net.finish(x, net.conv(net.conv(first, 8, "middle"), 4, "last"))
    subject = known(model, tmp_path)
    graph = parsed(model)
    middle = graph.convolutions[1]
    coarse = {
        op.index: dataclasses.replace(method, scheme="uniform", bits=2, search="weighted")
        for op, method in zip(graph.convolutions, methods(graph, W8C).values(), strict=True)
    }
    settings = Settings(patches=1 << 20)
    floors = dict(floors_of(graph, {}))
    made = recover(graph, {}, subject.pictures, coarse, floors, settings=settings)
    walk = Walk(graph, {}, subject.pictures)
    walk.replica.set_filter(graph.convolutions[0], made[graph.convolutions[0].index].weights)
    walk.replica.set_bias(graph.convolutions[0], made[graph.convolutions[0].index].bias)
    walk.pass_by(graph.convolutions[0])
    seen = torch.cat([walk.value(i, middle.data[0]) for i in range(len(walk))]).mean(dim=(0, 2, 3))
    exact = graph.constant(middle.inputs[1])[:, 0, 0]
    rounded = made[middle.index]
    due = graph.bias(middle) - (rounded.weights[:, 0, 0] - exact) @ seen.numpy()
    np.testing.assert_allclose(rounded.bias, due, atol=2e-3)


@pytest.mark.parametrize("recipe", [W4C, W4C_A8], ids=str)
def test_the_same_pictures_give_the_same_filters(small: Subject, recipe: Recipe) -> None:
    one, same = (recovering(small, recipe, Settings(patches=32)) for _ in range(2))
    other = recovering(small, recipe, Settings(patches=32, seed=1))
    for index, made in one.items():
        np.testing.assert_array_equal(made.weights, same[index].weights)
        np.testing.assert_array_equal(made.bias, same[index].bias)
    assert any((one[index].weights != other[index].weights).any() for index in one)


def test_the_price_of_bits_makes_filters_smaller(wide: Subject) -> None:
    recipe = parse("w3e")
    bits = []
    for rate in (0.0, 1.0):
        pace = Fixed(Pace(wide.graph, wide.sensitivity, 3.0, stored_bits))
        made = recovering(wide, recipe, Settings(patches=64, rate=rate), pace=pace)
        bits.append(sum(stored_bits(one.coded) for one in made.values() if one.coded))
        assert all(np.unique(expand(one.coded)).size > 2 for one in made.values() if one.coded)
    assert bits[1] < 0.99 * bits[0]


class Fixed:
    """The steps that a pace begins with, whatever layers take."""

    def __init__(self, pace: Pace) -> None:
        self.steps = pace.steps

    def spent(self, index: int, coded: Any) -> bool:
        return True


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("recipe", [W8C, W4C_A8], ids=str)
def test_a_picture_that_is_not_finite_is_refused(
    small: Subject, bad: float, recipe: Recipe
) -> None:
    pictures = [picture.copy() for picture in small.pictures]
    pictures[3][0, 5, 5, 1] = bad
    with pytest.raises(NotFinite, match="picture 3 holds NaN or infinity"):
        recovering(small, recipe, Settings(), pictures=pictures)


def test_pictures_of_another_number_or_size_are_refused(small: Subject) -> None:
    with pytest.raises(DataError, match="3 pictures, and a sensitivity of 8"):
        recovering(small, W8C, Settings(), pictures=small.pictures[:3])
    with pytest.raises(DataError, match=r"picture 0 has shape \[1, 16, 32, 3\]"):
        recovering(small, W8C, Settings(), pictures=[p[:, :16] for p in small.pictures])


def test_inputs_beyond_half_precision_are_refused_with_their_layer(small: Subject) -> None:
    pictures = [picture * np.float32(1e6) for picture in small.pictures]
    with pytest.raises(NotFinite, match="layer stem: its inputs are beyond half") as refused:
        recovering(small, W8C, Settings(), pictures=pictures)
    assert "--recovery none" in refused.value.hint


@pytest.mark.parametrize("factor", [1.0, 1e6], ids=["done", "refused"])
def test_the_precision_of_products_is_afterwards_as_others_set_it(
    small: Subject, factor: float
) -> None:
    pictures = [picture * np.float32(factor) for picture in small.pictures]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with contextlib.suppress(NotFinite):
            recovering(small, W8C, Settings(patches=32), pictures=pictures)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_model_that_only_ever_sees_black_is_recovered(small: Subject) -> None:
    black = [np.zeros_like(picture) for picture in small.pictures]
    made = recovering(small, W4C_A8, Settings(patches=32), pictures=black)
    assert all(np.isfinite(one.weights).all() for one in made.values())
    assert all(np.isfinite(one.bias).all() for one in made.values())


@pytest.fixture(scope="module")
def real() -> tuple[Subject, Pictures]:
    """YOLOv5s at 96x128, its calibration pictures, and five photos that it is scored on."""
    from toolchain import calibrationset, demo, making
    from toolchain.evaluate.pictures import find_pictures

    data = demo.material()
    source = making.read_weights("yolov5s-seg")
    made = making.make_float(source, (96, 128))
    pictures = calibrationset.find_calibration(data.calibration)
    sensitivity = making.make_sensitivity(made, pictures)

    def read(paths: Any) -> tuple[NDArray[np.float32], ...]:
        return tuple(pack(letterbox(read_picture(p), (96, 128)).pixels, "float32") for p in paths)

    subject = Subject(
        made.tflite.read_bytes(),
        making.make_calibration(made, pictures),
        sensitivity,
        read(pictures.paths),
    )
    return subject, read(find_pictures(data.images))


def test_real_weights_at_4_bits_come_nearer_on_photos_that_it_did_not_see(
    real: tuple[Subject, Pictures],
) -> None:
    subject, photos = real
    graph, scales = subject.graph, scales_for(subject, W4C_A8)
    settings = Settings(patches=64)
    plain, recovered = nearest(subject, W4C_A8), recovering(subject, W4C_A8, settings)
    lost = [loss(graph, with_filters(graph, scales, made), photos) for made in (plain, recovered)]
    assert lost[1] < 0.85 * lost[0]
