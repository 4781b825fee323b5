"""Interpreters of this machine, and runtimes installed for one of them into a throw-away folder."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A published runtime; numpy: what it was built for, or it crashes."""

    project: str
    version: str
    numpy: str = "numpy"

    @property
    def title(self) -> str:
        """As the table calls it."""
        return f"{self.project} {self.version}"


RUNTIMES = (
    Runtime("tflite-runtime", "2.13.0", "numpy<2"),
    Runtime("tflite-runtime", "2.14.0", "numpy<2"),
    Runtime("ai-edge-litert", "1.4.0"),
    Runtime("ai-edge-litert", "2.1.0"),
    Runtime("ai-edge-litert", "2.3.0"),
    Runtime("tensorflow", "2.19.0", "numpy<2.2"),
)


@dataclasses.dataclass(frozen=True)
class Installed:
    """folder: to be put on PYTHONPATH."""

    python: Path
    python_version: str
    folder: Path


@dataclasses.dataclass(frozen=True)
class NotInstalled:
    """reasons: by Python version, the last line of what pip said."""

    reasons: dict[str, str]


def interpreters() -> dict[str, Path]:
    """Version -> a Python that starts, from PATH and from pyenv; oldest first."""
    found: dict[str, Path] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in VERSIONS:
        on_path = shutil.which(f"python{version}")
        candidates = [Path(on_path)] if on_path else []
        candidates += sorted(pyenv.glob(f"{version}.*/bin/python"))
        for python in candidates:
            if _version(python) == version:
                found[version] = python
                break
    return found


def install(runtime: Runtime, pythons: dict[str, Path], into: Path) -> Installed | NotInstalled:
    """The runtime in `into`, for the newest of `pythons` that it has a wheel for."""
    reasons = {}
    for version in reversed(pythons):
        folder = into / f"{runtime.project}-{runtime.version}-{version}"
        command = [
            *(str(pythons[version]), "-m", "pip", "install", "--quiet", "--no-input"),
            *("--only-binary=:all:", "--target", str(folder)),
            *(f"{runtime.project}=={runtime.version}", runtime.numpy),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode == 0:
            return Installed(pythons[version], version, folder)
        shutil.rmtree(folder, ignore_errors=True)
        errors = re.findall(r"^ERROR: (.*)", ended.stderr, re.MULTILINE)
        reasons[version] = errors[-1] if errors else f"pip ended with {ended.returncode}"
    return NotInstalled(reasons)


def _version(python: Path) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        # A shim of pyenv exists for versions that are not active, and fails.
        ended = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None
