"""Puts settings in force, with a guard that puts them back; or looks, or puts back.

REQUEST is a JSON object: `do` is "look", "apply", "restore", "leftover" or one of BOOT; the answer
is one JSON line on standard output.  "guard" is this program started by itself (`standing.py`).
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from typing import Any, Dict, Optional, Tuple, Union

from targets.provision.on_board import at_start, boot_file
from targets.provision.on_board.keeping import (
    differ,
    forget,
    put_back,
    restore,
    status,
    stop_guard,
    taken,
    turned,
)
from targets.provision.on_board.knobs import Knob, Refused, checked, look
from targets.provision.on_board.place import Place, loaded
from targets.provision.on_board.standing import Again, guarded, mark_of, stand

LET_GO_S = 3.0  # a run that has just ended may need a moment to let go of the board
BOOT = {
    "boot-prepare": boot_file.prepare,
    "boot-settle": boot_file.settle,
    "boot-restore": boot_file.put_back,
    "boot-restart": boot_file.restart,
}


def apply(asked: Dict[str, Any], place: Place, again: Again) -> Dict[str, Any]:
    """Back up, leave a guard, set, read back.

    What is held already is put back first, unless it is somebody's at work: then nothing is done
    but to say whose.  Nor where what was held before cannot all be put back: its backup stays the
    only one.  What may not be changed is a problem of its own, and the rest goes on.
    """
    wanted = [permitted(change) for change in asked["changes"]]
    changes = [change for change in wanted if not isinstance(change, str)]
    asked["lease_s"] = float(asked["lease_s"])
    before = None
    with place.locked():
        busy = in_use(asked)
        if busy is not None:
            return busy
        if os.path.exists(place.backup):
            before = put_back(place, ended(place))
            if before["left"]:
                return {"left": before}
        backup = taken(asked, changes, place)
        with guarded_or_forgotten(asked, place, again):
            if any(kind in at_start.LASTING for kind, _, _ in backup["before"]):
                at_start.arrange(asked, place, again)
            problems = [
                change if isinstance(change, str) else turned(*change, place) for change in wanted
            ]
        done = [
            change[0]
            for change, problem in zip(wanted, problems)
            if problem is None and not isinstance(change, str)
        ]
        held = len(done) == len(wanted) > 0 or differ(done, backup)
        if not held:
            stop_guard(place)
            forget(place)  # nothing was changed, so nothing is to be put back
    return {
        "problems": problems,
        "replaced": before,
        "held": held,
        "backup": backup,
        "look": look(asked["look"]),
    }


def permitted(change: Dict[str, Any]) -> Union[Tuple[Knob, str], str]:
    """What to set to which value; or why it may not be, as of a swap area of an odd name."""
    try:
        kind, path = change["knob"]
        return checked(kind, path, change["value"]), change["value"]
    except Refused as refused:
        return str(refused)


@contextlib.contextmanager
def guarded_or_forgotten(asked: Dict[str, Any], place: Place, again: Again) -> Any:
    """As `guarded`; a backup that nobody would guard goes, as nothing was changed."""
    stands = False
    try:
        with guarded(asked, again):
            stands = True
            yield
    finally:
        if not stands:
            forget(place)


def in_use(asked: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Whose hold or run would suffer from a change, if anybody's; not those named as ours."""
    for place in places(asked):
        with contextlib.suppress(OSError, Refused):
            backup = loaded(place.backup)
            mine = backup["id"] in asked["ours"]
            if not mine and place.guard() is not None and ended(place) != "over":
                return {"busy": {"label": backup["label"], "holder": backup.get("holder")}}
    end_s = time.monotonic() + LET_GO_S
    while True:
        run = run_of(asked["run_lock"])
        if run is None or run.get("run") in asked["runs"]:
            return None
        if time.monotonic() > end_s:
            return {"busy": {"label": None, "holder": run}}
        time.sleep(0.05)


def ended(place: Place) -> str:
    """Why a hold that is put back now ends: "over" where its lease is gone already,
    "leftover" where its guard is.
    """
    lease = loaded(place.backup).get("lease")
    if isinstance(lease, str) and mark_of(lease) is None:
        return "over"
    return "leftover" if place.guard() is None else "replaced"


def run_of(path: str) -> Optional[Dict[str, Any]]:
    """Who holds the board for a run (`start.py`), if anybody does."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(ValueError):
            told = json.loads(os.read(lock, 4096).decode("utf-8", "replace"))
            if isinstance(told, dict):
                return told
        return {}
    finally:
        os.close(lock)
    return None


def leftover(asked: Dict[str, Any], place: Place) -> Dict[str, Any]:
    """Put back what nobody guards any more: the power was cut, or the guard was killed."""
    if not os.path.exists(place.backup):
        return {"held": False, "outcome": None}
    with place.locked():
        if not os.path.exists(place.backup) or place.guard() is not None:
            return {"held": False, "outcome": None}
        if run_of(asked["run_lock"]) is not None:
            return {"held": True, "outcome": None}
        return {"held": True, "outcome": put_back(place, "leftover")}


def places(asked: Dict[str, Any]) -> Any:
    """Root's, and the user's."""
    folder = asked.get("users_folder", asked["folder"])
    return [Place(folder, as_root=as_root) for as_root in (True, False)]


def not_in_use(asked: Dict[str, Any]) -> None:
    """A restart would end whatever is on.  Raises Refused."""
    busy = in_use(dict(asked, ours=[], runs=[]))
    if busy is not None:
        holder = busy["busy"]["holder"] or {}
        who = f"{holder.get('user', 'somebody')}@{holder.get('host', 'somewhere')}"
        what = "a run" if busy["busy"]["label"] is None else "settings"
        raise Refused(f"it would end {what} of {who}, since {holder.get('since', 'some time')}")


def answer(asked: Dict[str, Any], again: Again) -> Dict[str, Any]:
    """Do what is asked."""
    place = Place(asked["folder"], as_root=os.geteuid() == 0)
    if asked["do"] == "guard":
        stand(asked, place)
    if asked["do"] == "look":
        root, user = [status(one, asked.get("hold")) for one in places(asked)]
        held = {"root": root, "user": user}
        return dict(look(asked["look"]), held=held, boot=boot_file.backup())
    if asked["do"] == "apply":
        return apply(asked, place, again)
    if asked["do"] == "restore":
        return restore(asked, place)
    if asked["do"] == "leftover":
        return leftover(asked, place)
    if asked["do"] in BOOT:
        if asked["do"] in ("boot-prepare", "boot-restart"):
            not_in_use(asked)
        return BOOT[asked["do"]](asked)
    raise Refused(f"{asked['do']!r} is nothing that can be done")


def main(asked: Dict[str, Any], again: Again) -> None:
    """Answer."""
    os.umask(0o022)
    try:
        told = answer(asked, again)
    except Refused as refused:
        told = {"problem": str(refused)}
    except PermissionError as error:
        told = {"problem": "not permitted", "detail": str(error)}
    except OSError as error:
        told = {"problem": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(REQUEST, AGAIN)  # type: ignore[name-defined]  # noqa: F821
