"""Activations as outputs: the same numbers, in batches, in a process that may crash alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.quantize import models
from tests.tflite import broken
from tests.tflite.conftest import Made
from toolchain.errors import DataError, DoesNotRun, UnsupportedModel
from toolchain.tflite.elements import INT8
from toolchain.tflite.flatbuffer import parse
from toolchain.tflite.probing.client import observe
from toolchain.tflite.probing.cutting import batches, needed_nodes, probe, size_bytes
from toolchain.tflite.probing.matching import counterparts
from toolchain.tflite.probing.readers import SILU_LOWEST, flat_above, flat_below, read, reader_of
from toolchain.tflite.probing.request import Asked, Observed, Request
from toolchain.tflite.probing.tallies import Tally
from toolchain.tflite.view import Tensor, View


@pytest.fixture(scope="module")
def view(small: Made) -> View:
    return View(parse(small.w8))


def made(view: View) -> list[int]:
    return [tensor for tensor in view.activations if tensor not in view.inputs]


def test_probes_give_the_numbers_that_the_whole_model_computes(small: Made, view: View) -> None:
    picture = next(models.pixels(1))
    whole = models.Runner(small.w8).codes(picture)
    every = models.Runner(probe(view, made(view)))
    assert every.delegated()
    seen = every.codes(picture)
    assert seen.keys() == {view.name(tensor) for tensor in made(view)}
    for name, codes in whole.items():
        np.testing.assert_array_equal(seen[name], codes)
    for tensor in made(view):
        [alone] = models.Runner(probe(view, [tensor])).codes(picture).values()
        np.testing.assert_array_equal(alone, seen[view.name(tensor)])


def test_a_probe_of_the_first_layers_carries_no_later_weights(real: Made) -> None:
    view = View(parse(real.w8))
    [first] = [view.producers[t].outputs[0] for t in made(view) if view.name(t) == "pad_003"]
    assert len(needed_nodes(view, [first])) == 4
    assert len(probe(view, [first])) < len(real.w8) / 50


@given(st.lists(st.integers(1, 100)), st.integers(1, 200))
def test_batches_hold_everything_once_in_order_and_keep_to_the_limit(
    sizes: list[int], limit: int
) -> None:
    found = batches(sizes, limit)
    assert [place for batch in found for place in batch] == list(range(len(sizes)))
    for batch in found:
        assert len(batch) == 1 or sum(sizes[place] for place in batch) <= limit


def test_readers_are_those_of_the_graph(view: View) -> None:
    by_name = {view.name(tensor): reader_of(view, tensor) for tensor in made(view)}
    assert by_name["stem"] == by_name["inner"] == "silu"
    assert by_name["stem/silu"] == by_name["boxes_2"] == "value"
    [scores] = [tensor for tensor in view.outputs if view.name(tensor) == "classes_2"]
    assert reader_of(view, scores, {scores}) == "sigmoid"


@given(arrays(np.float32, 20, elements=st.floats(-90, 90, width=32)))
def test_what_a_reader_makes_is_the_function_it_is_named_for(values: np.ndarray) -> None:
    exact = values.astype(np.float64)
    gate = 1 / (1 + np.exp(-exact))
    np.testing.assert_allclose(read(values, "silu"), exact * gate, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(read(values, "sigmoid"), gate, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(read(values, "relu"), np.maximum(values, 0))
    assert read(values, "silu").min(initial=0) >= SILU_LOWEST - 1e-6


@pytest.mark.parametrize("step", [0.001, 0.01, 0.1])
def test_beyond_the_flat_ends_nothing_is_seen_any_more(step: float) -> None:
    for reader in ("silu", "sigmoid"):
        edge = flat_below(reader, step)  # type: ignore[arg-type]
        beyond = np.linspace(-60, edge, 500, dtype=np.float32)
        assert np.abs(read(beyond, reader)).max() <= step  # type: ignore[arg-type]
        assert abs(float(read(np.float32([edge + 0.1]), reader)[0])) > step  # type: ignore[arg-type]
    assert 1 - read(np.float32([flat_above("sigmoid", step)]), "sigmoid")[0] <= step + 1e-6
    assert flat_above("silu", step) == np.inf
    assert flat_below("value", step) == -np.inf


def tensor(scale: float = 0.25, zero_point: int = 3) -> Tensor:
    return Tensor(
        0, "t", (1, 4, 5, 6), INT8, np.array([scale]), np.array([zero_point]), 0, constant=False
    )


@given(st.integers(0, 1000))
def test_running_sums_are_what_numpy_says_of_all_values_at_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(-128, 128, (3, 1, 4, 5, 6)).astype(np.int8)
    codes[..., 2] = 9
    reference = ((codes.astype(np.float32) - 3) * 0.25 + random.normal(0, 0.3, codes.shape)).astype(
        np.float32
    )
    tally = Tally(tensor(), "value")
    for one, other in zip(codes, reference, strict=True):
        tally.add(one, other)
    seen, difference = tally.codes(), tally.difference()
    assert seen is not None
    assert difference is not None
    assert seen.constant == (2,)
    assert seen.at_lowest == pytest.approx((codes == -128).mean())
    assert seen.used == int(codes.max()) - int(codes.min()) + 1
    error = (codes.astype(np.float64) - 3) * 0.25 - reference
    expected = 10 * np.log10((reference.astype(np.float64) ** 2).mean() / (error**2).mean())
    assert difference.sqnr_db == pytest.approx(expected, abs=1e-3)
    rms = np.sqrt((reference.astype(np.float64) ** 2).mean())
    assert difference.mean_shift == pytest.approx(error.mean() / rms, abs=1e-5)
    assert difference.varies == (2,)


def test_tensors_are_matched_by_name(small: Made, view: View) -> None:
    other = View(parse(small.float_model.read_bytes()))
    found = counterparts(view, other)
    assert list(found) == made(view)
    assert all(view.name(one) == other.name(two) for one, two in found.items())


def request(small: Made, path: Path, view: View, **changes: object) -> Request:
    other = View(parse(small.float_model.read_bytes()))
    pairs = counterparts(view, other)
    asked = Request(
        model=str(path),
        images=tuple(str(image) for image in small.images),
        tensors=tuple(Asked(one, reader_of(view, one), two) for one, two in pairs.items()),
        against=str(small.float_model),
        threads=1,
    )
    return dataclasses.replace(asked, **changes)  # type: ignore[arg-type]


def test_the_memory_limit_cuts_into_batches_and_changes_no_number(
    small: Made, view: View, tmp_path: Path
) -> None:
    path = tmp_path / "w8.tflite"
    path.write_bytes(small.w8)
    whole = observe(request(small, path, view))
    largest = 5 * max(size_bytes(view, tensor) for tensor in made(view))  # a byte and a float32
    parts = observe(request(small, path, view, memory_bytes=largest))
    assert (whole.batches, parts.batches > 2) == (1, True)
    assert (parts.codes, parts.differences) == (whole.codes, whole.differences)
    assert whole.images == len(small.images)


def test_requests_and_answers_survive_their_json(small: Made, view: View, tmp_path: Path) -> None:
    asked = request(small, tmp_path / "m.tflite", view)
    assert Request.from_json(asked.to_json()) == asked
    path = tmp_path / "w8.tflite"
    path.write_bytes(small.w8)
    found = observe(request(small, path, view, images=(str(small.images[0]),)))
    assert Observed.from_json(found.to_json()) == found


def test_a_model_that_aborts_its_runtime_is_told_and_takes_nobody_along(
    small: Made, view: View, tmp_path: Path
) -> None:
    path = tmp_path / "zero.tflite"
    path.write_bytes(broken.rescaled(small.w8, "deep", 0))
    with pytest.raises(DoesNotRun, match=r"SIG[A-Z]+|refuse|scale"):
        observe(request(small, path, view))


def test_a_model_that_takes_no_picture_is_told_apart(tmp_path: Path, small: Made) -> None:
    from tests.agent.small_models import no_picture

    path = tmp_path / "vectors.tflite"
    path.write_bytes(no_picture())
    with pytest.raises(UnsupportedModel, match="pictures do not go into"):
        observe(Request(model=str(path), images=(str(small.images[0]),)))


def test_pictures_that_cannot_be_read_are_named_and_all_of_them_are_an_error(
    small: Made, view: View, tmp_path: Path
) -> None:
    path, bad = tmp_path / "w8.tflite", tmp_path / "bad.png"
    path.write_bytes(small.w8)
    bad.write_bytes(b"no picture")
    found = observe(request(small, path, view, images=(str(bad), str(small.images[0]))))
    assert found.images == 1
    assert found.left_out[0][0] == "bad.png"
    with pytest.raises(DataError, match=r"none of 1 pictures can be read; bad.png"):
        observe(request(small, path, view, images=(str(bad),)))
