"""Packed and INT4 models as the ordinary int8 ones that run, which is what checks look at."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from targets.agent import expand
from toolchain.errors import MalformedModel


def plain_bytes(data: bytes, name: str) -> bytes:
    """The expanded model; the same object where there is nothing to expand.

    name: of the file, for errors.  Raises MalformedModel.
    """
    try:
        expansion = expand.read(data)
        return data if expansion is None else expand.to_bytes(expansion)
    except expand.Malformed as error:
        raise MalformedModel(
            f"{name}: its packed filters are damaged: {error}",
            hint="The file is cut short or corrupted; copy or convert it again.",
        ) from error


@contextlib.contextmanager
def plain_file(path: Path, data: bytes) -> Iterator[Path]:
    """A file with the expanded model of `data`, which is that of `path`; gone after the block."""
    plain = plain_bytes(data, path.name)
    if plain is data:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="halfbyte-") as folder:
        expanded = Path(folder) / path.name
        expanded.write_bytes(plain)
        yield expanded
