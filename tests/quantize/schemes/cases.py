"""What the properties are tried on: every scheme in every granularity it has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from toolchain.quantize.granularity import Channel, Granularity, Group, Layer, Network
from toolchain.quantize.schemes import SCHEMES, Scheme
from toolchain.quantize.search import Search

FloatArray = NDArray[np.float32]


class Case(NamedTuple):
    scheme: Scheme
    granularity: Granularity

    def __str__(self) -> str:
        return f"{self.scheme.NAME}-{self.granularity}"


CASES = [
    Case(scheme, granularity)
    for scheme in SCHEMES.values()
    for granularity in (Network(), Layer(), Channel(), Group(3))
    if isinstance(granularity, scheme.GRANULARITIES)
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)

widths = st.integers(2, 8)
shapes = array_shapes(min_dims=4, max_dims=4, max_side=4)
filters = shapes.flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32))
)


def searches(case: Case) -> st.SearchStrategy[Search]:
    return st.sampled_from(case.scheme.FITTED_BY)


def energy_of(weights: FloatArray, seed: int = 0) -> FloatArray:
    """Second moments, some of them of an input that is always 0."""
    moments = np.random.default_rng(seed).gamma(0.5, 1.0, weights.shape[-1])
    moments[moments < 0.1] = 0
    return moments.astype(np.float32)


def usual(seed: int, shape: tuple[int, ...] = (6, 3, 3, 20)) -> FloatArray:
    """Weights as networks have them: heavier in the tails than Gaussian, channels of all sizes."""
    random = np.random.default_rng(seed)
    sizes = random.lognormal(-3, 1, (shape[0], 1, 1, 1))
    return (sizes * random.standard_t(6, shape)).astype(np.float32)


def fitted(case: Case, weights: FloatArray, bits: int, search: Search | None = None) -> Any:
    return case.scheme.fit(
        weights,
        bits,
        case.granularity,
        energy=energy_of(weights),
        search=search or case.scheme.FITTED_BY[-1],
    )
