"""Ways to write weights in few bits: one module a scheme, all with the same functions.

parameters = uniform.fit(weights, 4, Channel(), energy=mean_square, search="weighted")
codes = uniform.encode(weights, parameters)
weights_as_stored = uniform.decode(codes, parameters)

`SCHEMES` has them by name; each module satisfies `Scheme`.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from numpy.typing import NDArray

from toolchain.quantize.coded import CodedFilter
from toolchain.quantize.granularity import FloatArray, Granularity
from toolchain.quantize.schemes import affine, codebook, entropy, grouped, piecewise, uniform
from toolchain.quantize.schemes.either import moved
from toolchain.quantize.search import Search

__all__ = ["SCHEMES", "Scheme", "moved"]


class Scheme(Protocol):
    """Functions on arrays, without state.  Parameters are a frozen dataclass of the module's own.

    Weights are float32 [O, H, W, I]; codes have the same shape and the module's own type.  The
    nearest code is taken: encoding what was decoded gives the same codes.
    """

    @property
    def NAME(self) -> str:  # noqa: N802  # constants of a module
        """As in `SCHEMES`."""

    @property
    def GRANULARITIES(self) -> tuple[type, ...]:  # noqa: N802
        """Kinds of granularity that it has parameters for."""

    @property
    def FITTED_BY(self) -> tuple[Search, ...]:  # noqa: N802
        """Searches that `fit` knows."""

    def fit(
        self,
        weights: FloatArray,
        bits: int,
        granularity: Granularity,
        *,
        energy: FloatArray | None = None,
        search: Search = "mse",
    ) -> Any:
        """Parameters for weights at 2 to 8 bits.

        Raises NotFinite, OutOfRange (shape, bits), RecipeError (a granularity or a search that
        the scheme has no form for).
        """

    def encode(self, weights: FloatArray, parameters: Any) -> NDArray[Any]:
        """Nearest codes."""

    def decode(self, codes: NDArray[Any], parameters: Any) -> FloatArray:
        """The weights that codes stand for."""

    def nearest(self, values: Any, parameters: Any, columns: Any) -> tuple[Any, Any]:
        """Codes and decoded values of some columns of the matrix [O, K], for rounding in sequence.

        values: [O] with a whole number as `columns`, or [O, n] with an index array [n]; numpy, or
        torch if the parameters were `moved` there.  Codes are whole numbers of any type.
        """

    def stored_bits(self, codes: NDArray[Any], parameters: Any) -> float:
        """Bits of codes and of all parameters that a decoder needs, scales as float32."""

    def coded(self, codes: NDArray[Any], parameters: Any) -> tuple[CodedFilter, FloatArray] | None:
        """The filter in a form that expands to int8, and scales [O]: exactly `decode`.

        None where no int8 filter with one scale a channel says the same.
        """


SCHEMES: Final[dict[str, Scheme]] = {
    uniform.NAME: uniform,
    affine.NAME: affine,
    piecewise.NAME: piecewise,
    codebook.NAME: codebook,
    grouped.NAME: grouped,
    entropy.NAME: entropy,
}
