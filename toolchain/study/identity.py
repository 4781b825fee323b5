"""What decides a result: hashes of the inputs, and of the code that works on them.

Code counts as it is parsed, with all modules of ours that it imports from there on: an edited
comment, or a module that has no part in the study, leaves finished cells as they are.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from toolchain.cache import content_key
from toolchain.study.cell import Cell, to_json

_MAKING: Final = (
    "toolchain.quantize.observe",  # calibration
    "toolchain.quantize.gradients",  # sensitivity
    "toolchain.quantize.schemes.__init__",
    "toolchain.study.filters",
    "toolchain.study.float_moments",
    "toolchain.study.made",
    "toolchain.study.models",
)
_RUNNING: Final = ("toolchain.study.running", "toolchain.study.scoring")
_LOOKED_AT: Final = (
    "targets.agent.",
    "toolchain.evaluate.",
    "toolchain.quantize.",
    "toolchain.study.",
    "toolchain.tflite.",
)


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
    return _sha256_of(_MAKING)


@functools.cache
def code_sha256() -> str:
    """Of the code that decides a figure: of the model, of its detections, of their score."""
    return _sha256_of((*_MAKING, *_RUNNING))


def _sha256_of(modules: tuple[str, ...]) -> str:
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in found or path is None:
            continue
        tree = ast.parse(path.read_bytes())
        found[name] = ast.dump(tree)
        waiting += [other for other in _imported(name, tree) if other.startswith(_LOOKED_AT)]
    return content_key({name: hashlib.sha256(found[name].encode()).hexdigest() for name in found})


def _imported(name: str, tree: ast.Module) -> Iterator[str]:
    """Names that may be modules: what is imported, and each part of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = [name.rsplit(".", node.level)[0]] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _path(name: str) -> Path | None:
    """The file of a module; None for what is none, and for packages (they only gather names)."""
    path = Path(__file__).parents[2].joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None
