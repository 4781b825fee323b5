"""Running sums over pictures of what a tensor holds, and of how far it is from another model's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.tflite.probing.readers import Reader, read
from toolchain.tflite.view import Tensor

PIECE: Final = 1 << 20
"""Values looked at together: what is made on the way stays small beside the tensor."""


@dataclasses.dataclass(frozen=True)
class Codes:
    """The integers of one tensor over all pictures.

    values: how many were seen.  possible: codes of its type.  used: codes between the lowest and
    the highest that were seen, both counted.  at_lowest, at_highest: share of values at the ends
    of the type.  commonest: share at the most frequent code.  constant: channels (of the last axis)
    in which one code was seen and no other.
    """

    values: int
    possible: int
    used: int
    at_lowest: float
    at_highest: float
    commonest: float
    channels: int
    constant: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A tensor beside its float reference, both as their reader sees them.

    signal, noise: sums of squares of the reference and of the difference.  shift: sum of the
    difference (tensor - reference).  finite: no NaN or infinity in either.
    varies: of the channels that hold one code only, those whose reference varies by more than two
    steps as its reader sees it.
    """

    values: int
    signal: float
    noise: float
    shift: float
    finite: bool
    varies: tuple[int, ...] = ()

    @property
    def sqnr_db(self) -> float | None:
        """10 log10 of signal over noise; None where there is no noise, or no finite number."""
        if not self.finite or self.noise <= 0:
            return None
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf

    @property
    def mean_shift(self) -> float:
        """Mean difference over the reference's root mean square; 0 where that is 0."""
        if not self.finite or self.signal <= 0:
            return 0.0
        return self.shift / self.values / math.sqrt(self.signal / self.values)


class Tally:
    """Of one tensor; `beside` is called for each picture if there is a reference."""

    def __init__(self, tensor: Tensor, reader: Reader) -> None:
        self._tensor, self._reader = tensor, reader
        self._low, self._high = tensor.codes if tensor.quantized else (0, 0)
        self._channels = tensor.shape[-1] if tensor.shape else 1
        self._counts = np.zeros(self._high - self._low + 1, np.int64)
        self._code_low = np.full(self._channels, np.inf)
        self._code_high = np.full(self._channels, -np.inf)
        self._real_low = np.full(self._channels, np.inf)
        self._real_high = np.full(self._channels, -np.inf)
        self._values = 0
        self._sums = np.zeros(3)  # signal, noise, shift
        self._compared = 0
        self._finite = True

    def add(self, found: NDArray[Any], reference: NDArray[np.float32] | None) -> None:
        """One picture's values: of the tensor as the runtime gives them, and of its reference."""
        rows = found.reshape(-1, self._channels)
        others = None if reference is None else reference.reshape(-1, self._channels)
        for piece in _pieces(len(rows), self._channels):
            if self._tensor.quantized:
                self._count(rows[piece])
            if others is not None:
                self._compare(rows[piece], others[piece])

    def codes(self) -> Codes | None:
        """None for a tensor that holds real numbers."""
        if not self._tensor.quantized or not self._values:
            return None
        shares = self._counts / self._values
        seen = np.flatnonzero(self._counts)
        return Codes(
            values=self._values,
            possible=len(shares),
            used=int(seen[-1] - seen[0]) + 1,
            at_lowest=float(shares[0]),
            at_highest=float(shares[-1]),
            commonest=float(shares.max()),
            channels=self._channels,
            constant=tuple(self._constant().tolist()),
        )

    def difference(self) -> Difference | None:
        """None where there was no reference."""
        if not self._compared:
            return None
        signal, noise, shift = (float(number) for number in self._sums)
        varies: tuple[int, ...] = ()
        if self._tensor.quantized:
            step = 1 / 256 if self._reader == "sigmoid" else self._tensor.scale
            wide = self._real_high - self._real_low > 2 * step
            varies = tuple(int(channel) for channel in self._constant() if wide[channel])
        return Difference(self._compared, signal, noise, shift, self._finite, varies)

    def _constant(self) -> NDArray[np.intp]:
        return np.flatnonzero(self._code_low == self._code_high)

    def _count(self, codes: NDArray[Any]) -> None:
        places = codes.astype(np.int32) - self._low
        self._counts += np.bincount(places.ravel(), minlength=len(self._counts))
        np.minimum(self._code_low, codes.min(axis=0), out=self._code_low)
        np.maximum(self._code_high, codes.max(axis=0), out=self._code_high)
        self._values += codes.size

    def _compare(self, found: NDArray[Any], reference: NDArray[np.float32]) -> None:
        real = found.astype(np.float32)
        if self._tensor.quantized:
            real = (real - np.float32(self._tensor.zero_point)) * np.float32(self._tensor.scale)
        wanted = read(reference, self._reader)
        difference = read(real, self._reader) - wanted
        sums = np.array([_squares(wanted), _squares(difference), difference.sum(dtype=np.float64)])
        self._finite &= bool(np.isfinite(sums).all())
        self._sums += sums
        self._compared += found.size
        np.minimum(self._real_low, wanted.min(axis=0), out=self._real_low)
        np.maximum(self._real_high, wanted.max(axis=0), out=self._real_high)


def _squares(values: NDArray[np.float32]) -> float:
    flat = values.ravel()
    return float(np.dot(flat, flat))


def _pieces(rows: int, channels: int) -> Iterator[slice]:
    step = max(1, PIECE // channels)
    for start in range(0, rows, step):
        yield slice(start, start + step)
