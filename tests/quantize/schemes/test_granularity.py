from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quantize.schemes.cases import FloatArray, energy_of, filters, usual
from toolchain.errors import OutOfRange
from toolchain.quantize import granularity as g
from toolchain.quantize.granularity import Channel, Group, Layer, Network
from toolchain.quantize.schemes import SCHEMES, codebook, uniform

choices = st.sampled_from([Network(), Layer(), Channel()]) | st.integers(1, 80).map(Group)


@given(filters, choices)
def test_rows_hold_every_weight_once_and_zeros_beyond(
    weights: FloatArray, granularity: g.Granularity
) -> None:
    rows = g.rows(weights, granularity)
    assert rows.shape[:2] == g.table_shape(weights.shape, granularity)
    channels = rows.reshape(len(weights) if rows.shape[0] > 1 else 1, -1)
    flat = weights.reshape(len(channels), -1)
    np.testing.assert_array_equal(channels[:, : flat.shape[1]], flat)
    assert not channels[:, flat.shape[1] :].any()


@given(filters, choices)
def test_a_table_reaches_the_weights_of_its_row(
    weights: FloatArray, granularity: g.Granularity
) -> None:
    count, groups = g.table_shape(weights.shape, granularity)
    table = np.arange(count * groups).reshape(count, groups)
    numbers = np.broadcast_to(table[..., None], g.rows(weights, granularity).shape)
    width = weights.size // len(weights)
    wanted = numbers.reshape(len(weights) if count > 1 else 1, -1)
    if isinstance(granularity, Group):
        wanted = wanted.reshape(len(weights), -1)[:, :width]
    else:
        wanted = wanted[:, :1]
    spread = np.broadcast_to(g.spread(table, width, granularity), (len(weights), width))
    np.testing.assert_array_equal(spread, np.broadcast_to(wanted, spread.shape))
    columns = np.arange(width)
    at_all = np.broadcast_to(g.at(table, columns, granularity), spread.shape)
    np.testing.assert_array_equal(at_all, spread)
    at_last = np.broadcast_to(g.at(table, width - 1, granularity), len(weights))
    np.testing.assert_array_equal(at_last, spread[:, -1])


@given(filters, choices)
def test_energy_lies_where_the_weights_of_its_input_lie(
    weights: FloatArray, granularity: g.Granularity
) -> None:
    energy = np.arange(1, weights.shape[-1] + 1, dtype=np.float32)
    rows = g.rows_of_energy(energy, weights.shape, granularity)
    marked = g.rows(np.broadcast_to(energy, weights.shape), granularity)
    np.testing.assert_array_equal(np.broadcast_to(rows, marked.shape), marked)


def test_groups_of_nothing_are_refused() -> None:
    with pytest.raises(OutOfRange):
        Group(0)


def test_a_group_as_long_as_the_channel_is_the_channel() -> None:
    weights = usual(0)
    whole = uniform.fit(weights, 4, Group(180), search="mse")
    np.testing.assert_array_equal(whole.scale, uniform.fit(weights, 4, Channel()).scale)


@pytest.mark.parametrize("name", ["uniform", "affine", "piecewise"])
def test_what_a_network_shares_serves_each_of_its_filters(name: str) -> None:
    scheme, several = SCHEMES[name], [usual(0), usual(1, (2, 1, 1, 50))]
    energy = g.joined_energy([energy_of(weights) for weights in several], several)
    whole = g.joined(several)
    shared = scheme.fit(whole, 4, Network(), energy=energy, search="weighted")
    together = scheme.encode(whole, shared)
    apart = [scheme.encode(weights, shared) for weights in several]
    np.testing.assert_array_equal(np.concatenate([a.ravel() for a in apart]), together.ravel())
    for weights, codes in zip(several, apart, strict=True):
        assert scheme.decode(codes, shared).shape == weights.shape


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_networks_filters_share_levels_and_keep_their_scales(bits: int) -> None:
    several = [usual(0), usual(1, (2, 1, 1, 50)) * 100, np.zeros((2, 1, 1, 3), np.float32)]
    energies = [energy_of(weights) for weights in several]
    shared = codebook.fit_network(several, bits, energies=energies, search="weighted")
    for weights, parameters in zip(several, shared, strict=True):
        np.testing.assert_array_equal(parameters.levels, shared[0].levels)
        assert parameters.scale.shape == (len(weights), 1)
        back = codebook.decode(codebook.encode(weights, parameters), parameters)
        assert np.square(back - weights).sum() <= 0.5 * np.square(weights).sum()
