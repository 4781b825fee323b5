"""What lint says: each finding with its tensor, the number that shows it, and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

SCHEMA: Final = "halfbyte.lint"
VERSION: Final = 1

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing found.

    code: its class, a key of `rules.ADVICE`.  where: the tensor or layer, by name.
    others: more of them, of which the same is true.  operator: place in the order of execution of
    the operator that makes it; None where none does.  measure, value, limit: the number that shows
    it, and the one that it is held against (None: there is no such).
    """

    code: str
    severity: Severity
    where: str
    message: str
    advice: str
    measure: str
    value: float
    limit: float | None = None
    operator: int | None = None
    others: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Lint:
    """All findings about a model, the gravest first.

    images, against: pictures used and the float model's name; 0 and None where there were none.
    unchecked: what was not looked at, and why.
    """

    model: str
    model_sha256: str
    findings: tuple[Finding, ...]
    images: int = 0
    against: str | None = None
    boxes: int | None = None
    boxes_against: int | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    unchecked: tuple[str, ...] = ()

    def count(self, severity: Severity) -> int:
        """How many findings are of that severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def failed(self, *, strict: bool) -> bool:
        """Whether a check with this result fails: on errors, if strict on warnings too."""
        return self.count("error") > 0 or (strict and self.count("warning") > 0)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first, then in the order of execution."""
    return tuple(
        sorted(
            findings,
            key=lambda found: (
                SEVERITIES.index(found.severity),
                -1 if found.operator is None else found.operator,
                found.code,
                found.where,
            ),
        )
    )


def to_json(lint: Lint) -> dict[str, Any]:
    """Plain JSON values, schema and version first."""
    summary: Mapping[str, int] = {f"{name}s": lint.count(name) for name in SEVERITIES}
    return {"schema": SCHEMA, "version": VERSION, **summary, **dataclasses.asdict(lint)}


def names(found: Sequence[str], most: int = 3) -> str:
    """Some of many names, for a sentence."""
    shown = ", ".join(found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
