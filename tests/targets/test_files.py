from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from targets.files import replaced, write_whole


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_whole(path, b"one")
    with pytest.raises(RuntimeError), replaced(path) as stream:  # noqa: PT012
        stream.write(b"half of tw")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_whole, args=(pipe, b"through"))
    writer.start()
    assert pipe.read_bytes() == b"through"
    writer.join()
    assert pipe.is_fifo()


def test_a_device_is_never_replaced() -> None:
    write_whole(Path(os.devnull), b"anything")
    assert Path(os.devnull).is_char_device()
