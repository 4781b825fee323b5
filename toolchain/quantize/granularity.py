"""How far one choice of numbers reaches: a network, a layer, an output channel, a group.

A filter [O, H, W, I] is read as a matrix [O, K], K = H * W * I with I fastest.  Parameters of a
scheme are tables [R, G]: R rows (1, or one an output channel) and G groups along K.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import OutOfRange

FloatArray = NDArray[np.float32]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """One choice for all filters of a network, fitted on `joined`: tables [1, 1]."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One choice for a filter: tables [1, 1]; rows [1, 1, O * K]."""


@dataclasses.dataclass(frozen=True)
class Channel:
    """One choice for each output channel: tables [O, 1]; rows [O, 1, K]."""


@dataclasses.dataclass(frozen=True)
class Group:
    """One for each run of `size` weights of a channel: tables [O, G]; rows [O, G, size].

    G = ceil(K / size).  Zeros fill the last group of a channel.  Raises OutOfRange.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise OutOfRange(f"groups of {self.size} weights", hint="A group has at least one.")


Granularity = Network | Layer | Channel | Group


def table_shape(shape: Shape, granularity: Granularity) -> tuple[int, int]:
    """[R, G] for a filter of that shape."""
    match granularity:
        case Group(size):
            return shape[0], -(-(matrix_shape(shape)[1]) // size)
        case Channel():
            return shape[0], 1
        case _:
            return 1, 1


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """[O, K] of a filter [O, H, W, I]."""
    return shape[0], shape[1] * shape[2] * shape[3]


def matrix(values: NDArray[Any]) -> NDArray[Any]:
    """A filter [O, H, W, I] as [O, K]: a view where the layout allows it."""
    return values.reshape(matrix_shape(values.shape))


def rows(values: FloatArray, granularity: Granularity) -> FloatArray:
    """A filter [O, H, W, I] as [R, G, n]: what shares one choice lies along the last axis.

    A view where the layout allows it; a copy where the last group is filled with zeros.
    """
    count, groups = table_shape(values.shape, granularity)
    if not isinstance(granularity, Group):
        return values.reshape(count, groups, -1)
    flat = matrix(values)
    missing = groups * granularity.size - flat.shape[1]
    if missing:
        flat = np.pad(flat, ((0, 0), (0, missing)))
    return flat.reshape(count, groups, granularity.size)


def rows_of_energy(energy: FloatArray, shape: Shape, granularity: Granularity) -> FloatArray:
    """Importance of each weight as [1, G, n], or [R, G, n] where channels differ.

    energy: [I], or any shape that broadcasts to the filter's, for instance E[x_i^2] of the input.
    Filled places weigh 0.
    """
    same_for_channels = energy.ndim < 4 or energy.shape[0] == 1
    if same_for_channels and not isinstance(granularity, Network | Layer):
        return rows(np.broadcast_to(energy, (1, *shape[1:])), granularity)
    return rows(np.broadcast_to(energy, shape), granularity)


def spread(table: NDArray[Any], columns: int, granularity: Granularity) -> NDArray[Any]:
    """A table [R, G] as one that broadcasts over the matrix [O, columns]."""
    if isinstance(granularity, Group):
        return np.repeat(table, granularity.size, axis=1)[:, :columns]
    return table


def at(table: Any, columns: Any, granularity: Granularity) -> Any:
    """A table [R, G] at some columns of the matrix; numpy arrays and torch tensors alike.

    columns: a whole number gives [R], for values [O]; an index array [n] gives what broadcasts
    to values [O, n].
    """
    single = getattr(columns, "ndim", 0) == 0
    if isinstance(granularity, Group):
        return table[:, columns // granularity.size]
    return table[:, 0] if single else table


def joined(filters: list[FloatArray]) -> FloatArray:
    """All weights of a network as one filter [1, 1, 1, N], to fit what they share."""
    flat = np.concatenate([values.ravel() for values in filters])
    return np.asarray(flat.reshape(1, 1, 1, -1))


def joined_energy(energies: list[FloatArray], filters: list[FloatArray]) -> FloatArray:
    """The importance of `joined` weights: float32 [N]."""
    pairs = zip(energies, filters, strict=True)
    return np.concatenate([np.broadcast_to(e, f.shape).ravel() for e, f in pairs])
