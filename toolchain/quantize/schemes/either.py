"""For code that runs on numpy arrays and torch tensors alike, without importing torch."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

P = TypeVar("P")


def library(values: Any) -> Any:
    """numpy or torch, whichever made `values`."""
    return sys.modules[type(values).__module__.partition(".")[0]]


def as_index(values: Any) -> Any:
    """Whole numbers as what arrays of their library may be indexed with."""
    return values.astype(np.intp) if isinstance(values, np.ndarray) else values.long()


def beside(array: NDArray[Any], values: Any) -> Any:
    """An array in the library of `values`, and on their device."""
    if isinstance(values, np.ndarray):
        return array
    return library(values).as_tensor(array, device=values.device)


def moved(parameters: P, convert: Callable[[NDArray[Any]], Any]) -> P:
    """Parameters with each array converted, for instance by `torch.as_tensor`."""
    arrays = {
        field.name: convert(value)
        for field in dataclasses.fields(parameters)  # type: ignore[arg-type]
        if isinstance(value := getattr(parameters, field.name), np.ndarray)
    }
    return dataclasses.replace(parameters, **arrays)  # type: ignore[type-var]
