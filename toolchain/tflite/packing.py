"""4-bit values <-> the bytes of an INT4 tensor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from targets.agent.expand import unpack_int4
from toolchain.errors import OutOfRange

__all__ = ["pack_int4", "unpack_int4"]


def pack_int4(values: NDArray[np.int8]) -> bytes:
    """Two's-complement nibbles, the first of each pair in the low half (TFLite INT4).

    values: int8 in [-8, 7], any shape, read in C order; an odd count leaves the last high half 0.
    The order is that of TensorFlow Lite's `PackInt4ValuesDensely` (kernels/internal).
    Raises OutOfRange.  Inverse: `targets.agent.expand.unpack_int4`.
    """
    if values.size and not -8 <= values.min() <= values.max() <= 7:
        raise OutOfRange(
            f"values from {values.min()} to {values.max()} do not fit 4 bits (-8 to 7)",
            hint="Clip the codes to the recipe's range before packing.",
        )
    nibbles = values.astype(np.int8, copy=False).ravel().view(np.uint8) & 0x0F
    nibbles = np.pad(nibbles, (0, nibbles.size % 2))
    return (nibbles[0::2] | nibbles[1::2] << 4).tobytes()
