"""A SQLite index of run folders, so that listing hundreds of them takes no time.

Nothing is kept in it alone: what is missing, damaged, of another version or older than its folder
is read again.  An index that cannot be used at all costs time, not an answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from targets.progress import SILENT, Progress
from toolchain.history import known
from toolchain.history.entry import Entry, Line, read, stamp

VERSION: Final = 1  # of the tables: another one is made anew
_WAIT_S: Final = 5.0
_TABLES: Final = """
create table folders (
    folder text primary key,   -- absolute
    stamp text not null,       -- of the files it was read from (entry.stamp)
    entry text not null        -- JSON: the rest of entry.Entry
) without rowid
"""
_log = logging.getLogger(__name__)


def entries(more: Collection[Path] = (), *, progress: Progress = SILENT) -> list[Entry]:
    """Every run folder that is known or in `more`, oldest first; those that are gone are left out.

    What `more` names is known from then on; what was removed is not.
    """
    named = set(more)
    wanted = list(dict.fromkeys([*known.folders(), *more]))
    there = [(folder, at) for folder in wanted if (at := stamp(folder)) is not None]
    found_there = [folder for folder, _ in there]
    removed = [one for one in set(wanted).difference(found_there) if _is_removed(one)]
    with contextlib.suppress(OSError):
        known.change(drop=removed, more=[one for one in found_there if one in named])
    with _opened() as index, progress.task("Run folders", total=len(there)) as task:
        found = []
        for folder, at in there:
            found.append(_entry(index, folder, at))
            task.advance()
        _forget(index, found_there)
    return sorted(found, key=lambda entry: (entry.created, entry.folder))


def forget(folder: Path) -> None:
    """A folder that was deleted."""
    known.change(drop=[folder])


def _is_removed(folder: Path) -> bool:
    """Whether it was taken away by itself: not where all around it is gone too, as when a disk is.

    An empty folder may be where a disk belongs.
    """
    try:
        with os.scandir(folder.parent) as others:
            return any(True for _ in others)
    except OSError:
        return False


def _entry(index: sqlite3.Connection | None, folder: Path, at: str) -> Entry:
    kept = _kept(index, folder, at)
    if kept is not None:
        return kept
    made = read(folder, at)
    if index is not None:
        plain = dataclasses.asdict(made)
        del plain["folder"], plain["stamp"]
        row = (os.fspath(folder), at, json.dumps(plain))
        with _forgiven():
            index.execute("insert or replace into folders values (?, ?, ?)", row)
            index.commit()
    return made


def _kept(index: sqlite3.Connection | None, folder: Path, at: str) -> Entry | None:
    if index is None:
        return None
    row = None
    with _forgiven():
        asked = "select entry from folders where folder = ? and stamp = ?"
        row = index.execute(asked, (os.fspath(folder), at)).fetchone()
    return None if row is None else _parsed(folder, at, row[0])


def _parsed(folder: Path, at: str, text: Any) -> Entry | None:
    try:
        plain = json.loads(text)
        lines = tuple(Line(**line) for line in plain.pop("lines"))
        return Entry(folder, at, **plain, lines=lines)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _forget(index: sqlite3.Connection | None, there: list[Path]) -> None:
    if index is None:
        return
    with _forgiven():
        rows = {row[0] for row in index.execute("select folder from folders")}
        gone = rows - {os.fspath(folder) for folder in there}
        index.executemany("delete from folders where folder = ?", [(name,) for name in gone])
        index.commit()


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection | None]:
    """The index, made anew where it is damaged or of another version; None where it cannot be."""
    index = None
    for _ in range(2):
        try:
            index = _open(known.place() / "index.sqlite")
            break
        except (sqlite3.DatabaseError, OSError) as error:
            _log.info("the index of runs is made anew: %s", error)
            with contextlib.suppress(OSError):
                (known.place() / "index.sqlite").unlink(missing_ok=True)
    try:
        yield index
    finally:
        if index is not None:
            index.close()


def _open(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        [version] = index.execute("pragma user_version").fetchone()
        if version != VERSION:
            index.execute("drop table if exists folders")
            index.execute(_TABLES)
            index.execute(f"pragma user_version = {VERSION}")
            index.commit()
        index.execute("select folder, stamp, entry from folders limit 1").fetchone()
    except sqlite3.Error:
        index.close()
        raise
    return index


@contextlib.contextmanager
def _forgiven() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        _log.info("the index of runs is not used: %s", error)
