"""Filters rounded to nearest, on statistics of the float model alone: quick, and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.calibration import Statistics
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.methods import Method
from toolchain.quantize.rate import Pacing
from toolchain.quantize.recovered import Recovered, fit, recovered
from toolchain.quantize.schemes import SCHEMES, entropy


def round_to_nearest(
    graph: FloatGraph,
    methods: Mapping[int, Method],
    statistics: Mapping[int, Statistics],
    floors: Mapping[int, NDArray[np.float64]],
    pace: Pacing | None = None,
) -> dict[int, Recovered]:
    """Every convolution, by operator index.

    statistics: of its input.  floors: as for `recovery.recover`.  The mean shift that rounding
    makes is taken off the bias: sum_hwi (w' - w) E[x_i] (Nagel et al., arXiv 1906.04721,
    section 4.2).
    """
    found: dict[int, Recovered] = {}
    for operation in graph.convolutions:
        index, method = operation.index, methods[operation.index]
        exact = graph.constant(operation.inputs[1]).astype(np.float32)
        seen = statistics[index]
        paced = pace if method.scheme == entropy.NAME else None
        steps = None if paced is None else paced.steps(index)
        parameters = fit(exact, method, seen.mean_square, floors[index], steps)
        scheme: Any = SCHEMES[method.scheme]
        taps = exact.shape[1] * exact.shape[2]
        found[index] = recovered(
            exact,
            graph.bias(operation),
            method,
            parameters,
            scheme.encode(exact, parameters),
            mean=np.tile(seen.mean, taps),
        )
    return found
