"""Samples of a model's outputs, told to the host: how kernels here differ from those elsewhere.

A probe is a model whose inner activations are outputs (`toolchain.tflite.probing.cutting`); its
tensors are larger than a line of the stream, and than what a slow link should carry.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any, Iterator, Tuple

import numpy as np

from .records import Probed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .runtime import Model

MAX_BYTES = 49_152  # of one sample: 65,536 letters in base64, the longest text of the wire
DTYPES = ("int8", "uint8", "int16", "int32", "float32")


def samples(model: Model, index: int, image: str, most: int) -> Iterator[Probed]:
    """One record for each output after an inference; at most `most` values of each."""
    for position, facts in enumerate(model.outputs):
        values = model.output(position)
        if facts.dtype not in DTYPES:
            continue
        step, chosen = sampled(values, min(most, MAX_BYTES // values.dtype.itemsize))
        yield Probed(
            index=index,
            image=image,
            output=position,
            tensor=facts.name,
            dtype=facts.dtype,
            values=values.size,
            step=step,
            sample=base64.b64encode(chosen.tobytes()).decode("ascii"),
        )


def sampled(values: NDArray[Any], most: int) -> Tuple[int, NDArray[Any]]:
    """Every step-th value in C order, and the step: the same positions wherever it is computed.

    The step shares no factor with any axis, so that all channels and columns have their turn.
    """
    step = max(1, math.ceil(values.size / most))
    while any(math.gcd(step, size) > 1 for size in values.shape):
        step += 1
    little = values.dtype.newbyteorder("<")
    return step, np.ascontiguousarray(values.ravel()[::step]).astype(little, copy=False)


def values_of(record: Probed) -> NDArray[Any]:
    """The sample in a record, which comes from a board and is believed in nothing.

    Raises ValueError.
    """
    if record.dtype not in DTYPES or record.step < 1 or record.values < 0:
        raise ValueError(f"an impossible sample of {record.dtype} values")
    dtype = np.dtype(record.dtype).newbyteorder("<")
    try:
        data = base64.b64decode(record.sample.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"a sample that is no base64: {error}") from error
    if len(data) != dtype.itemsize * len(range(0, record.values, record.step)):
        raise ValueError(f"a sample of {len(data)} bytes of {record.values} values")
    return np.frombuffer(data, dtype)
