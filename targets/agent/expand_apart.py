"""A model expanded by a process of its own, which ends before the runtime loads the model.

What expanding takes (modules, tables, a second thread) ends with that process, so a packed model
costs the one that is measured no more memory than its int8 form.  The two share what the first
has opened: a pipe whose end says that the first has ended, one for the answer, and the files to
write into.  It works from the start, beside all that the first does until it needs the model, such
as checking that the file is the one that was sent; what it made of another is thrown away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import select
import signal
from typing import Any, Callable, Dict, NoReturn, Optional, Tuple

from .faults import Interrupted
from .flat import Malformed
from .signals import SIGNALS

_log = logging.getLogger(__name__)

FILE, MEMORY, NOTHING = "file", "memory", "nothing"
_MALFORMED, _OUT_OF_MEMORY, _FAILED = "malformed", "out-of-memory", "failed"
_LOOK_MS = 100
_MAX_ANSWER_BYTES = 4096  # a pipe takes that much in one piece
_MAX_MESSAGE = 500  # characters, of up to 6 bytes in JSON


class Unable(Exception):
    """It did not work there; here it may, or will say what is wrong."""


@dataclasses.dataclass(frozen=True)
class Made:
    """where: FILE, MEMORY, or NOTHING where nothing is to be expanded.

    packed: whether a stock runtime refuses the model as it was.  peak_rss_bytes: of the process,
    the pages that it shared with this one among them.
    """

    where: str
    packed: bool
    peak_rss_bytes: Optional[int]


def is_possible() -> bool:
    """Whether nothing but this thread runs: another's locks would stay locked in the child."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def memory_file() -> Optional[int]:
    """A file in memory, open, that `path_of` names; None where there are none."""
    try:
        memory = os.memfd_create("expanded")
    except (AttributeError, OSError):
        return None
    if os.path.exists(path_of(memory)):
        return memory
    os.close(memory)
    return None


def path_of(descriptor: int) -> str:
    """Under which this process, and no other, can open an open file again."""
    return f"/proc/self/fd/{descriptor}"


class Expander:
    """A process that expands a model.

    part: an empty file, open, or None.  memory: the same, for where `part` cannot be had or
    `has_room` of the size in bytes says no.  What is in the end in the wrong one is no matter.
    """

    def __init__(
        self,
        packed: Any,
        *,
        int4: bool,
        part: Optional[int],
        memory: Optional[int],
        has_room: Callable[[int], bool],
    ) -> None:
        """Raises OSError where there can be no further process."""
        pipes = [*os.pipe()]
        try:
            pipes += os.pipe()
            parent = os.getpid()
            self._pid = os.fork()
        except OSError:
            for end in pipes:
                os.close(end)
            raise
        life, self._life, self._answer, answer = pipes
        if self._pid == 0:
            os.close(self._life)  # its last writer's end is to be noticed
            os.close(self._answer)
            _work(_Work(packed, int4, part, memory, has_room, life, answer, parent))
        os.close(life)
        os.close(answer)

    def make(self, asked_to_stop: Callable[[], Optional[str]]) -> Made:
        """Wait for the model.  asked_to_stop: the name of a signal that came, or None.

        Raises Malformed, MemoryError, Interrupted, Unable.
        """
        poll = select.poll()
        poll.register(self._answer, select.POLLIN)
        while not poll.poll(_LOOK_MS):
            name = asked_to_stop()
            if name is not None:
                self.end()
                raise Interrupted(name)
        answer = os.read(self._answer, _MAX_ANSWER_BYTES)  # nothing, where it was killed
        status, peak = self._ended()
        if not answer:
            raise _reason(status)
        words = json.loads(answer)
        if words["how"] == _MALFORMED:
            raise Malformed(words["message"])
        if words["how"] == _OUT_OF_MEMORY:
            raise MemoryError(words["message"])
        if words["how"] == _FAILED:
            raise Unable(words["message"])
        return Made(words["how"], words["packed"], peak)

    def end(self) -> None:
        """Nothing of it is left; again it does nothing."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._ended()

    def _ended(self) -> Tuple[Optional[int], Optional[int]]:
        """Wait for its end: status, and its highest RSS in bytes."""
        try:
            _, status, usage = os.wait4(self._pid, 0)
        except ChildProcessError:  # who started us ignores SIGCHLD
            return None, None
        finally:
            self._pid = 0
            os.close(self._life)
            os.close(self._answer)
        return status, usage.ru_maxrss * 1024


def _reason(status: Optional[int]) -> Exception:
    """Of an end without an answer."""
    number = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0
    if number in SIGNALS:
        return Interrupted(signal.Signals(number).name)
    if number == signal.SIGKILL or status is None:
        return MemoryError(
            "the process that expands the model was killed, as the kernel does when memory is short"
        )
    return Unable(f"the process that expands the model ended with the status {status}")


@dataclasses.dataclass(frozen=True)
class _Work:
    packed: Any
    int4: bool
    part: Optional[int]
    memory: Optional[int]
    has_room: Callable[[int], bool]
    life: int
    answer: int
    parent: int


def _work(work: _Work) -> NoReturn:
    """The whole life of the child: nothing of the parent's own is run or undone in it."""
    try:
        for number in (*SIGNALS, signal.SIGIO):
            signal.signal(number, signal.SIG_DFL)
        words = _answer(work)
        os.write(work.answer, json.dumps(words).encode("ascii"))
    finally:
        os._exit(0)


def _answer(work: _Work) -> Dict[str, Any]:
    try:
        return _expanded(work)
    except Malformed as error:
        how, said = _MALFORMED, str(error)
    except MemoryError as error:
        how, said = _OUT_OF_MEMORY, str(error) or "too little memory to expand the model"
    except BaseException as error:  # noqa: BLE001  the parent tries it itself, and then tells all
        how, said = _FAILED, repr(error)
    return {"how": how, "message": said[:_MAX_MESSAGE]}


def _expanded(work: _Work) -> Dict[str, Any]:
    _end_with(work.parent, work.life)
    from . import expand  # here, and never in the parent

    expansion = expand.read(work.packed, int4=work.int4)
    if expansion is None:
        return {"how": NOTHING, "packed": False}
    told = {"how": FILE, "packed": expansion.packed}
    if work.part is not None:
        try:
            if work.has_room(expansion.total_bytes):
                expand.write(expansion, work.part)
                return told
        except OSError as error:  # the file system's word is better than our estimate
            _log.info("expanding to a file: %s; expanding to memory", error)
    if work.memory is None:
        raise OSError("there are no files in memory")
    expand.write(expansion, work.memory)
    return {**told, "how": MEMORY}


def _end_with(parent: int, pipe: int) -> None:
    """End by SIGIO as soon as the last writer of `pipe` does, who is the parent."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if os.getppid() != parent:  # it had ended before
        os._exit(0)
