"""Ask every runtime everything, and write the table: `scripts/probe_runtimes --help`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from scripts.probes.cases import Case, all_cases
from scripts.probes.install import RUNTIMES, Installed, NotInstalled, install, interpreters
from scripts.probes.table import Column, page, replace_between_markers

PAGE = Path(__file__).parents[2] / "docs" / "runtime-support.md"
TIME_LIMIT_S = 120


def main() -> int:
    """Install, ask, write.  1 where a runtime gave a wrong answer without a word."""
    arguments = _arguments()
    pythons = interpreters()
    print("interpreters:", ", ".join(pythons) or "none")
    cases = all_cases()
    columns = []
    with tempfile.TemporaryDirectory(prefix="halfbyte-probe-") as scratch:
        keep = arguments.keep or Path(scratch)
        folders = {case.name: _written(case, keep / "cases" / case.name) for case in cases}
        for runtime in RUNTIMES:
            if arguments.only and arguments.only not in runtime.title:
                continue
            print(f"{runtime.title}: ", end="", flush=True)
            installed = install(runtime, pythons, keep / "runtimes")
            if isinstance(installed, NotInstalled):
                print("not installed")
                columns.append(Column(runtime.title, None, installed.reasons, {}))
                continue
            print(f"Python {installed.python_version}")
            answers = {name: _ask(installed, folder) for name, folder in folders.items()}
            columns.append(Column(runtime.title, installed.python_version, {}, answers))
    text = page(cases, columns)
    print(text)
    if not arguments.only:
        replace_between_markers(PAGE, text)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/probe_runtimes", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME", help="runtimes with NAME in theirs; writes no page"
    )
    parser.add_argument("--keep", metavar="DIR", type=Path, help="leave runtimes and models there")
    return parser.parse_args()


def _written(case: Case, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes(case.model)
    np.save(folder / "inputs.npy", case.inputs)
    if case.expected is not None:
        np.save(folder / "expected.npy", case.expected)
    return folder


def _ask(installed: Installed, folder: Path) -> dict[str, Any]:
    """What `one.py` says, or how it ended: a runtime may crash on what it does not know."""
    environment = {**os.environ, "PYTHONPATH": str(installed.folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [
        str(installed.python),
        str(Path(__file__).with_name("one.py")),
        str(folder),
        "1",
        "1.5",
    ]
    try:
        ended = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"broke": f"no answer in {TIME_LIMIT_S} s"}
    if ended.returncode < 0:
        return {"broke": f"killed by {signal.Signals(-ended.returncode).name}"}
    if ended.returncode:
        return {"broke": ended.stderr.strip().splitlines()[-1][:160]}
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main())
