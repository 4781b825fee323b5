"""The command line as a user of these boards has it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import EVERY
from tests.lab.places import client_key

ROOT = Path(__file__).resolve().parents[2]
SIZE = "160"


@dataclass(frozen=True)
class Ended:
    """A command that was run."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def value(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """What `--json` printed of an error."""
        found: dict[str, Any] = self.value["error"]
        return found


@dataclass(frozen=True)
class Host:
    """A home folder of its own: settings, known hosts, runs.  Wheels and models are the user's."""

    home: Path

    @classmethod
    def made(cls, home: Path) -> Host:
        """targets.toml has every board of the lab under its name; no host key is known yet."""
        tables = ['schema = "halfbyte.targets"', "version = 1"]
        for name, place in EVERY.items():
            tables += ["", f"[targets.{name}]", f'host = "{place.address}"', 'user = "pi"']
            tables += [f'key = "{client_key()}"']
        (home / "targets.toml").write_text("\n".join(tables) + "\n")
        return cls(home)

    def environment(self) -> dict[str, str]:
        """Of every command."""
        own = {
            "PYTHONPATH": str(ROOT),
            "HALFBYTE_TARGETS": str(self.home / "targets.toml"),
            "HALFBYTE_CONFIG": str(self.home / "settings"),
        }
        return {**os.environ, **own, "SSH_AUTH_SOCK": ""}

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`halfbyte words...`, under way; ended with the block if it is not by then."""
        process = subprocess.Popen(
            [sys.executable, "-m", "toolchain.cli", *words],
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def halfbyte(self, *words: str, timeout_s: float = 600) -> Ended:
        """`halfbyte words...`, to its end.  A test fails where that does not come in time."""
        began_at_s = time.monotonic()
        with self.running(*words) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                pytest.fail(f"`halfbyte {' '.join(words)}` did not end within {timeout_s:.0f} s")
        return Ended(process.returncode, stdout, stderr, time.monotonic() - began_at_s)

    def model(self) -> Path:
        """YOLOv5s with int8 weights and activations, rounded to nearest, at 160 x 160.

        Or what HALFBYTE_LAB_MODEL names: such a file, made before.
        """
        if named := os.environ.get("HALFBYTE_LAB_MODEL"):
            return Path(named)
        out = self.home / "models"
        if not out.exists():
            from toolchain import demo

            calibration = str(demo.material().calibration)
            words = ["--weights", "yolov5s-seg", "--imgsz", SIZE, "--bits", "8"]
            words += ["--recovery", "none", "--calibration", calibration]
            done = self.halfbyte("convert", *words, "--calibration-limit", "8", "--out", str(out))
            assert done.status == 0, done.stderr
        (found,) = out.glob("*-w8c-a8.tflite")
        return found
