"""Second moments of a convolution's input patches, taken where its output matters.

Positions are drawn by importance (a mixture of the squared gradient, its root and chance) and
weighed back, so that few of them estimate  H = E[v (x - m)(x - m)^T],  m = E[v x] / E[v],  with
v = g^2 + EVEN x the mean of g^2 in the picture.
Centred, because the bias takes up any mean that rounding adds.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from toolchain.quantize.device import as_array, as_tensor
from toolchain.quantize.graph import Operation
from toolchain.quantize.walk import Walk

if TYPE_CHECKING:
    import torch

ROWS: Final = 8192
"""Patches that are multiplied at a time: the most that memory holds of a layer's inputs."""

EVEN: Final = 0.5
"""How much of the weight every position gets alike: what few pictures find important is not all
that will be, and moments of few positions would be rounded to too well."""

_BY_ROOT, _BY_WEIGHT, _BY_CHANCE = 0.5, 0.3, 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
    """covariance: float32 [K, K].  mean: float32 [K].  K: height, width and input channel of the
    filter, flattened in this order.  Both lie where the pictures walked."""

    covariance: torch.Tensor
    mean: torch.Tensor

    def energy(self, channels: int) -> NDArray[np.float64]:
        """Mean square of each input channel over all taps: float64 [I]."""
        square = self.covariance.diagonal() + self.mean**2
        return as_array(square.reshape(-1, channels).mean(dim=0).double())


def gather(
    walk: Walk,
    operation: Operation,
    importance: NDArray[np.float32] | None,
    *,
    patches: int,
    rng: np.random.Generator,
) -> Moments:
    """Moments of what `operation` is about to read.

    importance: float32 [pictures, H, W] as in `LayerSensitivity.positions`; None, or zeros
    everywhere, for all alike.
    patches: drawn a picture.  It is computed where `walk` is.
    """
    import torch

    size = int(np.prod(walk.graph.shape(operation.inputs[1])[1:]))
    sums = _Sums(size, walk.replica.device)
    if importance is not None and not importance.any():
        importance = None
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
    with torch.no_grad():
        for picture in range(len(walk)):
            weights = None if importance is None else importance[picture]
            if weights is not None and not weights.any():
                continue  # nothing in this picture matters, while something in others does
            waiting.append(_patches(walk, picture, operation, weights, patches, rng))
            if patches * len(waiting) >= ROWS:
                sums.add(waiting)
        sums.add(waiting)
    return sums.moments()


class _Sums:
    def __init__(self, size: int, device: str) -> None:
        import torch

        self._squares = torch.zeros(size, size, device=device)
        self._sum = torch.zeros(size, device=device)
        self._weight = 0.0
        self._origin: torch.Tensor | None = None

    def add(self, waiting: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Takes the patches, and empties the list."""
        import torch

        if not waiting:
            return
        rows = torch.cat([rows for rows, _ in waiting])
        weights = torch.cat([weights for _, weights in waiting])
        waiting.clear()
        if self._origin is None:
            # Near the mean, so that little is lost when the mean is taken out at the end.
            self._origin = weights @ rows / weights.sum()
        rows -= self._origin
        self._sum += weights @ rows
        self._weight += float(weights.sum())
        rows *= weights.sqrt()[:, None]
        self._squares.addmm_(rows.T, rows)

    def moments(self) -> Moments:
        import torch

        assert self._origin is not None
        mean = self._sum / self._weight
        covariance = self._squares / self._weight - torch.outer(mean, mean)
        return Moments(covariance, mean + self._origin)


def _patches(
    walk: Walk,
    picture: int,
    operation: Operation,
    importance: NDArray[np.float32] | None,
    patches: int,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [P, K] and their weights [P]."""
    import torch
    from torch.nn import functional

    height, width = walk.graph.shape(operation.output)[1:3]
    chosen, weights = _chosen(height * width, importance, patches, rng)
    value = walk.value(picture, operation.data[0])
    value = functional.pad(value, walk.replica.padding(operation, value))[0].permute(1, 2, 0)
    options = operation.options
    rows = as_tensor(chosen // width * int(options.strideH), value.device)
    columns = as_tensor(chosen % width * int(options.strideW), value.device)
    taps = walk.graph.shape(operation.inputs[1])[1:3]
    parts = [
        value[rows + i * int(options.dilationHFactor), columns + j * int(options.dilationWFactor)]
        for i in range(taps[0])
        for j in range(taps[1])
    ]
    return torch.cat(parts, dim=1), as_tensor(weights, value.device)


def _chosen(
    count: int,
    importance: NDArray[np.float32] | None,
    patches: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions, and weights that make their mean that of all positions."""
    patches = min(patches, count)
    if importance is None:
        chosen = rng.choice(count, patches, replace=False)
        return chosen, np.full(patches, 1.0, np.float32)
    weights = importance.ravel().astype(np.float64)
    weights += EVEN * weights.mean()
    root = np.sqrt(weights)
    odds = _BY_ROOT * root / root.sum() + _BY_WEIGHT * weights / weights.sum() + _BY_CHANCE / count
    odds /= odds.sum()
    chosen = rng.choice(count, patches, p=odds)
    return chosen, (weights[chosen] / (odds[chosen] * patches)).astype(np.float32)
