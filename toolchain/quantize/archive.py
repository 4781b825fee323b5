"""Arrays as the bytes of an .npz that depend on nothing but them, and back from any bytes."""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as numpy_format
from numpy.typing import NDArray

npy: Any = numpy_format  # without types in some versions

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
)


def archive(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A compressed .npz without the clock's time in it, as np.savez would put there."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive_:
        for name, values in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            plain = io.BytesIO()
            np.save(plain, np.ascontiguousarray(values), allow_pickle=False)
            archive_.writestr(entry, plain.getvalue(), compresslevel=1)
    return stream.getvalue()


def read(path: Path, *, most_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name, read-only; no objects.

    Takes no more memory than `most_bytes`, whatever the file says of itself.
    Raises ValueError for anything but a whole .npz, OSError.
    """
    if path.stat().st_size > most_bytes:
        raise ValueError("it is too large")
    try:
        with zipfile.ZipFile(path) as entries:
            if sum(entry.file_size for entry in entries.infolist()) > most_bytes:
                raise ValueError("what is in it is too large")
            return {
                entry.filename.removesuffix(".npy"): _array(_content(entries, entry))
                for entry in entries.infolist()
            }
    except _DAMAGED as error:
        raise ValueError(f"it is damaged ({error})") from error


def _content(entries: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.compress_type not in _METHODS:
        raise ValueError("it is compressed in another way")
    with entries.open(entry) as stream:
        # Asked for by its size: a plain read() inflates first and looks afterwards.
        return stream.read(entry.file_size)


def _array(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"an array of version {version}")
    shape, is_fortran, dtype = _HEADERS[version](stream)
    start = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0 or size != len(data) - start:
        raise ValueError(f"an array of {dtype} and shape {shape} in {len(data) - start} bytes")
    return np.ndarray(shape, dtype, data, start, order="F" if is_fortran else "C")
