"""Runs as they are read from their folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from targets.agent import wire
from toolchain.evaluate.truth import Dataset
from toolchain.runmeta import BoardSettings, Outcome, RunMeta, TuningMeta

_R = TypeVar("_R")


@dataclasses.dataclass(frozen=True)
class Run:
    """One model on one target, as far as it came.

    outcome: None where nobody wrote one (the host itself was stopped).  torn: the last line was
    cut off and is left out.  missing: records that the numbering says are not there.  settings: of
    the board, None where nobody read them.  tuning: how its threads were chosen, None where they
    were given.
    """

    key: str
    meta: RunMeta
    outcome: Outcome | None
    records: tuple[wire.Envelope, ...]
    torn: bool = False
    missing: int = 0
    settings: BoardSettings | None = None
    tuning: TuningMeta | None = None

    @property
    def whole(self) -> bool:
        """Ended well, and every record is there to the last."""
        ended = self.outcome is not None and self.outcome.whole
        return ended and not self.torn and not self.missing and self.last(wire.Finished) is not None

    def of(self, kind: type[_R]) -> tuple[_R, ...]:
        """The records of one type, in order."""
        return tuple(e.record for e in self.records if isinstance(e.record, kind))

    def last(self, kind: type[_R]) -> _R | None:
        """The last record of one type."""
        return next((e.record for e in reversed(self.records) if isinstance(e.record, kind)), None)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A run folder as read.  examples: small pictures by image id."""

    created: str
    command: tuple[str, ...]
    versions: Mapping[str, str]
    dataset: Dataset | None
    examples: Mapping[int, Path]
    runs: tuple[Run, ...]


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A run that may still be going on where it was started.  run_id: its name there.

    settings: what is known of the board's around it so far.
    """

    run_id: str
    meta: RunMeta
    records: tuple[wire.Envelope, ...]
    settings: BoardSettings | None = None
