"""The code that decides a made model's bytes, as a hash: part of the keys of what is kept."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path


@functools.cache
def quantizer_sha256() -> str:
    """Of the code that decides the bytes, so that no model outlives the code that made it."""
    return code_sha256(deciding())


def deciding() -> tuple[Path, ...]:
    """The packages that decide the bytes, whole: no list of modules to fall behind; and what
    hands pictures to them."""
    import targets.agent
    import toolchain.calibrationset
    import toolchain.making
    import toolchain.quantize
    import toolchain.tflite

    packages = (toolchain.quantize, toolchain.tflite, targets.agent)
    modules = (toolchain.making, toolchain.calibrationset)
    return (
        *(Path(package.__path__[0]) for package in packages),
        *(Path(str(module.__file__)) for module in modules),
    )


def code_sha256(places: Sequence[Path]) -> str:
    """Of the names and texts of modules.  places: packages and modules."""
    digest = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            text = file.read_bytes()
            name = file.relative_to(place.parent).as_posix()
            digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()
