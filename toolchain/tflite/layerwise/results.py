"""What a comparison layer by layer says, and its JSON."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

SCHEMA: Final = "halfbyte.verification"
VERSION: Final = 1
LOWEST_DB: Final = -100.0
"""The least SQNR that is told: also that of a tensor whose reference is 0 everywhere."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One activation beside the float model's of the same name, over all pictures.

    operator, kind: the operator that makes it and its place in the order of execution.  layer: what
    that operator is called.  reader: through what it is compared ("silu": after x * sigmoid(x)).
    sqnr_db: signal to quantization noise; None: no difference at all.  input_sqnr_db: the worst of
    what its operator reads; None: exact.  drop_db: how much the operator loses; None where its
    inputs are exact or nothing is lost.  mean_shift: mean difference over the reference's root
    mean square.  diverges: see `Rule`.
    """

    operator: int
    kind: str
    layer: str
    tensor: str
    reader: str
    values: int
    sqnr_db: float | None
    input_sqnr_db: float | None
    drop_db: float | None
    mean_shift: float
    diverges: bool
    has_weights: bool


@dataclasses.dataclass(frozen=True)
class Rule:
    """A layer diverges where its SQNR is below `limit_db` and at least `drop_db` below the worst of
    its inputs': it adds to what it was given.
    """

    limit_db: float
    drop_db: float


@dataclasses.dataclass(frozen=True)
class Verification:
    """A quantized model beside its float reference.

    layers: in the order of execution.  unmatched: quantized activations without a counterpart.
    batches: in how many probes they were looked at.
    """

    model: str
    model_sha256: str
    against: str
    against_sha256: str
    images: int
    rule: Rule
    layers: tuple[Layer, ...]
    unmatched: int = 0
    batches: int = 1
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def first(self) -> Layer | None:
        """The first layer that diverges."""
        return next((layer for layer in self.layers if layer.diverges), None)

    @property
    def lowest(self) -> Layer:
        """The layer with the lowest SQNR."""
        return min(self.layers, key=lambda layer: depth(layer.sqnr_db))


def depth(sqnr_db: float | None) -> float:
    """An SQNR for comparing: no noise is above everything."""
    return float("inf") if sqnr_db is None else sqnr_db


def to_json(found: Verification) -> dict[str, Any]:
    """Plain JSON values, schema and version first; `first` is a tensor's name or null."""
    first = found.first
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "first": None if first is None else first.tensor,
        **dataclasses.asdict(found),
    }
