"""Filters in place of those to come: to count what a file holds beside entropy-coded steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import Entropy
from toolchain.quantize.methods import Method
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.schemes import SCHEMES, codebook, entropy


def blank(method: Method, exact: NDArray[np.float32], seed: int) -> Recovered:
    """As large as `exact`, float32 [O, H, W, I], by that method; by entropy-coded steps, as small
    as any.

    Which levels of a codebook are how frequent decides its size, so it is `exact` to nearest; other
    filters are zeros.  Scales are above 1 and, with another seed, others: a file holds what is
    equal only once.
    """
    shape = exact.shape
    weights = np.zeros(shape, np.float32)
    coded: Any = Entropy(np.zeros(shape, np.int8))
    if method.scheme != entropy.NAME:
        if method.scheme == codebook.NAME:
            weights = exact
        scheme: Any = SCHEMES[method.scheme]
        energy = np.ones(shape[-1])
        fitted = scheme.fit(
            weights, method.bits, method.granularity, energy=energy, search=method.search
        )
        coded, _ = scheme.coded(scheme.encode(weights, fitted), fitted)
    return Recovered(
        method=method,
        coded=coded,
        scale=np.random.default_rng(seed).uniform(1, 2, shape[0]).astype(np.float32),
        weights=weights,
        bias=np.zeros(shape[0], np.float32),
        stored_bits=0.0,
    )
