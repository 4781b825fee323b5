"""The study folder: what is finished, each cell a file, written as it happens.

    cells/<key>.json     schema halfbyte.study-cell: the cell, its bits, its figures so far
    reference.json       schema halfbyte.study-reference: the float model's detections
    study.json, study.csv, study.md, study.svg    the results (toolchain.study.written)

A key is the hash of all that decides the file's content, so that a file is right or not found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from targets.agent.records import Detected
from targets.errors import InputError
from targets.files import write_whole
from toolchain.errors import RunFolderError
from toolchain.runmeta import built
from toolchain.study import cell as cells
from toolchain.study.cell import Cell
from toolchain.study.made import Made
from toolchain.study.scoring import Figures

CELL_SCHEMA: Final = "halfbyte.study-cell"
REFERENCE_SCHEMA: Final = "halfbyte.study-reference"
VERSION: Final = 1
MAX_FILE_BYTES: Final = 1 << 28

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class State:
    """How far a cell is.

    made: None before it is.  refused: why it cannot be, in a sentence.  screened: on
    `screen_images` images.  final: on all of them.
    """

    cell: Cell
    made: Made | None = None
    refused: str = ""
    screen_images: int = 0
    screened: Figures | None = None
    final: Figures | None = None
    make_seconds: float = 0.0
    run_seconds: float = 0.0


class StudyFolder:
    """Files of one folder; what cannot be read is told and done again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self, cell: Cell, key: str) -> State:
        """What is known of a cell under this key."""
        raw = self._read(self._cell_path(key), CELL_SCHEMA, key)
        if raw is None:
            return State(cell)
        try:
            return _state(cell, raw)
        except InputError as error:
            _tell(self._cell_path(key), error.message)
            return State(cell)

    def keep(self, state: State, key: str) -> None:
        """Write what is known now."""
        body = {
            **dataclasses.asdict(dataclasses.replace(state, cell=None)),  # type: ignore[arg-type]
            "cell": cells.to_json(state.cell),
        }
        self._write(self._cell_path(key), CELL_SCHEMA, key, body)

    def reference(self, key: str) -> tuple[Detected, ...] | None:
        """The float model's detections, None where they are not there."""
        path = self.path / "reference.json"
        raw = self._read(path, REFERENCE_SCHEMA, key)
        if raw is None:
            return None
        try:
            return tuple(_detected(record) for record in raw["records"])
        except (KeyError, TypeError, ValueError) as error:
            _tell(path, f"a record is damaged ({error})")
            return None

    def keep_reference(self, records: Sequence[Detected], key: str) -> None:
        """Write them, in place of those of another study."""
        rows = [
            {
                "image": record.image,
                "width": record.width,
                "height": record.height,
                "detections": record.detections,
            }
            for record in records
        ]
        self._write(self.path / "reference.json", REFERENCE_SCHEMA, key, {"records": rows})

    def _cell_path(self, key: str) -> Path:
        return self.path / "cells" / f"{key}.json"

    def _write(self, path: Path, schema: str, key: str, body: Mapping[str, Any]) -> None:
        document = {"schema": schema, "version": VERSION, "key": key, **body}
        write_whole(path, json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")

    def _read(self, path: Path, schema: str, key: str) -> dict[str, Any] | None:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError("it is too large")
            raw = json.loads(path.read_bytes(), parse_constant=_no_constant)
            if not isinstance(raw, dict) or (raw.get("schema"), raw.get("version")) != (
                schema,
                VERSION,
            ):
                raise ValueError(f"it is no {schema} of version {VERSION}")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _tell(path, str(error))
            return None
        return raw if raw.get("key") == key else None


@contextlib.contextmanager
def held(path: Path) -> Iterator[StudyFolder]:
    """A study folder that nobody else writes to meanwhile.  Raises RunFolderError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with (path / ".lock").open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(
                    f"another study is writing to {path}",
                    hint="Wait for it, or name another folder with --out.",
                ) from error
            yield StudyFolder(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunFolderError(f"{path} is no folder", hint="Name one with --out.") from error


def _state(cell: Cell, raw: Mapping[str, Any]) -> State:
    if cells.from_json(_object(raw, "cell")) != cell:
        raise RunFolderError("it is of another cell")
    parts: dict[str, Any] = {
        name: None if raw.get(name) is None else built(kind, raw[name], name)
        for name, kind in (("made", Made), ("screened", Figures), ("final", Figures))
    }
    plain: _Plain = built(_Plain, raw, "cell")
    return State(cell, **parts, **dataclasses.asdict(plain))


@dataclasses.dataclass(frozen=True)
class _Plain:
    refused: str
    screen_images: int
    make_seconds: float
    run_seconds: float


def _object(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise RunFolderError(f"{key} is no object")
    return value


def _detected(raw: Mapping[str, Any]) -> Detected:
    return Detected(
        image=str(raw["image"]),
        width=int(raw["width"]),
        height=int(raw["height"]),
        detections=tuple(tuple(float(value) for value in row) for row in raw["detections"]),
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _tell(path: Path, why: str) -> None:
    _log.warning("%s cannot be used and is made again: %s", path, why)
