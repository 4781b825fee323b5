"""Starts the worker, shows how far it is, and says what went wrong where it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from targets.progress import SILENT, Progress, Task
from toolchain.convert.worker import STAGES
from toolchain.errors import INSTALL, ConversionFailed, MissingExtra

TIME_LIMIT_S: Final = 900.0
_log = logging.getLogger(__name__)
_ROOT: Final = Path(__file__).resolve().parents[2]
_ENVIRONMENT: Final = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    # The same input has to give the same bytes.
    "PYTHONHASHSEED": "0",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_DETERMINISTIC_OPS": "1",
}


@dataclasses.dataclass(frozen=True)
class Converted:
    """rss_peak_bytes: the most memory that the worker held."""

    rss_peak_bytes: int


def require(modules: Iterable[str]) -> None:
    """Are the packages that make models installed?  Raises MissingExtra."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"making a model needs {', '.join(missing)}, which {_are(missing)} not installed",
            hint=INSTALL,
        )


def convert(
    onnx: Path,
    tflite: Path,
    outputs: Sequence[str],
    *,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Progress = SILENT,
) -> Converted:
    """Write the float flatbuffer of an ONNX file, in a process of its own.

    Raises MissingExtra, ConversionFailed (with the end of what the worker printed).
    """
    require(("onnx", "tensorflow", "onnx2tf"))
    with tempfile.TemporaryDirectory(prefix="halfbyte-convert-") as folder:
        request = {
            "onnx": str(onnx.resolve()),
            "tflite": str(tflite.resolve()),
            "outputs": list(outputs),
        }
        log = Path(folder) / "stderr.txt"
        with progress.task("convert to TFLite", total=len(STAGES), unit="stages") as task:
            ended = _run(request, Path(folder), log, time_limit_s, task)
        if "done" not in ended.said or not tflite.is_file():
            raise _failed(ended, log, time_limit_s)
    return Converted(rss_peak_bytes=int(ended.said["done"]["rss_peak_bytes"]))


@dataclasses.dataclass(frozen=True)
class _Ended:
    """said: all records of the worker, the later value of a key kept.  late: we ended it."""

    said: dict[str, Any]
    code: int
    late: bool


def _run(
    request: dict[str, Any], folder: Path, log: Path, time_limit_s: float, task: Task
) -> _Ended:
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": path, "TMPDIR": str(folder)}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "toolchain.convert.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            cwd=folder,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to handle
        ) as process,
    ):
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(time_limit_s, end)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it died already; its status says of what
                process.stdin.write(json.dumps(request).encode() + b"\n")
            said = _follow(process.stdout, task)
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
    return _Ended(said, code, late.is_set())


def _follow(lines: Iterable[bytes], task: Task) -> dict[str, Any]:
    """Shows each stage as it begins; all that the worker said."""
    said: dict[str, Any] = {}
    for line in lines:
        record = json.loads(line)
        if "failed" not in record and "stage" in said:
            task.advance()
        if "stage" in record:
            task.note(str(record["stage"]))
        said.update(record)
    return said


def _failed(ended: _Ended, log: Path, time_limit_s: float) -> ConversionFailed:
    text = log.read_bytes()[-8192:].decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    tail = "\n".join(lines[-20:])
    _log.info("the worker's last words:\n%s", tail)
    if ended.late:
        return ConversionFailed(
            f"the conversion did not end within {time_limit_s:.0f} s",
            hint="Run it again on a machine that is less busy.",
            stderr_tail=tail,
        )
    if ended.code == -signal.SIGKILL:
        return ConversionFailed(
            "the converting process was killed (signal 9), most likely for want of memory",
            hint="A YOLOv7 needs 3.5 GB for it: close other programs, or convert elsewhere.",
            stderr_tail=tail,
        )
    reason = str(ended.said.get("failed") or f"exit status {ended.code}").splitlines()[0]
    return ConversionFailed(
        f"onnx2tf failed while {ended.said.get('stage', 'starting')}: {reason[:200]}",
        hint="Run again with --verbose for all that it printed, and report it with the model.",
        stderr_tail=tail,
    )


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
