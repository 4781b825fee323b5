"""Whether a detector gives what a model in the authors' form gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from toolchain.detector import Detector, to_torch

Levels = list[torch.Tensor]
# Folding is done in float64 and rounded to float32 once; what remains is float32 arithmetic in
# another order, over some 100 layers.
RELATIVE = 2e-5


def pictures(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(7))


def outputs_of(detector: Detector, x: torch.Tensor) -> Levels:
    """One tensor a level, [anchors, 5 + classes, H, W]: the split head put together again."""
    with torch.no_grad():
        parts = to_torch(detector)(x)
    return [
        torch.cat(
            [part[0].unflatten(0, (len(anchors), -1)) for part in parts[3 * i : 3 * i + 3]], 1
        )
        for i, anchors in enumerate(detector.anchors)
    ]


def outputs_in_training_form(
    model: Any, x: torch.Tensor, *, anchors: int = 3, rows: Sequence[int] | slice = slice(None)
) -> Levels:
    """The same of a model of `authors`; rows: which of each anchor's."""
    with torch.no_grad():
        levels = model(x)
    return [level[0].unflatten(0, (anchors, -1))[:, rows] for level in levels]


def assert_close(seen: Levels, expected: Levels, *, relative: float = RELATIVE) -> None:
    assert [level.shape for level in seen] == [level.shape for level in expected]
    for one, other in zip(seen, expected, strict=True):
        assert torch.isfinite(other).all()
        difference = (one - other).abs().max().item()
        assert difference <= relative * other.abs().max().item()
