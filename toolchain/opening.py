"""The run folder of a command: a new one, or the one there if it is about the same things."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from toolchain import __version__
from toolchain.errors import RunFolderError
from toolchain.evaluate.truth import Dataset
from toolchain.runmeta import ModelMeta
from toolchain.runs import RunFolder
from toolchain.subject import Subject

_PACKAGES: Final = ("ai-edge-litert", "numpy", "paramiko", "pycocotools", "pillow")
_OTHER: Final = "Name another folder with --out, or remove this one."


def open_folder(
    out: Path,
    subjects: Sequence[Subject],
    dataset: Dataset | None,
    *,
    command: Sequence[str],
    examples: int = 3,
) -> RunFolder:
    """The run folder at `out`: a new one, or the one there if it is about the same things.

    The same pictures, and no run of a checkpoint or an image size that is not among `subjects`:
    a report never mixes what was asked for now with what was asked for once.

    Raises RunFolderError.
    """
    if not (out / "run.json").exists():
        return RunFolder.create(
            out, command=command, versions=_versions(), dataset=dataset, examples=examples
        )
    folder = RunFolder.open(out)
    before = folder.load()
    if _identity(before.dataset) != _identity(dataset):
        raise RunFolderError(f"{out} holds runs over other pictures", hint=_OTHER)
    asked = {_origin(subject.meta) for subject in subjects}
    if any(_origin(run.meta.model) not in asked for run in before.runs):
        raise RunFolderError(f"{out} holds runs of other models or image sizes", hint=_OTHER)
    folder.retell(command)
    return folder


def _origin(model: ModelMeta) -> tuple[object, ...]:
    """What a report compares: one checkpoint (or one file) at one size."""
    return model.source_sha256 or model.sha256, model.imgsz


def _identity(dataset: Dataset | None) -> Any:
    if dataset is None:
        return None
    return (
        dataset.sha256,
        [(p.id, p.path.name, p.width, p.height, p.labelled) for p in dataset.images],
    )


def _versions() -> dict[str, str]:
    found = {"halfbyte": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
