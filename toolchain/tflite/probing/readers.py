"""How an activation is read, so that errors which no reader notices are not held against it.

A range chosen well cuts off what comes to nothing: before SiLU everything below about -7 is zero
behind it, before a sigmoid everything beyond +-8 is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from toolchain.tflite.view import View

Reader = Literal["value", "silu", "sigmoid", "relu"]
FloatArray = NDArray[np.float32]

SILU_LOWEST: Final = -0.2784645
"""The least value of x * sigmoid(x)."""


def reader_of(view: View, tensor: int, logits: Collection[int] = ()) -> Reader:
    """Through what everybody sees `tensor`.  logits: outputs of the graph that are scores before
    their sigmoid, as the model's own metadata says.
    """
    if tensor in logits:
        return "sigmoid"
    readers = view.consumers.get(tensor, ())
    if tensor in view.outputs or not readers:
        return "value"
    kinds = {node.kind for node in readers}
    if kinds == {"LOGISTIC"}:
        return "sigmoid"
    if kinds <= {"RELU", "RELU6"}:
        return "relu"
    if kinds == {"LOGISTIC", "MUL"} and len(readers) == 2:
        gate, product = sorted(readers, key=lambda node: node.kind)
        if set(product.data) == {tensor, gate.outputs[0]}:
            return "silu"
    return "value"


def read(values: FloatArray, reader: Reader) -> FloatArray:
    """What a reader makes of real values; float32 of the same shape."""
    if reader == "relu":
        return np.maximum(values, np.float32(0))
    if reader == "value":
        return values
    with np.errstate(over="ignore"):
        gate = np.float32(1) / (np.float32(1) + np.exp(-values))
    return gate if reader == "sigmoid" else values * gate


def flat_below(reader: Reader, step: float) -> float:
    """The value below which a reader's result moves by less than `step`; -inf: it never is flat."""
    if reader == "relu":
        return 0.0
    if reader == "value":
        return -np.inf
    places = np.linspace(-30, 0, 3001, dtype=np.float32)
    flat = np.abs(read(places, reader)) <= step
    # SiLU comes back to 0 at 0: only the stretch from the left counts.
    last = int(np.argmin(flat)) if not flat.all() else len(flat)
    return float(places[last - 1]) if last else -np.inf


def flat_above(reader: Reader, step: float) -> float:
    """The value above which it does; inf: it never is flat."""
    if reader != "sigmoid":
        return np.inf
    return -flat_below("sigmoid", step)
