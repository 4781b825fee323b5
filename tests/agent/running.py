"""The real agent as a child process, and what it says."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from targets.agent import wire
from targets.agent.plan import Plan, PlanFile
from tests.agent import small_models

MARKER = "halfbyte-4f1c2d3e"


def plan_file(path: Path, name: str = "") -> PlanFile:
    return PlanFile(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), name or path.name)


def small_plan(folder: Path, model: bytes | None = None, pictures: int = 2, **changes: Any) -> Plan:
    """A plan for a model written into `folder` and some pictures of one coloured cell each."""
    path = folder / "model.tflite"
    path.write_bytes(small_models.int8_detector() if model is None else model)
    images = []
    for index in range(pictures):
        picture = small_models.coloured_cell(index % 4, index % 6, index % 3)
        image = small_models.save_picture(folder / f"{index}.png", picture)
        images.append(plan_file(image, f"image {index}"))
    asked = {"warmup": 1, "timed_runs": 3, "head": small_models.HEAD, **changes}
    return Plan(plan_file(path), marker=MARKER, images=tuple(images), **asked)


def start(agent: Path, *arguments: str, python: str = sys.executable, **options: Any) -> Any:
    """The agent as `Popen`, all three streams piped."""
    command = [python, str(agent), *(arguments or ("run",))]
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **{**piped, **options})


def run(agent: Path, plan: Plan | bytes, *arguments: str, env: dict[str, str] | None = None) -> Any:
    """The agent from start to end: `CompletedProcess` with bytes."""
    data = plan if isinstance(plan, bytes) else plan.to_json()
    child = start(agent, *arguments, env={**os.environ, **(env or {})})
    out, err = child.communicate(data, timeout=120)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def records_of(stream: bytes, marker: str = MARKER) -> list[Any]:
    """The records after the marker's line; each line there is whole and counts on from the last."""
    lines = stream.split(b"\n")
    after = lines[lines.index(marker.encode()) + 1 :]
    assert after.pop() == b"", "the last line is not whole"
    envelopes = [wire.decode(line) for line in after]
    assert [envelope.seq for envelope in envelopes if envelope] == list(range(len(after)))
    return [envelope.record for envelope in envelopes if envelope]


def read_until(stream: Any, kind: type) -> Iterator[bytes]:
    """Lines of a running agent up to the first record of `kind`."""
    name = b'"record":"%s"' % kind.__name__.lower().encode()
    for line in stream:
        yield line
        if name in line:
            return
    raise AssertionError(f"the stream ended without {kind.__name__}")


def kinds(records: Sequence[Any]) -> list[str]:
    return [type(record).__name__ for record in records]


def of_kind(records: Sequence[Any], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def rows(detected: wire.Detected) -> np.ndarray:
    return np.array(detected.detections).reshape(-1, 6)
