"""Follows a run on the board, stops it, or forgets it.

REQUEST is a JSON object.  "follow": the journal from the record `first_seq` on goes to standard
output, as it grows, and the file `renew`, if one is named, is touched meanwhile, as long as the
host gives a sign of life on standard input every few seconds; at the end of the run one line with
the agreed mark and how it ended goes to standard error.  "stop": the run's supervisor is asked to
end it.  "forget": its folder goes.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from typing import Any, Dict, Optional

READ_BYTES = 256 * 1024
IDLE_S = 0.05
ALIVE_EVERY_S = 0.2  # the board is measuring: no more of its time than that takes
SEEN_EVERY_S = 1.0
SEQ = re.compile(rb'\{"seq":([0-9]{1,12}),')


def say(mark: str, **words: Any) -> None:
    """One line for the host."""
    os.write(2, f"\n{mark}{json.dumps(words)}\n".encode("ascii"))


def is_alive(run: str) -> bool:
    """Whether the run's supervisor lives: it holds a lock as long as it does."""
    try:
        alive = os.open(os.path.join(run, "alive"), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(alive)
    return False


def state_of(run: str) -> Dict[str, Any]:
    """What the supervisor wrote last; empty where it cannot be read."""
    for _ in range(5):
        try:
            with open(os.path.join(run, "state.json"), "rb") as stream:
                return dict(json.loads(stream.read().decode("ascii")))
        except OSError:
            break
        except ValueError:  # it is being written
            time.sleep(0.02)
    return {}


def boot_id() -> Optional[str]:
    """The kernel's name for the time since it started."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()
    return None


def skip(stream: Any, first_seq: int) -> None:
    """To the first record of at least that number, or to the end.

    By numbers and not by lines: a power cut may have cost the journal records that the host has,
    and those that come after it count on from the host's.
    """
    while True:
        at = stream.tell()
        line = stream.readline()
        found = SEQ.match(line)
        if not line.endswith(b"\n") or (found and int(found.group(1)) >= first_seq):
            stream.seek(at)
            return


def write_all(data: bytes) -> None:
    """All of it to the host."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


class Follower:
    """One look at a run, from a record on to its end."""

    def __init__(self, run: str, renew: Optional[str], silent_s: float) -> None:
        self._run = run
        self._silent_s = silent_s
        self._renew = renew
        self._seen_s = -1e9
        self._heard_s = time.monotonic()
        self._followed = -1
        with contextlib.suppress(OSError):
            path = os.path.join(run, "followed")
            self._followed = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def follow(self, stream: Any) -> None:
        """Pass on what is there and what comes, until nobody writes any more or the host left."""
        alive, looked_s = True, -1e9
        while True:
            self._listen(0.0)
            self._note()
            now_s = time.monotonic()
            if now_s - looked_s >= ALIVE_EVERY_S:
                looked_s = now_s
                alive = is_alive(self._run)  # before reading: what is written then is still read
            data = stream.read(READ_BYTES)
            if data:
                write_all(data)
            elif not alive:
                return
            else:
                self._listen(IDLE_S)

    def _listen(self, wait_s: float) -> None:
        """Hear whether the host is there; ends this program where it is not.

        One that says nothing for long is gone, whatever the SSH server still believes.
        """
        now_s = time.monotonic()
        if select.select([0], [], [], wait_s)[0]:
            if not os.read(0, 4096):
                sys.exit(3)
            self._heard_s = now_s
        elif now_s - self._heard_s > self._silent_s:
            sys.exit(3)

    def _note(self) -> None:
        now_s = time.monotonic()
        if now_s - self._seen_s >= SEEN_EVERY_S and self._followed >= 0:
            self._seen_s = now_s
            with contextlib.suppress(OSError):
                os.pwrite(self._followed, f"{now_s:<32.1f}".encode("ascii"), 0)
            if self._renew is not None:
                with contextlib.suppress(OSError):  # gone: what it held was put back
                    os.utime(self._renew)


def follow(asked: Dict[str, Any]) -> None:
    """The records, then how it ended: "ended", or "gone" where nobody lived to tell."""
    run = asked["run"]
    try:
        stream = open(os.path.join(run, "journal.jsonl"), "rb", buffering=READ_BYTES)  # noqa: SIM115
    except OSError as error:
        say(asked["mark"], problem="no-run", detail=str(error))
        return
    skip(stream, asked["first_seq"])
    Follower(run, asked["renew"], asked["silent_s"]).follow(stream)
    state = state_of(run)
    if state.get("ended"):
        say(asked["mark"], ended=state["ended"])
    else:
        same = state.get("boot_id") == boot_id()
        say(asked["mark"], gone="killed" if same else "rebooted")


def stop(asked: Dict[str, Any]) -> None:
    """Ask the supervisor to end the agent, if it lives."""
    if is_alive(asked["run"]):
        os.kill(int(state_of(asked["run"])["pid"]), signal.SIGTERM)


def forget(asked: Dict[str, Any]) -> None:
    """The run's folder goes, unless the run is on."""
    for _ in range(100):
        if not is_alive(asked["run"]):
            shutil.rmtree(asked["run"], ignore_errors=True)
            return
        time.sleep(0.1)


def main(asked: Dict[str, Any]) -> None:
    """One request."""
    try:
        {"follow": follow, "stop": stop, "forget": forget}[asked["do"]](asked)
    except BrokenPipeError:
        os._exit(3)


if __name__ == "__main__":
    main(json.loads(REQUEST))  # type: ignore[name-defined]  # noqa: F821
