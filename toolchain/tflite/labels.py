"""Labels that Ultralytics' exporters append to a .tflite file.

A zip archive after the flatbuffer (TensorFlow Lite metadata writers put "associated files" there)
with one text member: JSON, YAML, or the text of a Python dict.  It is read as data, never
evaluated.
"""

from __future__ import annotations

import ast
import json
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import yaml

MAX_BYTES: Final = 256 << 10
MAX_LABELS: Final = 10_000
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    ValueError,
)
_SUFFIXES: Final = (".json", ".txt", ".yaml")


def appended_labels(path: Path) -> tuple[str, ...] | None:
    """Class names in order, or None where no archive is appended or it names no classes."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(_SUFFIXES) and info.file_size <= MAX_BYTES:
                    names = _names(archive.read(info))
                    if names is not None:
                        return names
    except _DAMAGED:
        return None
    return None


def _names(data: bytes) -> tuple[str, ...] | None:
    value = _parsed(data.decode("utf-8", "replace"))
    found = value.get("names") if isinstance(value, dict) else None
    if isinstance(found, dict):
        try:
            keyed = {int(key): name for key, name in found.items()}
        except (TypeError, ValueError, OverflowError):
            return None
        if sorted(keyed) != list(range(len(keyed))):
            return None
        found = [keyed[index] for index in range(len(keyed))]
    if not isinstance(found, list) or not 0 < len(found) <= MAX_LABELS:
        return None
    return tuple(found) if all(isinstance(name, str) for name in found) else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)  # literals only: nothing in the text can run
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        pass
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
