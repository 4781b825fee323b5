"""What decides a result: hashes of the inputs, and of the code that works on them."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final

from toolchain.cache import content_key
from toolchain.study.cell import Cell, to_json

_MAKING: Final = ("cell", "combined", "filters", "float_moments", "made", "material", "models")
_MAKING_TOO: Final = ("proxy", "shared", "work")
_RUNNING: Final = (
    "boxes", "decoding", "detect", "frames", "heads", "inputs", "letterbox", "nms", "pictures",
    "runtime",
)  # fmt: skip


def making_key(cell: Cell, float_sha256: str, pictures: tuple[str, ...]) -> str:
    """Of a cell's model.  pictures: hashes of the calibration pictures, in order."""
    return content_key(
        {
            "cell": to_json(cell),
            "float": float_sha256,
            "pictures": pictures,
            "code": making_code_sha256(),
        }
    )


def moments_key(float_sha256: str, pictures: tuple[str, ...]) -> str:
    """Of the float model's second moments."""
    return content_key({"float": float_sha256, "pictures": pictures, "code": making_code_sha256()})


@functools.cache
def making_code_sha256() -> str:
    """Of the code that decides a model's bytes."""
    import toolchain.quantize

    quantizer = Path(toolchain.quantize.__file__).parent
    here = Path(__file__).parent
    return _sha256_of(
        [
            *sorted(quantizer.rglob("*.py")),
            *sorted((quantizer.parent / "tflite").glob("pack*.py")),
            *(here / f"{name}.py" for name in (*_MAKING, *_MAKING_TOO)),
            *_of_agent(("frames", "inputs", "letterbox")),
        ]
    )


@functools.cache
def code_sha256() -> str:
    """Of the code that decides a figure: of the model, of its detections, of their score."""
    import toolchain.evaluate

    here = Path(__file__).parent
    files = [
        *sorted(Path(toolchain.evaluate.__file__).parent.glob("*.py")),
        *(here / f"{name}.py" for name in ("running", "scoring")),
        *_of_agent(_RUNNING),
    ]
    return content_key({"making": making_code_sha256(), "running": _sha256_of(files)})


def _of_agent(names: tuple[str, ...]) -> list[Path]:
    import targets.agent

    folder = Path(targets.agent.__file__).parent
    return [folder / f"{name}.py" for name in names]


def _sha256_of(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
