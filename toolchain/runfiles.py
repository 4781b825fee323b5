"""The files of a run folder as they are read: everything checked, nothing believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from targets.agent import wire
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
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop() != b""
    records: list[wire.Envelope] = []
    for number, line in enumerate(lines, start=1):
        try:
            envelope = wire.decode(line)
        except wire.WireError as error:
            raise damaged(f"{path.name}, line {number}", str(error)) from error
        if envelope is None:  # of a later version
            continue
        if records and envelope.seq <= records[-1].seq:
            raise damaged(f"{path.name}, line {number}", f"record {envelope.seq} out of order")
        records.append(envelope)
    expected = records[-1].seq + 1 if records else 0
    return tuple(records), torn, max(0, expected - len(lines))


def typed(manifest: Mapping[str, Any], field: str, kind: type[_T]) -> _T:
    """A field of `run.json` that is of this type.  Raises RunFolderError."""
    value = manifest.get(field)
    if not isinstance(value, kind):
        raise damaged("run.json", f"{field[:60]} is missing or no {kind.__name__}")
    return value


def damaged(where: str, what: str) -> RunFolderError:
    """The error for a file that is not as we write it."""
    return RunFolderError(f"{where}: {what}", hint="The run folder is damaged; run again.")
