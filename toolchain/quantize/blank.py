"""Filters of zeros as a method would store them: to count what a file holds beside its codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.quantize.coded import Entropy
from toolchain.quantize.methods import Method
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.schemes import SCHEMES, entropy


def blank(method: Method, shape: tuple[int, ...], seed: int) -> Recovered:
    """As large as any filter [O, H, W, I] by that method; entropy-coded, as small as any.

    Its scales are above 1 and, with another seed, others: a file holds what is equal only once.
    """
    weights = np.zeros(shape, np.float32)
    coded: Any = Entropy(np.zeros(shape, np.int8))
    if method.scheme != entropy.NAME:
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
