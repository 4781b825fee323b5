"""The programs on the board that read and change settings: how they get there and what they say.

They go over standard input, as text of this host's: no file on the board, which somebody could
change, is ever run as root.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from targets.deadline import Deadline
from targets.errors import CommandFailed
from targets.firmware.answers import checked
from targets.privilege import NotPermitted, Privilege
from targets.process import Completed
from targets.provision import on_board
from targets.ssh import Connection

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_MODULES: Final = (
    *("trusted", "knobs", "boot_file", "place", "at_start", "fans"),
    *("keeping", "start", "standing", "guard"),
)
# One line, the same in every release, so that one line of sudoers permits it.
_LOADER: Final = "import sys;exec(sys.stdin.buffer.read())"
# AGAIN makes the same text for another request: by it a guard is started on the board.
_LOAD: Final = """\
import json, sys, types
NAME, MODULES, REQUEST = json.loads(BUNDLED)
def AGAIN(request):
    bundled = json.dumps([NAME, MODULES, request])
    return "BUNDLED=%r\\nLOAD=%r\\nexec(LOAD)\\n" % (bundled, LOAD)
package = sys.modules[NAME] = types.ModuleType(NAME)
for name, text in MODULES[:-1]:
    module = sys.modules[name] = types.ModuleType(name)
    setattr(package, name.rpartition(".")[2], module)
    exec(compile(text, name, "exec"), module.__dict__)
name, text = MODULES[-1]
exec(compile(text, name, "exec"), {"__name__": "__main__", "REQUEST": REQUEST, "AGAIN": AGAIN})
"""


@dataclass(frozen=True)
class Answer:
    """What the program said; refused: why it did not run as root, though it was asked to."""

    value: Mapping[str, Any]
    refused: NotPermitted | None = None

    @property
    def problem(self) -> str | None:
        """Why it did nothing."""
        found = self.value.get("problem")
        return found if isinstance(found, str) else None


def bundle(request: Mapping[str, Any]) -> bytes:
    """The programs and what they are asked, as one text of Python."""
    return as_text(modules(), request)


def modules() -> list[tuple[str, str]]:
    """Names and texts of the programs, the one that answers last."""
    return [(f"{on_board.__name__}.{name}", on_board.source(name)) for name in _MODULES]


def as_text(programs: Sequence[tuple[str, str]], request: Mapping[str, Any]) -> bytes:
    """Python that runs the last program on the request, the others as modules."""
    bundled = json.dumps([on_board.__name__, programs, request])
    return f"BUNDLED={bundled!r}\nLOAD={_LOAD!r}\nexec(LOAD)\n".encode()


def ask(
    connection: Connection,
    request: Mapping[str, Any],
    *,
    python: str,
    privilege: Privilege | None,
    deadline: Deadline,
) -> Answer:
    """Run it, as root where that is permitted, else as the user who is logged in.

    python: the interpreter for a run as the user; root's own is what root would start.
    Raises BoardError (the answer is none), CommandFailed, LinkLost, DeadlineExceeded.
    """
    text = bundle(request)
    refused: NotPermitted | None = None
    if privilege is not None:
        words = ["python3", "-I", "-S", "-c", _LOADER]
        done = privilege.run_as_root(words, deadline, stdin=text)
        if isinstance(done, Completed):
            return Answer(checked(connection.name, request, _parsed(connection, done)))
        refused = done
    done = connection.run([python, "-I", "-S", "-c", _LOADER], stdin=text, deadline=deadline)
    return Answer(checked(connection.name, request, _parsed(connection, done)), refused)


def _parsed(connection: Connection, done: Completed) -> dict[str, Any]:
    try:
        if len(done.stdout) > MAX_ANSWER_BYTES:
            raise ValueError
        answer = json.loads(done.stdout.splitlines()[-1])
        if not isinstance(answer, dict):
            raise TypeError
    except (ValueError, IndexError, TypeError, RecursionError):
        raise CommandFailed(
            f"the program for settings did not answer on {connection.name} ({done.how})"
            + (f": {done.complaint}" if done.complaint else "."),
            hint="Does python3 start there by hand?",
        ) from None
    return answer
