"""Run folders: all that a report is made from, written as it happens and never rewritten.

    run.json                       schema, version, command, versions; each run's meta and outcome
    dataset.json                   images, categories and ground truth, in COCO form
    examples/<image id>.jpg        a few pictures made small, chosen before anything ran
    records/<run key>.<n>.jsonl    the board's records, one a line, of the n-th attempt

`run.json` is replaced whole; records are only appended.  A run that was cut off has no outcome, or
one that is not whole, and keeps what it had.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from targets.agent import wire
from targets.files import write_whole
from toolchain.claims import claimed, writing
from toolchain.errors import DataError, RunFolderError
from toolchain.evaluate import snapshot
from toolchain.evaluate.pictures import keep_small
from toolchain.evaluate.truth import Dataset
from toolchain.recorded import Recorded, Run, Unfinished
from toolchain.runfiles import SCHEMA, VERSION, damaged, read_manifest, read_records, typed
from toolchain.runmeta import (
    BoardSettings,
    Outcome,
    RunMeta,
    TuningMeta,
    built,
)

_T = TypeVar("_T")
_RUN_ID = re.compile(r"[0-9a-f]{16}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,99}")


class RunFolder:
    """One folder; safe to use from several threads of one process."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self._manifest = manifest
        self._lock = threading.Lock()

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        command: Sequence[str],
        versions: Mapping[str, str],
        dataset: Dataset | None = None,
        examples: int = 3,
        created: str | None = None,
    ) -> RunFolder:
        """A new run folder at `path`.  Raises RunFolderError where there is one already.

        dataset: kept whole, ground truth included; `examples` pictures of it are kept small.
        created: ISO 8601, UTC; now where None.
        """
        if (path / "run.json").exists():
            raise RunFolderError(
                f"{path} holds a run already", hint="Name another folder, or remove this one."
            )
        folder = cls(
            path,
            {
                "schema": SCHEMA,
                "version": VERSION,
                "created": created or _now(),
                "command": list(command),
                "versions": dict(versions),
                "runs": {},
            },
        )
        with writing(path):
            (path / "records").mkdir(parents=True, exist_ok=True)
            if dataset is not None:
                write_whole(path / "dataset.json", snapshot.dump(dataset))
                keep_small(dataset, path / "examples", examples)
            folder._write()
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run folder that is there, to go on writing or to load.  Raises RunFolderError."""
        return cls(path, read_manifest(path / "run.json"))

    def retell(self, command: Sequence[str]) -> None:
        """The command that goes on with this folder: what repeats it from now on."""
        with self._lock, writing(self.path):
            self._manifest["command"] = list(command)
            self._write()

    def start(self, run_key: str, meta: RunMeta, run_id: str | None = None) -> None:
        """Begin a run, or begin it again: an earlier attempt's records stay in their own file.

        run_id: the run's name on the board, by which it is found there again.
        """
        if not _KEY.fullmatch(run_key):
            raise ValueError(f"not a run key: {run_key!r}")
        with self._lock, writing(self.path):
            attempts = self._manifest["runs"].setdefault(run_key, [])
            attempts.append(
                {
                    "started": _now(),
                    "meta": wire.plain(meta),
                    "run_id": run_id,
                    "outcome": None,
                }
            )
            self._records(run_key, len(attempts)).touch()
            self._write()

    @property
    def run_keys(self) -> tuple[str, ...]:
        """Names of the runs, in the order in which they were begun."""
        with self._lock:
            return tuple(self._manifest["runs"])

    def attempts(self, run_key: str) -> int:
        """How many attempts at a run there are."""
        with self._lock:
            return len(self._manifest["runs"].get(run_key, ()))

    def records_of(self, run_key: str) -> tuple[wire.Envelope, ...]:
        """What the last attempt told.  Raises RunFolderError."""
        return read_records(self._records(run_key, len(self._manifest["runs"][run_key])))[0]

    def bytes_of(self, run_key: str) -> int:
        """Of what the last attempt told so far."""
        path = self._records(run_key, len(self._manifest["runs"][run_key]))
        return path.stat().st_size if path.exists() else 0

    def unfinished(self, run_key: str) -> Unfinished | None:
        """The last attempt, if it is not whole and has a name on its board.

        Raises RunFolderError.
        """
        attempts = self._manifest["runs"].get(run_key)
        if not attempts or not isinstance(attempts, list):
            return None
        run, run_id = (
            self._attempt(run_key, len(attempts), attempts[-1]),
            attempts[-1].get("run_id"),
        )
        if run.whole or run.missing or not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
            return None
        return Unfinished(run_id, run.meta, run.records, run.settings)

    def take_up(self, run_key: str) -> None:
        """Go on with the last attempt; a line that was cut off goes."""
        attempts = self._manifest["runs"][run_key]
        path = self._records(run_key, len(attempts))
        with self._lock, writing(self.path):
            with path.open("r+b") as stream:
                stream.truncate(stream.read().rfind(b"\n") + 1)
            attempts[-1]["outcome"] = None
            self._write()

    def settled(self, run_key: str, settings: BoardSettings) -> None:
        """Say what the board was set to around the last attempt."""
        self._tell(run_key, "settings", settings)

    def tuned(self, run_key: str, tuning: TuningMeta) -> None:
        """Say how the threads of the last attempt were chosen."""
        self._tell(run_key, "tuning", tuning)

    def _tell(self, run_key: str, what: str, value: BoardSettings | TuningMeta) -> None:
        with self._lock, writing(self.path):
            self._manifest["runs"][run_key][-1][what] = wire.plain(value)
            self._write()

    def append(self, run_key: str, envelope: bytes, *, sync: bool = False) -> None:
        """Keep one line of the wire, as it came; sync: it and all before it are on the disk."""
        line = envelope.rstrip(b"\r\n")
        if b"\n" in line:
            raise ValueError("one record at a time")
        path = self._records(run_key, len(self._manifest["runs"][run_key]))
        with self._lock, writing(self.path), path.open("ab") as stream:
            stream.write(line + b"\n")
            if sync:
                stream.flush()
                os.fsync(stream.fileno())

    def withdraw(self, run_key: str) -> None:
        """The last attempt never began: it goes, as if it had not been."""
        with self._lock, writing(self.path):
            attempts = self._manifest["runs"][run_key]
            self._records(run_key, len(attempts)).unlink(missing_ok=True)
            attempts.pop()
            if not attempts:
                del self._manifest["runs"][run_key]
            self._write()

    def claimed(self) -> AbstractContextManager[None]:
        """Nobody else writes into this folder meanwhile (`claims.claimed`)."""
        return claimed(self.path)

    def finish(self, run_key: str, outcome: Outcome) -> None:
        """Say how the run ended."""
        with self._lock, writing(self.path):
            attempt = self._manifest["runs"][run_key][-1]
            attempt["outcome"] = {**wire.plain(outcome), "ended": _now()}
            self._write()

    def load(self) -> Recorded:
        """All of it, checked.  Of several attempts the last counts, or an earlier one that was
        asked the same and, unlike it, is whole.

        Raises RunFolderError, with the file and the line.
        """
        with self._lock:  # boards side by side add to it
            manifest = {**self._manifest, "runs": dict(typed(self._manifest, "runs", dict))}
        return Recorded(
            created=typed(manifest, "created", str),
            command=tuple(str(word) for word in typed(manifest, "command", list)),
            versions={str(k): str(v) for k, v in typed(manifest, "versions", dict).items()},
            dataset=self._dataset(),
            examples={
                int(file.stem): file
                for file in sorted((self.path / "examples").glob("*.jpg"))
                if file.stem.isdecimal()
            },
            runs=tuple(self._run(key) for key in manifest["runs"]),
        )

    def _run(self, key: str) -> Run:
        attempts = typed(self._manifest["runs"], key, list)
        if not attempts or not _KEY.fullmatch(key):
            raise damaged("run.json", f"runs.{key[:40]} is empty or misnamed")
        runs = [self._attempt(key, number, raw) for number, raw in enumerate(attempts, start=1)]
        same = [run for run in runs if run.whole and run.meta == runs[-1].meta]
        return same[-1] if same else runs[-1]

    def _attempt(self, key: str, number: int, raw: Any) -> Run:
        where = f"runs.{key}[{number - 1}]"
        if not isinstance(raw, dict):
            raise damaged("run.json", f"{where} is no object")
        outcome = raw.get("outcome")
        path = self._records(key, number)
        records, torn, missing = read_records(path)
        return Run(
            key=key,
            meta=built(RunMeta, raw.get("meta"), f"{where}.meta"),
            outcome=None if outcome is None else built(Outcome, outcome, f"{where}.outcome"),
            records=records,
            torn=torn,
            missing=missing,
            settings=_optional(BoardSettings, raw, "settings", where),
            tuning=_optional(TuningMeta, raw, "tuning", where),
        )

    def _dataset(self) -> Dataset | None:
        path = self.path / "dataset.json"
        if not path.exists():
            return None
        try:
            return snapshot.parse(path.read_bytes())
        except DataError as error:
            raise RunFolderError(error.message, hint=error.hint) from error

    def _records(self, key: str, attempt: int) -> Path:
        return self.path / "records" / f"{key}.{attempt}.jsonl"

    def _write(self) -> None:
        text = json.dumps(self._manifest, allow_nan=False, indent=1)
        write_whole(self.path / "run.json", text.encode("ascii") + b"\n")


def _optional(cls: type[_T], raw: Mapping[str, Any], field: str, where: str) -> _T | None:
    if raw.get(field) is None:
        return None
    found: _T = built(cls, raw[field], f"{where}.{field}")
    return found


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
