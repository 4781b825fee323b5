"""The files of a run folder as they are read: everything checked, nothing believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from targets.agent import wire
from targets.allowance import RECORDS_BYTES
from targets.stream import LINE_LIMIT_BYTES
from toolchain.errors import RunFolderError

SCHEMA = "halfbyte.run"
VERSION = 1
_T = TypeVar("_T")


def read_manifest(path: Path) -> dict[str, Any]:
    """`run.json`, its schema and version checked.  Raises RunFolderError."""
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(
            f"{path.parent} is no run folder: it holds no run.json",
            hint="Name the folder that was given as --out.",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path.name, str(error)) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise damaged(path.name, f"its schema is not {SCHEMA}")
    if manifest.get("version") != VERSION:
        raise RunFolderError(
            f"{path} is of version {manifest.get('version')!r}; this halfbyte reads {VERSION}",
            hint="Read it with the halfbyte that wrote it.",
        )
    typed(manifest, "runs", dict)
    return manifest


def read_records(path: Path) -> tuple[tuple[wire.Envelope, ...], bool, int]:
    """Records, whether the last line was cut off, and how many the numbering misses."""
    if not path.exists():
        return (), False, 0
    if path.stat().st_size > RECORDS_BYTES:
        raise damaged(path.name, f"it has more than the {RECORDS_BYTES} bytes that a run may tell")
    records: list[wire.Envelope] = []
    whole, torn = 0, False
    with path.open("rb") as stream:
        for line in iter(lambda: stream.readline(LINE_LIMIT_BYTES), b""):
            if not line.endswith(b"\n") and len(line) < LINE_LIMIT_BYTES:
                torn = True
                break
            whole += 1
            try:
                envelope = wire.decode(line.removesuffix(b"\n"))
            except wire.WireError as error:
                raise damaged(f"{path.name}, line {whole}", str(error)) from error
            if envelope is None:  # of a later version
                continue
            if records and envelope.seq <= records[-1].seq:
                raise damaged(f"{path.name}, line {whole}", f"record {envelope.seq} out of order")
            records.append(envelope)
    expected = records[-1].seq + 1 if records else 0
    return tuple(records), torn, max(0, expected - whole)


def typed(manifest: Mapping[str, Any], field: str, kind: type[_T]) -> _T:
    """A field of `run.json` that is of this type.  Raises RunFolderError."""
    value = manifest.get(field)
    if not isinstance(value, kind):
        raise damaged("run.json", f"{field[:60]} is missing or no {kind.__name__}")
    return value


def damaged(where: str, what: str) -> RunFolderError:
    """The error for a file that is not as we write it."""
    return RunFolderError(f"{where}: {what}", hint="The run folder is damaged; run again.")
