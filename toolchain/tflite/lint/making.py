"""A finding about a tensor, with what its rule and its place in the graph say."""

from __future__ import annotations

from toolchain.tflite.lint.findings import Finding, Severity
from toolchain.tflite.lint.rules import ADVICE
from toolchain.tflite.view import Node, Tensor, View


def found(
    view: View,
    code: str,
    severity: Severity,
    where: Tensor | Node | str,
    message: str,
    *,
    measure: str,
    value: float,
    limit: float | None = None,
    others: tuple[str, ...] = (),
) -> Finding:
    """where: a tensor, an operator (called by its weights), or a name."""
    operator: int | None = None
    if isinstance(where, Tensor):
        maker = view.producers.get(where.index)
        operator = None if maker is None else maker.index
        name = where.name
    elif isinstance(where, Node):
        operator, name = where.index, view.layer(where)
    else:
        name = where
    return Finding(
        code=code,
        severity=severity,
        where=name,
        message=message,
        advice=ADVICE[code],
        measure=measure,
        value=float(value),
        limit=limit,
        operator=operator,
        others=others,
    )
