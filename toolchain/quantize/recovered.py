"""One convolution as it will be stored, and the steps that lead to it under any scheme."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.coded import CodedFilter
from toolchain.quantize.granularity import Channel
from toolchain.quantize.methods import Method
from toolchain.quantize.schemes import SCHEMES, entropy

Array = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Recovered:
    """coded, scale: the filter as int8 codes and float32 [O]; None where the scheme has no such
    form.  weights: float32 [O, H, W, I], what is stored.  bias: float32 [O], corrected.
    stored_bits: of codes and parameters.  left: second-order error of this rounding over that of
    rounding to nearest; None where it was not asked.
    """

    method: Method
    coded: CodedFilter | None
    scale: Array | None
    weights: Array
    bias: Array
    stored_bits: float
    left: float | None = None


def fit(
    exact: Array,
    method: Method,
    energy: NDArray[np.float64],
    floor: NDArray[np.float64],
    steps: Array | None = None,
) -> Any:
    """The scheme's parameters.

    exact: float32 [O, H, W, I].  energy: float64 [I], mean square of the input.  floor: float64
    [O], the smallest scale allowed.  steps: float32 [O, 1], given for entropy-coded filters.
    Raises NotFinite, OutOfRange, RecipeError.
    """
    if method.scheme == entropy.NAME and steps is not None:
        allowed = np.maximum(steps, floor[:, None]).astype(np.float32)
        return entropy.Parameters(allowed, method.bits, Channel())
    # Channels that hardly differ from zero would get scales that push their biases out of int32.
    faint = np.abs(exact).max(axis=(1, 2, 3)) < entropy.LARGEST * floor
    values = np.where(faint[:, None, None, None], np.float32(0), exact)
    scheme: Any = SCHEMES[method.scheme]
    return scheme.fit(values, method.bits, method.granularity, energy=energy, search=method.search)


def recovered(
    exact: Array,
    bias: Array,
    method: Method,
    parameters: Any,
    codes: NDArray[Any],
    *,
    mean: NDArray[Any] | None,
    left: float | None = None,
) -> Recovered:
    """All that follows from the codes.

    mean: [H*W*I] of the input patch, to take the mean shift off the bias; None leaves it.
    """
    scheme: Any = SCHEMES[method.scheme]
    weights = scheme.decode(codes, parameters)
    if mean is not None:
        difference = (weights.astype(np.float64) - exact).reshape(len(exact), -1)
        bias = (bias - difference @ np.asarray(mean, np.float64)).astype(np.float32)
    coded = scheme.coded(codes, parameters)
    return Recovered(
        method=method,
        coded=None if coded is None else coded[0],
        scale=None if coded is None else coded[1],
        weights=weights,
        bias=bias,
        stored_bits=scheme.stored_bits(codes, parameters),
        left=left,
    )
