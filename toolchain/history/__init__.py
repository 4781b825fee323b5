"""Run folders that are known on this machine: folders are the truth, the index is made from them.

cache/runs/known.jsonl     where run folders are, a line each time that one was written to
cache/runs/index.sqlite    what is in them, made anew where it is missing, damaged or stale
"""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger(__name__)


def note(folder: Path) -> None:
    """Remember where a run folder is.  Never fails: a run is not lost over its bookkeeping."""
    try:
        from toolchain.history.known import add

        add(folder)
    except Exception as error:  # noqa: BLE001  whatever it is, the run goes on
        _log.debug("the run folder %s is not noted: %s", folder, error)
