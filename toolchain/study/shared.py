"""Filters that share one choice over a whole network, rounded to nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolchain.quantize.calibration import Statistics
from toolchain.quantize.granularity import Network, joined, joined_energy
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.methods import Method
from toolchain.quantize.recovered import Recovered, recovered
from toolchain.quantize.schemes import SCHEMES, codebook


def round_together(
    graph: FloatGraph, method: Method, statistics: Mapping[int, Statistics]
) -> dict[int, Recovered]:
    """Every convolution, by operator index; biases corrected as `quantize.nearest` does.

    method: its granularity is Network.  Raises NotFinite, OutOfRange, RecipeError.
    """
    exact = [graph.constant(op.inputs[1]).astype(np.float32) for op in graph.convolutions]
    energies = [statistics[op.index].mean_square.astype(np.float32) for op in graph.convolutions]
    if method.scheme == codebook.NAME:
        parameters: list[Any] = list(
            codebook.fit_network(exact, method.bits, energies=energies, search=method.search)
        )
    else:
        scheme: Any = SCHEMES[method.scheme]
        energy = joined_energy(energies, exact) if method.search == "weighted" else None
        one = scheme.fit(joined(exact), method.bits, Network(), energy=energy, search=method.search)
        parameters = [one] * len(exact)
    scheme = SCHEMES[method.scheme]
    found: dict[int, Recovered] = {}
    for operation, filter_, own in zip(graph.convolutions, exact, parameters, strict=True):
        taps = filter_.shape[1] * filter_.shape[2]
        found[operation.index] = recovered(
            filter_,
            graph.bias(operation),
            method,
            own,
            scheme.encode(filter_, own),
            mean=np.tile(statistics[operation.index].mean, taps),
        )
    return found
