"""What settings were: kept on the board before they are changed, and put back from there.

The backup lies in a folder that, as root, only root can write.  A backup of another run of the
kernel means that the power was cut meanwhile.
"""

import contextlib
import json
import os
import re
import signal
import time
from typing import Any, Dict, List, Optional, Tuple

from targets.provision.on_board import at_start
from targets.provision.on_board.at_start import LASTING
from targets.provision.on_board.fans import is_controlled, is_fan
from targets.provision.on_board.knobs import (
    Knob,
    Refused,
    alike,
    boot_id,
    checked,
    expanded,
    read,
    tool,
    write,
)
from targets.provision.on_board.place import MOST_BYTES, SCHEMA, VERSION, Place, loaded, save

OUTCOME = "halfbyte.firmware-outcome"
_TRIES = 3
_SAY_S = 10.0
_KEPT_OUTCOMES = 32
_OUTCOME = re.compile(r"outcome-[0-9a-f]{16}\.json", re.ASCII)
_RESTORING_ORDER = ("clocks", "mode", "online", "file", "service", "swap")


def taken(asked: Dict[str, Any], changes: List[Any], place: Place) -> Dict[str, Any]:
    """The backup, on the disk before anything is changed."""
    before = {}
    kinds = {knob.kind for knob, _ in changes}
    if "clocks" in kinds:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.clocks)
        if tool("jetson_clocks", "--store", place.clocks)[0] == 0:
            before[Knob("clocks", "")] = "off"  # as in the file
    for knob in [knob for knob, _ in changes if knob.kind != "clocks"] + expanded(
        asked["snapshot"]
    ):
        with contextlib.suppress(OSError, Refused):
            value = read(knob)
            before[checked(knob.kind, knob.path, value)] = value
    backup = {
        "schema": SCHEMA,
        "version": VERSION,
        "id": asked["id"],
        "label": asked["label"],
        "lease": asked["lease"],
        "holder": asked["holder"],
        "boot_id": boot_id(),
        "before": [[knob.kind, knob.path, value] for knob, value in before.items()],
    }
    save(place.backup, backup)
    return backup


def turned(knob: Knob, value: str, place: Place) -> Optional[str]:
    """Set one; None, or why it could not be."""
    try:
        if knob.kind == "file":
            if read(knob).strip() != value:
                write(knob, value + "\n", place.clocks)
        else:
            write(knob, value, place.clocks)
    except PermissionError:
        return "not permitted"
    except OSError as error:
        return os.strerror(error.errno or 0)
    except Refused as refused:
        return str(refused)
    return None


def put_back(place: Place, why: str) -> Dict[str, Any]:
    """Everything as the backup has it; what came of it.  The lock is held.

    The backup is forgotten unless something is left to do.
    """
    stop_guard(place)
    began_ns = time.monotonic_ns()
    backup = loaded(place.backup)
    before = [(checked(*entry), entry[2]) for entry in backup["before"]]
    restarted = backup["boot_id"] != boot_id()
    if restarted:  # what does not outlast a restart is gone by itself
        todo = [(knob, value) for knob, value in before if knob.kind in LASTING]
    else:
        todo = [
            (knob, value)
            for knob, value in before
            if not (is_fan(knob) and is_controlled(now_of(knob), before))
        ]
    left: Dict[Knob, str] = {}
    for _ in range(_TRIES):
        tried = {
            knob: problem
            for knob, value in sorted(todo, key=_place)
            if (problem := turned_back(knob, value, place)) is not None
        }
        # A lower limit above the upper one is refused: the next round has the right order.
        left = dict(tried)
        left.update(differing(todo))
        todo = [(knob, value) for knob, value in todo if knob in left]
        if not todo:
            break
    outcome = {
        "schema": OUTCOME,
        "version": VERSION,
        "id": backup["id"],
        "label": backup["label"],
        "why": why,
        "boot_id": boot_id(),
        "monotonic_ns": began_ns,
        "restarted": restarted,
        "restored": len(before) - len(left),
        "left": [[knob.kind, knob.path, problem] for knob, problem in left.items()],
        "differs": changed(before, left) if restarted else [],
    }
    if not left:
        forget(place)
    with contextlib.suppress(OSError):
        os.makedirs(place.outcomes, 0o755, exist_ok=True)
        save(place.outcome(backup["id"]), outcome)
        forget_old_outcomes(place)
    return outcome


def changed(before: List[Tuple[Knob, str]], but: Dict[Knob, str]) -> List[List[str]]:
    """Those that are not what they were: kind, path, before, now.  Fans move by themselves."""
    found = []
    for knob, value in before:
        if is_fan(knob):
            continue
        now = now_of(knob)
        if knob not in but and now is not None and not alike(knob, now, value):
            found.append([knob.kind, knob.path, value, now])
    return found


def differ(knobs: List[Knob], backup: Dict[str, Any]) -> bool:
    """Whether any is not what it was.  Without root, what is so already can be "set" too."""
    before = {(kind, path): value for kind, path, value in backup["before"]}
    return any(
        knob.kind == "clocks"
        or not alike(knob, now_of(knob), before.get((knob.kind, knob.path), ""))
        for knob in knobs
    )


def forget_old_outcomes(place: Place) -> None:
    """Hosts ask for theirs soon, or when a run that was cut off goes on; the newest are kept."""
    paths = [os.path.join(place.outcomes, name) for name in os.listdir(place.outcomes)]
    paths = [path for path in paths if _OUTCOME.fullmatch(os.path.basename(path))]
    for path in sorted(paths, key=os.path.getmtime)[:-_KEPT_OUTCOMES]:
        os.unlink(path)


def turned_back(knob: Knob, value: str, place: Place) -> Optional[str]:
    """Set one to what it was, if it is not that; None, or why it could not be."""
    try:
        if knob.kind == "clocks" or not alike(knob, read(knob), value):
            write(knob, value, place.clocks)
    except OSError as error:
        return os.strerror(error.errno or 0)
    except Refused as refused:
        return str(refused)
    return None


def differing(wanted: List[Tuple[Knob, str]]) -> Dict[Knob, str]:
    """Those that are not what they should be, with what they are.  Fans move by themselves."""
    found = {knob: now_of(knob) for knob, _ in wanted if knob.kind != "clocks" and not is_fan(knob)}
    return {
        knob: f"it is {found[knob]!r} and was {value!r}"
        for knob, value in wanted
        if knob in found and not alike(knob, found[knob], value)
    }


def now_of(knob: Knob) -> Optional[str]:
    """Its value; None where it cannot be read."""
    try:
        return read(knob)
    except (OSError, Refused):
        return None


def restore(asked: Dict[str, Any], place: Place) -> Dict[str, Any]:
    """Put back what is held; {"held": false} where nothing is, or not the hold that was meant."""
    if not os.path.exists(place.backup):
        return {"held": False, "outcome": None}
    with place.locked():
        if not os.path.exists(place.backup):
            return {"held": False, "outcome": None}
        if asked["only"] not in (None, loaded(place.backup)["id"]):
            return {"held": False, "outcome": None}
        return {"held": True, "outcome": put_back(place, str(asked["why"]))}


def status(place: Place, hold: Optional[str] = None) -> Dict[str, Any]:
    """The backup if there is one, who stands guard, and how the hold of that name ended."""
    found: Dict[str, Any] = {"backup": None, "guard": None, "outcome": None, "boot_id": boot_id()}
    with contextlib.suppress(OSError, Refused):
        found["backup"] = loaded(place.backup)
    found["guard"] = place.guard()
    if hold is not None:
        with contextlib.suppress(OSError, ValueError), open(place.outcome(hold)) as stream:
            found["outcome"] = json.loads(stream.read(MOST_BYTES))
    return found


def stop_guard(place: Place) -> None:
    """End the guard, if one stands that is not this process; the lock is held, so it waits.

    Raises Refused where it does not say which process it is: 0 would be all of our own group.
    """
    end_s = time.monotonic() + _SAY_S
    pid = place.guard()
    while pid == 0:
        if time.monotonic() > end_s:
            raise Refused("a guard stands that does not say which process it is")
        time.sleep(0.02)
        pid = place.guard()
    if pid is None or pid == os.getpid():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while place.guard() == pid:
        time.sleep(0.02)


def forget(place: Place) -> None:
    """Remove what was kept.  The lock is held."""
    at_start.forget(place)
    for name in ("backup.json", "clocks.conf", "guard"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place.path(name))


def _place(entry: Tuple[Knob, str]) -> Tuple[int, int, str]:
    kind = "online" if entry[0].path.endswith("/online") else entry[0].kind
    # The kernel gives areas without a priority of their own lower ones in turn.
    priority = int(entry[1][3:]) if kind == "swap" and entry[1] != "off" else 0
    return _RESTORING_ORDER.index(kind), -priority, entry[0].path
