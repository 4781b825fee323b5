"""The agent: `run` reads a plan on stdin and tells records on stdout, `facts` tells the board.

Standard output is the wire: it is kept under a descriptor of its own, and whatever else prints to
it lands on standard error, where the log goes too.

Exit codes: 0 the run is whole, 1 a Failed record says why it is not, 2 the command line, 3 the
host went away, 4 there is no room for records.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import faulthandler
import hashlib
import io
import logging
import os
import sys
import traceback
from typing import List, Optional, Tuple

from . import affinity, board, plan, runtime
from .expand_kept import Keeper
from .faults import Fault, NoRuntime
from .records import Failed, Finished, Hello
from .sending import HostGone, NoRoom, Wire
from .signals import Stopping
from .telemetry import Telemetry

_log = logging.getLogger(__name__)


def main(arguments: Optional[List[str]] = None) -> int:
    """One command; the exit code."""
    options = _parser().parse_args(arguments)
    wire = Wire(_own_stdout(), boot_id=board.boot_id())
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="agent: %(message)s")
    faulthandler.enable(file=sys.stderr)  # a crash inside the runtime leaves its place on stderr
    try:
        if options.marker:
            wire.mark(options.marker)
        if options.command == "facts":
            wire.send(board.facts(versions=runtime.versions()))
            return 0
        return _run(wire, marked=bool(options.marker))
    except HostGone:
        return 3
    except NoRoom as error:
        _log.error("%s", error)
        return 4


def _run(wire: Wire, *, marked: bool) -> int:
    try:
        stopping = Stopping()
        data = _standard_input()
        marker = None if marked else plan.marker_of(data)
        if marker:
            wire.mark(marker)
        try:
            asked = plan.parse(data)
            wire.begin_at(asked.first_seq)
        finally:
            wire.send(_hello(data))  # the first record, whatever the plan is
        stopping.be_patient()
        _measure(wire, asked, stopping)
    except (HostGone, NoRoom):
        raise
    except BaseException as error:  # noqa: BLE001  the one place: the host must learn why
        if not wire.sent:
            wire.send(_hello(b""))
        wire.send(_failed(error))
        return 1
    wire.send(Finished())
    return 0


def _measure(wire: Wire, asked: plan.Plan, stopping: Stopping) -> None:
    _volunteer_for_the_oom_killer()
    # numpy's linear algebra is not used here; its threads would only take memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    free = affinity.allowed()
    in_force = affinity.bind(asked.cpus)
    found = runtime.find_runtime()
    keeper = Keeper(
        asked.model,
        keep=asked.keep_expanded,
        int4=asked.expand_int4,
        asked_to_stop=lambda: stopping.name,
    )
    with contextlib.closing(keeper):
        # Here the child has numpy, and imports the rest while this process imports Pillow.
        kept = keeper.find()
        if kept is None:
            keeper.prepare()
        _tell_board(wire, free)
        from .bench import Run  # needs numpy and Pillow

        run = Run(asked, found, Telemetry(), stopping, keeper, kept, cpus=in_force)
        for record in run.records():
            wire.send(record)


def _tell_board(wire: Wire, free: Tuple[int, ...]) -> None:
    """Facts.  Raises NoRuntime where something is missing that a run needs."""
    versions = runtime.versions()
    facts = board.facts(versions=versions)
    # What the board has is told, and not what this run keeps to.
    wire.send(dataclasses.replace(facts, cpus_allowed=len(free) or None, allowed_cpus=free))
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise NoRuntime(f"{' and '.join(missing)} cannot be imported")


def _hello(data: bytes) -> Hello:
    return Hello(
        agent_sha256=_own_sha256(),
        pid=os.getpid(),
        boot_id=board.boot_id(),
        plan_sha256=hashlib.sha256(data).hexdigest(),
    )


def _failed(error: BaseException) -> Failed:
    kind = type(error).__name__
    if isinstance(error, Fault):
        kind = error.kind
    elif isinstance(error, MemoryError):
        kind = "out-of-memory"
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Failed(kind=kind, message=str(error)[:4000], traceback=trace[-16_000:])


def _own_stdout() -> int:
    """Standard output under another number; number 1 becomes standard error."""
    if sys.stderr is None:  # started without one
        _put(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), errors="backslashreplace")
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _standard_input() -> bytes:
    """Everything up to the end of the stream."""
    data = bytearray()
    os.set_blocking(0, True)
    while len(data) <= plan.MAX_PLAN_BYTES:
        piece = os.read(0, 1 << 16)  # a large read would reserve its size at once
        if not piece:
            break
        data += piece
    # Nothing that we start or import may wait for input.
    _put(os.open(os.devnull, os.O_RDONLY), 0)
    return bytes(data)


def _put(descriptor: int, number: int) -> None:
    """An open descriptor under another number, which it may have got already."""
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)


def _own_sha256() -> str:
    """Of the zipapp that runs; empty where the agent runs from a folder."""
    archive = sys.path[0] if sys.path else ""
    if not os.path.isfile(archive):
        return ""
    with open(archive, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _volunteer_for_the_oom_killer() -> None:
    """On a small board the kernel should rather end us than the server we are reached by."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("900")


def _marker(text: str) -> str:
    if not plan.is_marker(text):
        raise argparse.ArgumentTypeError("8 to 128 letters, digits and _.:=-")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent", description="Measures a TFLite model here.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "Read a plan on standard input, tell records on standard output."),
        ("facts", "Tell what this board is."),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--marker", type=_marker, help="A line of this text comes before the first record."
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
