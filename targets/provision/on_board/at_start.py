"""At the board's next start: puts back what a power cut leaves, which is a Jetson's power mode.

A unit of systemd's that is there only while such a hold stands, and runs as root what lies in
root's own folder.  Where there is no systemd, the next host that comes puts it back.
"""

import contextlib
import os
import re
import sys
from typing import Any, Callable, Dict

from targets.provision.on_board.place import ROOTS_FOLDER, Place, save_text

UNIT = "/etc/systemd/system/halfbyte-at-start.service"
WANTED = "/etc/systemd/system/multi-user.target.wants/halfbyte-at-start.service"
PROGRAM = "at-start.py"
# What a power cut does not undo by itself: nvpmodel keeps its mode on the disk.
LASTING = ("mode",)
_PLAIN = re.compile(r"/[\w./+-]+", re.ASCII)  # systemd takes it as it stands
_TEXT = """\
[Unit]
Description=Board settings that halfbyte held when the power went: puts them back
After=nvpmodel.service
ConditionPathExists={backup}

[Service]
Type=oneshot
ExecStart={python} -I -S {program}
TimeoutStartSec=300
"""


def arrange(asked: Dict[str, Any], place: Place, again: Callable[[Dict[str, Any]], str]) -> None:
    """Before such a setting is changed, so that no moment is left out.

    Where it cannot be (no systemd, /etc that nobody can write) nothing is: see `leftover`.
    """
    if place.folder != ROOTS_FOLDER or not os.path.isdir("/run/systemd/system"):
        return
    python = os.path.realpath(sys.executable or "")
    if not _PLAIN.fullmatch(python):
        return
    request = {"do": "leftover", "folder": asked["folder"], "run_lock": asked["run_lock"]}
    unit = _TEXT.format(backup=place.backup, python=python, program=place.path(PROGRAM))
    try:
        save_text(place.path(PROGRAM), again(request), 0o600)
        save_text(UNIT, unit, 0o644)
        os.makedirs(os.path.dirname(WANTED), 0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(os.path.join("..", os.path.basename(UNIT)), WANTED)
        os.sync()
    except OSError:
        forget(place)


def forget(place: Place) -> None:
    """Nothing is left to put back."""
    if place.folder == ROOTS_FOLDER:
        for path in (WANTED, UNIT, place.path(PROGRAM)):
            with contextlib.suppress(OSError):
                os.unlink(path)
