"""Factors between layers: by how much channels move, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from targets.agent.frames import letterbox, read_picture
from tests.places import shared_coco
from tests.quantize import models
from tests.quantize.conftest import calibrated
from tests.quantize.uneven import graph_of, tiny
from toolchain.quantize import W4E_A8, W8C_A8, Options, quantize
from toolchain.quantize.channels import trace
from toolchain.quantize.equalize import (
    MARGIN,
    MOST,
    Equalized,
    best_of,
    candidates,
    equalize,
    is_possible,
    towards,
)
from toolchain.quantize.rescale import SPARE, rescaled, room
from toolchain.tflite import flatbuffer
from toolchain.tflite.elements import INT32

sizes = arrays(np.float64, 12, elements=st.floats(0, 1e4))


@given(sizes, st.floats(1e-3, 1e4), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_channels_come_up_to_the_size_wanted_and_never_above(
    size: NDArray[np.float64], wanted: float, strength: float
) -> None:
    alive = size > 1e-9
    octaves = towards(np.where(alive, size, 0.0), wanted, strength)
    assert not octaves[~alive].any()
    if strength == 1:
        moved = np.ldexp(size, octaves)[alive]
        assert (moved <= wanted * (1 + 1e-6)).all()
        assert (moved > wanted / 2 * (1 - 1e-6)).all()
    distance = np.log2(wanted / size[alive])
    assert (np.abs(octaves[alive]) <= np.abs(strength * distance) + 1).all()


@given(sizes, arrays(np.int64, 12, elements=st.integers(0, 12)))
def test_candidates_keep_to_the_room_that_there_is(
    size: NDArray[np.float64], most: NDArray[np.int64]
) -> None:
    tried = list(candidates([(size, 0.0)], (-most // 2, most), np.arange(12)))
    for octaves in tried:
        assert octaves.any()
        assert (octaves <= np.minimum(most, MOST)).all()
        assert (octaves >= -most // 2).all()
    assert len({octaves.tobytes() for octaves in tried}) == len(tried)


def test_the_quietest_candidate_is_taken_and_only_where_it_is_worth_it() -> None:
    tried = [np.array([n, 0]) for n in (1, 2, 3)]
    noise = {0: 1.0, 1: 0.8, 2: 0.4, 3: 0.6}
    found = best_of(iter(tried), lambda octaves: noise[int(octaves[0])], np.array([5, 9]))
    assert found is not None
    assert (found.octaves, found.before, found.after) == ({5: 2}, 1.0, 0.4)
    little = {0: 1.0, 1: 1.1, 2: MARGIN + 0.01, 3: 2.0}
    assert best_of(iter(tried), lambda o: little[int(o[0])], np.array([5, 9])) is None


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("spread")
    (folder / "float.tflite").write_bytes(tiny(2))
    return folder / "float.tflite", models.pictures(folder / "pictures", 6)


@pytest.fixture(scope="module")
def equalized(spread: tuple[Path, list[Path]]) -> Equalized:
    found = equalize(*spread, W8C_A8)
    assert found is not None
    return found


def same_bits(one: bytes, other: bytes, pictures: Any) -> None:
    first, second = models.Runner(one), models.Runner(other)
    for picture in pictures:
        wanted, found = first.real(picture), second.real(picture)
        assert wanted.keys() == found.keys()
        for name, values in wanted.items():
            assert np.isfinite(values).all()
            assert values.tobytes() == found[name].tobytes(), name


def test_the_float_outputs_are_the_same_bits(
    spread: tuple[Path, list[Path]], equalized: Equalized
) -> None:
    assert equalized.model != spread[0].read_bytes()
    same_bits(spread[0].read_bytes(), equalized.model, models.pixels(4))


def test_the_float_outputs_are_the_same_bits_on_real_pictures(tmp_path: Path) -> None:
    photos = sorted((shared_coco() / "calib" / "images").iterdir())[:4]
    path = tmp_path / "float.tflite"
    path.write_bytes(tiny(1.5, side=160))
    found = equalize(path, photos[:2], W4E_A8)
    assert found is not None
    pixels = [letterbox(read_picture(photo), (160, 160)).pixels for photo in photos]
    same_bits(path.read_bytes(), found.model, pixels)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_move_within_the_room_is_exact(data: st.DataObject) -> None:
    """Also with weights that are denormal, or so large that they have no room at all."""
    scale = data.draw(st.sampled_from([1e-41, 1e-37, 1.0, 1e30]))
    net = models.Net(data.draw(st.integers(0, 99)))
    x = net.picture(8, 8)
    weights = net.random.normal(0, 1, (4, 1, 1, 3)).astype(np.float32)
    weights[0] *= np.float32(scale)
    y = net.leaky(net.conv(x, 4, "first", weights=weights), "leaky")
    model = net.finish(x, net.conv(y, 3, "second", size=3))
    graph = graph_of(model)
    channels = trace(graph)
    least, most = room(graph, channels)
    assert (least <= 0).all()
    assert (most >= 0).all()
    octaves = np.zeros(len(channels.free), np.int64)
    for origin in np.flatnonzero(channels.free):
        low, high = max(int(least[origin]), -SPARE), min(int(most[origin]), SPARE)
        octaves[origin] = data.draw(st.integers(low, high))
    moved = flatbuffer.serialize(rescaled(graph, channels, octaves))
    was, now = models.constants(model), models.constants(moved)
    own, read = octaves[:4, None, None, None].astype(np.int32), octaves[:4].astype(np.int32)
    for found, by, name in (
        (now["first/weights"], -own, "first/weights"),
        (now["second/weights"], read, "second/weights"),
        (now["first/bias"], -read, "first/bias"),
    ):
        assert np.isfinite(found).all()
        assert np.ldexp(found, by).tobytes() == was[name].tobytes()
    if scale == 1.0:
        same_bits(model, moved, models.pixels(1, side=8))


def test_int8_outputs_come_nearer_to_the_float_ones(
    spread: tuple[Path, list[Path]], equalized: Equalized, tmp_path: Path
) -> None:
    exact = models.Runner(spread[0].read_bytes())
    wanted = [exact.real(picture) for picture in models.pixels(6)]
    noise = []
    for place, model in (("as-it-was", spread[0].read_bytes()), ("equalized", equalized.model)):
        (tmp_path / place).mkdir()
        made = quantize(model, calibrated(model, tmp_path / place), W8C_A8)
        found = models.Runner(made.model)
        errors = [
            float(((found.real(picture)[name] - values) ** 2).sum()) / float((values**2).sum())
            for picture, outputs in zip(models.pixels(6), wanted, strict=True)
            for name, values in outputs.items()
        ]
        noise.append(float(np.mean(errors)))
    assert noise[1] < noise[0] / 4


def test_the_record_tells_layers_and_octaves(equalized: Equalized) -> None:
    told = {layer: own for unit in equalized.units for layer, own in unit["octaves"].items()}
    assert {len(told["first"]), len(told["third"])} == {8}
    assert all(unit["noise_after"] < MARGIN * unit["noise_before"] for unit in equalized.units)
    joined = next(unit for unit in equalized.units if "first/leaky" in unit["tensors"])
    assert {"second/leaky", "third/leaky", "fourth/leaky"} <= set(joined["tensors"])


def test_what_was_moved_is_called_otherwise_and_layers_keep_their_names(
    spread: tuple[Path, list[Path]], equalized: Equalized
) -> None:
    before, after = graph_of(spread[0].read_bytes()), graph_of(equalized.model)
    assert after.layer_names() == before.layer_names()
    moved = {layer for unit in equalized.units for layer in unit["octaves"]}
    names = {after.name(op.output): after.layer(op) for op in after.convolutions}
    assert {layer for name, layer in names.items() if name.endswith("/equalized")} == moved


def test_channels_of_even_size_are_left_as_they_are(tmp_path: Path) -> None:
    """One picture of noise through filters that differ in nothing but their signs."""
    net = models.Net()
    x = net.picture()
    signs = np.where(net.random.random((8, 3, 3, 8)) < 0.5, -1, 1).astype(np.float32) / 9
    y = net.conv(x, 8, "first", size=3, weights=signs[..., :3], bias=np.zeros(8, np.float32))
    y = net.conv(net.leaky(y, "leaky"), 8, "second", size=3, weights=signs)
    path = tmp_path / "even.tflite"
    path.write_bytes(net.finish(x, y))
    assert is_possible(path)
    assert equalize(path, models.pictures(tmp_path / "pictures", 3), W8C_A8, Options()) is None


def test_slices_of_channels_beside_others_are_passed_over(tmp_path: Path) -> None:
    """They share a scale with channels that may move, and are fewer than what they are cut from."""
    sizes = np.array([1, 2**-3, 2**-3, 2**-3], np.float32)
    uneven = np.broadcast_to(sizes[:, None, None, None], (4, 1, 1, 3))
    evening = np.broadcast_to(np.concatenate([1 / sizes, np.ones(4, np.float32)]), (2, 1, 1, 8))
    net = models.Net()
    x = net.picture()
    whole = net.conv(x, 8, "whole")
    begin, end, strides = (
        net.graph.constant(f"half/{index}", np.array(values, np.int32), INT32)
        for index, values in enumerate(((0, 0, 0, 0), (0, 0, 0, 4), (1, 1, 1, 1)))
    )
    half = net._tensor("half", (models.SIDE, models.SIDE, 4))
    options = schema.StridedSliceOptionsT(beginMask=0b0111, endMask=0b0111)
    net.graph.operator("STRIDED_SLICE", [whole, begin, end, strides], [half], options)
    free = net.conv(x, 4, "free", weights=uneven, bias=np.zeros(4, np.float32))
    reader = net.conv(net.concat([free, half], "joined"), 2, "reader", weights=evening)
    path = tmp_path / "sliced.tflite"
    path.write_bytes(net.finish(x, reader))
    found = equalize(path, models.pictures(tmp_path / "pictures", 3), W8C_A8)
    assert found is not None
    assert {layer for unit in found.units for layer in unit["octaves"]} == {"free"}
    same_bits(path.read_bytes(), found.model, models.pixels(2))
