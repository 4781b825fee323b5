"""What was chosen for a model on a board, kept for the next time.

`tuning.json` in the cache folder.  A choice belongs to all that decides it: the board by what it
says of itself (never by the target's name), the clocks that it is allowed, the model's content, the
image size and the runtime.  A file that is damaged or of another version counts as empty.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from targets.agent.records import Facts
from targets.files import write_whole
from targets.places import cache_dir
from toolchain.errors import RunFolderError
from toolchain.runmeta import ModelMeta, TuningMeta, built

SCHEMA: Final = "halfbyte.tuning"
VERSION: Final = 1
MOST_KEPT: Final = 1000
_MOST_BYTES: Final = 16 * 2**20
_MOST_CPUS: Final = 1024
_log = logging.getLogger(__name__)


def key_of(facts: Facts, model: ModelMeta) -> str:
    """Hex sha256 of what a choice belongs to."""
    parts = {
        "board": [facts.board_model, list(facts.compatible), facts.machine, facts.cpu_model],
        "cores": [
            [list(c.cpus), c.kind, c.implementer, c.part, c.hardware_max_khz, c.max_khz]
            for c in facts.clusters
        ],
        "allowed": list(facts.allowed_cpus) or facts.cpus_allowed,
        "userland_bits": facts.userland_bits,
        "runtime": facts.runtime,
        "model": model.sha256,
        "imgsz": model.imgsz,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def recall(key: str) -> TuningMeta | None:
    """What was chosen there; None where nothing was, or nothing that can be read."""
    entry = _read()[0].get(key)
    if entry is None:
        return None
    try:
        found: TuningMeta = built(TuningMeta, entry, f"choices.{key[:8]}")
        _check(found)
    except (RunFolderError, ValueError, OverflowError) as error:
        words = error.message if isinstance(error, RunFolderError) else str(error)
        _log.warning("%s: %s; it is measured again", _place(), words)
        return None
    return dataclasses.replace(found, remembered=True)


def remember(key: str, tuning: TuningMeta) -> None:
    """Keep a choice; of too many the oldest go.  What cannot be kept is told and no more."""
    try:
        with _locked():
            choices, ours = _read()
            if not ours:
                return
            choices.pop(key, None)
            choices[key] = dataclasses.asdict(dataclasses.replace(tuning, remembered=False))
            kept = dict(list(choices.items())[-MOST_KEPT:])
            document = {"schema": SCHEMA, "version": VERSION, "choices": kept}
            write_whole(_place(), json.dumps(document, indent=1, allow_nan=False).encode())
    except OSError as error:
        _log.warning("%s: %s; what was measured is not remembered", _place(), error)


def _place() -> Path:
    return cache_dir() / "tuning.json"


def _read() -> tuple[dict[str, Any], bool]:
    """Choices by key, and whether the file may be written: not where a newer halfbyte wrote it."""
    place = _place()
    try:
        with place.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError("it is too large")
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        if document.get("version") != VERSION:
            _log.warning(
                "%s is of version %.20r and this halfbyte knows %d: what it remembers is not used",
                place,
                document.get("version"),
                VERSION,
            )
            return {}, False
        choices = document.get("choices")
        if not isinstance(choices, dict):
            raise ValueError("it holds no choices")
    except FileNotFoundError:
        return {}, True
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s cannot be read (%s): what it remembers is not used", place, error)
        return {}, True
    return choices, True


def _check(found: TuningMeta) -> None:
    """Raises ValueError: numbers that no choice has."""
    ways = [(one.threads, one.cpus) for one in found.tried]
    for threads, cpus in [(found.threads, found.cpus), *ways]:
        if not 1 <= threads <= _MOST_CPUS or any(not 0 <= cpu < _MOST_CPUS for cpu in cpus):
            raise ValueError("threads or CPUs out of range")
        if cpus and threads > len(set(cpus)):
            raise ValueError("more threads than CPUs")
    if any(not math.isfinite(one.median_ms) or one.median_ms <= 0 for one in found.tried):
        raise ValueError("a time that is none")
    if found.noise is not None and not 0 <= found.noise < math.inf:
        raise ValueError("a noise that is none")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Boards side by side, and other processes, write in turn."""
    with _place().with_suffix(".lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
