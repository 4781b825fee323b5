"""Recipes that leave the scheme of each layer open: what sensitivity makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.quantize import models
from tests.quantize.conftest import Subject
from tests.quantize.recipes import QUICK
from toolchain.errors import OutOfRange, RecipeError
from toolchain.quantize import Quantized, parse, planfile, quantize
from toolchain.quantize.allocation import allocate
from toolchain.quantize.budget import Budget
from toolchain.quantize.candidates import Candidate, candidates, methods, sample
from toolchain.quantize.layertable import of_record
from toolchain.quantize.plantext import plan_text
from toolchain.tflite.elements import INT8
from toolchain.tflite.packed_codecs import stored_bits

MIXED = parse("w4m-a8")
STRICT = parse("w4s-a8")


def made(subject: Subject, bits_per_weight: float, **options: object) -> Quantized:
    budget = Budget(bits_per_weight=bits_per_weight)
    return subject.quantize(MIXED, budget=budget, recovery=QUICK, **options)


def bits_of(found: Quantized) -> dict[str, tuple[str, int]]:
    return {one["layer"]: (one["scheme"], one["bits"]) for one in found.record["layers"]}


def eight_bits(found: Quantized) -> set[str]:
    """Layers that keep 8 bits."""
    return {layer for layer, (_, bits) in bits_of(found).items() if bits == 8}


def filters_of(model: bytes) -> dict[str, NDArray[np.int8]]:
    """Int8 filters [O, H, W, I] by layer."""
    return {name.rpartition("/")[0]: q for name, q in models.constants(model, INT8).items()}


def score_error(subject: Subject, found: Quantized) -> float:
    """Squared error of all outputs on pictures that it was not made on."""
    exact = models.Runner(subject.float_bytes)
    quantized = models.Runner(models.expanded(found.model))
    error = 0.0
    for picture in models.pixels(6):
        left, right = exact.real(picture), quantized.real(picture)
        error += sum(float(np.square(left[name] - right[name]).sum()) for name in left)
    return error


@pytest.mark.parametrize("wanted", [5.0, 5.5, 7.5])
def test_a_mixture_keeps_its_budget_and_uses_it(wide: Subject, wanted: float) -> None:
    found = made(wide, wanted)
    assert 0.9 * wanted < found.record["bits_per_weight"] <= wanted
    assert found.record["file_bytes"] == len(found.model)


def test_more_room_is_nearer_to_the_float_model(wide: Subject) -> None:
    assert score_error(wide, made(wide, 7.5)) < score_error(wide, made(wide, 5.0))


def test_layers_are_stored_in_more_than_one_way(wide: Subject) -> None:
    layers = made(wide, 5.0).record["layers"]
    ways = {(one["scheme"], one["bits"], one["granularity"]) for one in layers}
    assert len(ways) > 2, ways
    assert all(bits <= 4 or bits == 8 for _, bits, _ in ways)


def test_filters_below_eight_bits_have_so_many_levels_a_channel_or_group(wide: Subject) -> None:
    found = made(wide, 5.0)
    filters = filters_of(models.expanded(found.model))
    few = [one for one in found.record["layers"] if one["bits"] < 8 and not one["float_output"]]
    assert few
    for layer in few:
        rows = filters[layer["layer"]].reshape(layer["shape"][0], -1)
        _, _, size = layer["granularity"].partition("group ")
        for start in range(0, rows.shape[1], int(size or rows.shape[1])):
            for row in rows[:, start : start + int(size or rows.shape[1])]:
                assert len(np.unique(row)) <= 2 ** layer["bits"], layer


@pytest.mark.parametrize("wanted", [5.6, 80.0])
def test_a_strict_mixture_has_int8_where_every_recipe_of_few_levels_has(
    wide: Subject, wanted: float
) -> None:
    budget = Budget(bits_per_weight=wanted)
    strict = wide.quantize(STRICT, budget=budget, recovery=QUICK)
    usual = wide.quantize(parse("w4k-a8"), recovery=None)
    assert strict.record["bits_per_weight"] <= wanted
    assert eight_bits(strict) == eight_bits(usual) != set()
    assert len(bits_of(strict)) > len(eight_bits(strict))


def test_its_plan_makes_the_same_model_again(wide: Subject) -> None:
    first = made(wide, 5.5)
    plan = planfile.parse(plan_text(of_record(first.record, "first")))
    again = wide.quantize(MIXED, plan=plan, recovery=QUICK)
    assert again.model == first.model
    assert bits_of(again) == bits_of(first)


@pytest.mark.parametrize("wanted", [80.0, 1e12])
def test_room_for_all_makes_int8_and_a_plan_that_can_be_read(wide: Subject, wanted: float) -> None:
    budget = Budget(bits_per_weight=wanted)
    found = wide.quantize(MIXED, budget=budget, recovery=None)
    assert set(bits_of(found).values()) == {("uniform", 8)}
    plan = planfile.parse(plan_text(of_record(found.record, "all")))
    assert wide.quantize(MIXED, plan=plan, recovery=None).model == found.model


def test_a_layer_that_the_outputs_hardly_feel_gets_fewer_bits() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(32, 3, 3, 16)).astype(np.float32)
    felt = [candidates_of(weights, scale) for scale in (1.0, 1e-3)]
    for loud, quiet in zip(*felt, strict=True):
        assert quiet.bits == loud.bits
        assert quiet.cost == pytest.approx(1e-3 * loud.cost)
    taken = allocate(dict(enumerate(felt)), 2 * 6 * weights.size)
    assert taken is not None
    assert taken[0].bits > taken[1].bits


def test_a_sample_without_any_channel_that_is_felt_still_counts() -> None:
    """Every fourth channel is looked at, and none of them is the one that matters."""
    weights = np.random.default_rng(5).laplace(size=(64, 1, 1, 16384)).astype(np.float32)
    assert sample(weights).step == 4
    felt = np.zeros(64)
    felt[1] = 3.0
    ways = methods(4)[-1:]
    inputs, floor = np.ones(16384), np.zeros(64)
    (hidden,) = candidates(weights, felt, inputs, floor, ways, stored_bits)
    (even,) = candidates(weights, np.full(64, 3 / 64), inputs, floor, ways, stored_bits)
    assert hidden.cost == pytest.approx(even.cost)
    assert hidden.cost > 0


def test_a_sample_of_channels_tells_size_and_cost_of_all() -> None:
    rng = np.random.default_rng(4)
    weights = rng.laplace(size=(512, 1, 1, 1024)).astype(np.float32)
    whole = candidates_of(weights, 1.0, parts=4)
    sampled = candidates_of(weights, 1.0)
    for one, all_ in zip(sampled, whole, strict=True):
        assert one.bits == pytest.approx(all_.bits, rel=0.03), one.method
        assert one.cost == pytest.approx(all_.cost, rel=0.1), one.method


def test_weights_behind_loud_inputs_count_more() -> None:
    weights = np.zeros((16, 1, 1, 2), np.float32)
    weights[..., 0], weights[..., 1] = 1.0, 0.01
    loud_first = candidates_of(weights, 1.0, mean_square=np.array([1.0, 1e-6]))
    loud_second = candidates_of(weights, 1.0, mean_square=np.array([1e-6, 1.0]))
    eight = [one for one in methods(4) if one.bits == 8]
    assert len(eight) == 1
    assert loud_first[-1].cost < loud_second[-1].cost


def test_a_budget_that_no_mixture_keeps_is_refused(wide: Subject) -> None:
    with pytest.raises(OutOfRange, match="budget"):
        made(wide, 1.5)


def test_a_mixture_needs_the_sensitivity(wide: Subject) -> None:
    with pytest.raises(RecipeError, match="sensitivity"):
        quantize(wide.float_bytes, wide.calibration, MIXED)


def candidates_of(
    weights: NDArray[np.float32],
    felt: float,
    *,
    mean_square: NDArray[np.float64] | None = None,
    parts: int = 1,
) -> list[Candidate]:
    """parts: measures so many interleaved parts of the channels, and adds."""
    inputs = np.ones(weights.shape[-1]) if mean_square is None else mean_square
    found: list[list[Candidate]] = []
    for part in range(parts):
        own = weights[part::parts]
        found.append(
            candidates(
                own, np.full(len(own), felt), inputs, np.zeros(len(own)), methods(4), stored_bits
            )
        )
    return [
        Candidate(some[0].method, sum(c.bits for c in some), sum(c.cost for c in some))
        for some in zip(*found, strict=True)
    ]
