"""The converting process: what becomes of it when things go wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from toolchain.convert.float_model import metadata_of
from toolchain.convert.onnx_file import export_onnx
from toolchain.convert.process import convert, require
from toolchain.detector import Detector, output_names
from toolchain.errors import ConversionFailed, MissingExtra


@pytest.fixture(scope="module")
def onnx(leaky: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "leaky.onnx"
    export_onnx(leaky, metadata_of(leaky, (64, 32)), path)
    return path


def test_its_last_words_are_in_the_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no protobuf at all")

    with pytest.raises(
        ConversionFailed, match="onnx2tf failed while rebuilding the graph: "
    ) as caught:
        convert(broken, tmp_path / "out.tflite", ["boxes_8"])
    assert "Traceback" in caught.value.stderr_tail
    assert not (tmp_path / "out.tflite").exists()


def test_outputs_that_the_file_lacks_fail(onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="boxes_64"):
        convert(onnx, tmp_path / "out.tflite", ["boxes_64"])


def test_it_ends_when_its_time_is_up(onnx: Path, leaky: Detector, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="did not end within 1 s"):
        convert(onnx, tmp_path / "out.tflite", output_names(leaky), time_limit_s=1)


def test_a_kill_is_told_as_a_want_of_memory(onnx: Path, leaky: Detector, tmp_path: Path) -> None:
    before = set(children())

    def kill() -> None:
        while not (started := set(children()) - before):
            time.sleep(0.01)
        os.kill(started.pop(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ConversionFailed, match="signal 9") as caught:
        convert(onnx, tmp_path / "out.tflite", output_names(leaky))
    killer.join()
    assert "GB" in caught.value.hint


def children() -> list[int]:
    """Process ids of this process's children (Linux)."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            found += [int(pid) for pid in task.read_text().split()]
    return found


def test_it_ends_with_its_parent(onnx: Path, tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "toolchain.convert.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    request = {"onnx": str(onnx), "tflite": str(tmp_path / "out.tflite"), "outputs": ["boxes_8"]}
    lines, _ = worker.communicate(json.dumps(request).encode() + b"\n", timeout=120)

    assert worker.returncode == 1
    assert b"done" not in lines


def test_it_cannot_reach_the_network() -> None:
    code = (
        "import socket, sys\n"
        "from toolchain.convert.worker import _refuse_network\n"
        "sys.addaudithook(_refuse_network)\n"
        "socket.create_connection(('127.0.0.1', 9))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert "PermissionError: no network while converting" in ended.stderr


def test_missing_packages_are_named_with_the_command_that_brings_them() -> None:
    with pytest.raises(MissingExtra, match="needs no_such_package, which is not") as caught:
        require(("json", "no_such_package"))
    assert "scripts/environment .venv convert" in caught.value.hint


def test_importing_the_room_is_cheap() -> None:
    code = (
        "import sys, toolchain.convert\n"
        "print(sorted({'torch', 'tensorflow', 'onnx', 'onnx2tf', 'PIL'} & sys.modules.keys()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "[]\n"
