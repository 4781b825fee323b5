"""Starts the measuring process and reads its answer.

A runtime trusts its model: a broken one may abort the process that loads it, or ask for all
memory.  So the process is another one, with a limit, and how it ended is told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from targets.progress import SILENT, Progress, Task
from toolchain.errors import DataError, DoesNotRun, UnsupportedModel
from toolchain.tflite.probing.request import Observed, Request

_ROOT: Final = Path(__file__).resolve().parents[3]
_COMMAND: Final = ("-m", "toolchain.tflite.probing.worker")


def observe(asked: Request, *, label: str = "", progress: Progress = SILENT) -> Observed:
    """Run the models of `asked` over its pictures.

    Raises DoesNotRun (the runtime refuses a model, or crashes with it), UnsupportedModel (it takes
    no pictures), DataError (no picture).
    """
    with progress.task(label or "looking at activations", unit="inferences") as task:
        observed = _ended(*_answer([sys.executable, *_COMMAND], asked, task))
    if not observed.images:
        raise DataError(
            f"none of {len(asked.images)} pictures can be read"
            + (f"; {observed.left_out[0][0]}: {observed.left_out[0][1]}" * bool(observed.left_out)),
            hint="Give a folder with some pictures like those in use.",
        )
    return observed


def _answer(command: Sequence[str], asked: Request, task: Task) -> tuple[dict[str, Any], int, str]:
    """The last line of the process, its status, and what it said on standard error."""
    last: dict[str, Any] = {}
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env={**os.environ, "PYTHONPATH": _python_path(), "TF_CPP_MIN_LOG_LEVEL": "2"},
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            try:
                _write(process.stdin, json.dumps(asked.to_json()))
                for line in process.stdout:
                    last = json.loads(line)
                    if "done" in last:
                        task.advance()
            except BaseException:
                process.kill()
                raise
        words.seek(0)
        return last, process.returncode, words.read().decode("utf-8", "replace")


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text)
        stream.close()
    except BrokenPipeError:  # it ended early: its status says why
        pass


def _ended(last: dict[str, Any], status: int, words: str) -> Observed:
    if "observed" in last and status == 0:
        return Observed.from_json(last["observed"])
    if "unfit" in last:
        raise UnsupportedModel(
            f"pictures do not go into the model: {last['unfit']}",
            hint="Give a model with one input of float32, int8 or uint8 RGB pixels.",
        )
    if "refused" in last:
        why = str(last["refused"])
    else:
        said = [line for line in words.strip().splitlines() if line.strip()] or ["no word"]
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        why = f"the process ended ({how}): {said[-1][:300]}"
    raise DoesNotRun(
        f"the runtime of this machine does not run the model: {why}",
        hint="`halfbyte lint` without --images says what it can say from the file alone.",
    )


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(_ROOT), *([inherited] if inherited else [])])
