"""A checkpoint file as a tree of plain values and arrays, read by a confined child process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from targets.errors import InputError
from targets.progress import SILENT, Progress
from toolchain.detector.tree import decode, printable
from toolchain.detector.views import Malformed
from toolchain.errors import CheckpointError, HostileCheckpoint, NotADetector

LIMIT_BYTES = 4 << 30  # address space of the child, and the most that it may write
LIMIT_S = 300

_PACKAGES = Path(__file__).parents[2]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from toolchain.detector.sandbox import main; main(*sys.argv[2:])"
)
_HINT_DAMAGED = "Compare its size and sha256 with the source, and copy or download it again."
_HINT_HOSTILE = (
    "Nothing of it was run. Use a checkpoint as training wrote it, from a source that you trust."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds.

    root: the weights' tree (`toolchain.detector.tree`).  chosen: the entry that they come from
    ("ema", "model", "" for the file itself).  dtypes: types of the stored numbers.
    """

    root: Any
    chosen: str
    dtypes: tuple[str, ...]
    sha256: str


def read_checkpoint(
    path: Path,
    *,
    limit_bytes: int = LIMIT_BYTES,
    limit_s: int = LIMIT_S,
    progress: Progress = SILENT,
) -> Checkpoint:
    """Read `path`, a file of torch.save (zip form, or the form before torch 1.6), without torch.

    Raises CheckpointError (missing, damaged, too large), HostileCheckpoint (names or views that
    weights have no need of), NotADetector (another kind of file).
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be opened: {error.strerror}.",
            hint="Give the path of a .pt checkpoint, or a name such as yolov7-seg.",
        ) from error
    with (
        stream,
        tempfile.TemporaryDirectory(prefix="halfbyte-") as folder,
        progress.task(f"Reading {path.name}"),
    ):
        try:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read: {error.strerror}.", hint="Give the path of a .pt file."
            ) from error
        outcome = _run_child(path, stream, Path(folder), limit_bytes, limit_s)
        if "table" not in outcome:
            raise _refusal(path, outcome, limit_bytes)
        storages = _storages(Path(folder) / "storages.bin", outcome["storages"])
    try:
        root = decode(outcome["table"], storages)
    except Malformed as error:
        raise _refusal(path, {"malformed": str(error)}, limit_bytes) from error
    return Checkpoint(root, outcome["chosen"], tuple(outcome["dtypes"]), sha256)


def _run_child(
    path: Path, stream: IO[bytes], folder: Path, limit_bytes: int, limit_s: int
) -> dict[str, Any]:
    """What the child wrote.  Raises CheckpointError where it was stopped."""
    stream.seek(0)
    command = [sys.executable, "-I", "-c", _START, str(_PACKAGES), str(folder)]
    try:
        done = subprocess.run(
            [*command, str(limit_bytes), str(limit_s)],
            stdin=stream,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_bare_environment(),
            cwd=folder,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CheckpointError(
            f"{path} was not read within {limit_s} s; reading was stopped.", hint=_HINT_DAMAGED
        ) from None
    tree = folder / "tree.json"
    if done.returncode == 0 and tree.is_file():
        outcome: dict[str, Any] = json.loads(tree.read_bytes())
        return outcome
    if done.returncode < 0:
        raise CheckpointError(
            f"Reading {path} was stopped by signal {-done.returncode}: it asked for more than its "
            f"limits of {limit_s} s and {limit_bytes >> 20} MiB allow.",
            hint=_HINT_DAMAGED,
        )
    if b"No space left" in done.stderr:
        raise CheckpointError(
            f"There is no room in {folder.parent} for the weights of {path}.",
            hint="Free some space there, or set TMPDIR to a folder with more.",
        )
    if b"MemoryError" in done.stderr:
        raise _refusal(path, {"memory": True}, limit_bytes)
    last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise CheckpointError(
        f"{path} could not be read (exit {done.returncode}: {printable(last)}).",
        hint=_HINT_DAMAGED,
    )


def _bare_environment() -> dict[str, str]:
    """What an interpreter needs to start, and no token or password of the user's."""
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "TMPDIR", "OPENBLAS_CORETYPE")
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return threads | {name: os.environ[name] for name in kept if name in os.environ}


def _storages(path: Path, places: dict[str, list[int]]) -> dict[int, np.ndarray[Any, Any]]:
    """Raw bytes by storage index; one read for all of them."""
    data = np.fromfile(path, np.uint8)
    return {int(index): data[start : start + size] for index, (start, size) in places.items()}


def _refusal(path: Path, outcome: dict[str, Any], limit_bytes: int) -> InputError:
    match outcome:
        case {"refused": str(name)}:
            return HostileCheckpoint(
                f"{path} asks for {printable(name)}, which no weights need; it was not opened.",
                hint=_HINT_HOSTILE,
            )
        case {"malformed": str(reason)}:
            return HostileCheckpoint(
                f"{path} contradicts itself: {printable(reason, 300)}.", hint=_HINT_HOSTILE
            )
        case {"other": str(kind)}:
            return NotADetector(
                f"{path} is {printable(kind, 300)}.",
                hint="Give the .pt checkpoint that YOLOv7 or YOLOv5 training wrote.",
            )
        case {"memory": True}:
            return CheckpointError(
                f"{path} needs more than {limit_bytes >> 20} MiB to read.", hint=_HINT_DAMAGED
            )
        case {"unreadable": str(reason)}:
            return CheckpointError(
                f"{path} cannot be read: {printable(reason, 300)}.", hint=_HINT_DAMAGED
            )
        case _:
            return CheckpointError(f"{path} could not be read.", hint=_HINT_DAMAGED)
