"""A board gets its environment: real wheels, over the real loopback server."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.errors import FetchError, NoPython, NoRuntime, NoSpace
from targets.provision.choose import choose_best
from targets.provision.environment import BoardPython, ask, clean, provision
from targets.provision.wheels import parcels
from targets.ssh import Connection, connect
from targets.target import Target
from tests.targets import conditions


def after(seconds: float = 300) -> Deadline:
    return Deadline.after(seconds)


def link(target: Target) -> Connection:
    return connect(target, deadline=after(20))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A board whose start-up files print, and whose home has a blank and an apostrophe."""
    with conditions.board(tmp_path_factory.mktemp("noisy"), conditions.NOISE) as target:
        yield target


@pytest.fixture(scope="module")
def first(noisy: Target) -> BoardPython:
    with link(noisy) as connection:
        return provision(connection, deadline=after())


def imports(board: BoardPython, connection: Connection, code: str) -> str:
    program = f"import sys; sys.path[:0] = {list(board.path)!r}; {code}"
    words = [board.python, "-I", "-S", "-c", program]
    done = connection.run(words, deadline=after(60), check=True)
    return done.stdout.decode().strip()


def test_a_board_gets_a_runtime_numpy_and_pillow_that_work_there(
    noisy: Target, first: BoardPython
) -> None:
    assert first.made
    assert first.versions.keys() == {
        "numpy", "PIL", "PIL.Image", f"{first.runtime.module}.interpreter"
    }  # fmt: skip
    code = (
        f"from {first.runtime.module}.interpreter import Interpreter; import numpy, PIL.Image; "
        "print(numpy.add(1, 2), PIL.Image.new('L', (2, 3)).size)"
    )
    with link(noisy) as connection:
        assert imports(first, connection, code) == "3 (2, 3)"
        with pytest.raises(Exception, match="No module named 'pip'"):
            imports(first, connection, "import pip")


def test_the_second_time_nothing_is_sent_and_nothing_made(
    noisy: Target, first: BoardPython
) -> None:
    with link(noisy) as connection:
        again = provision(connection, deadline=after())
    assert (again.made, again.sent_bytes) == (False, 0)
    assert again.folder == first.folder
    assert again.versions == first.versions


def test_what_only_costs_room_is_left_out(noisy: Target, first: BoardPython) -> None:
    home = Path(first.folder)
    assert not list(home.rglob("tests"))
    assert not list(home.rglob("*WebGpu*"))
    assert first.size_bytes < 120 << 20


def test_half_an_environment_is_made_again_though_a_wheel_in_the_store_was_changed(
    noisy: Target, first: BoardPython, caplog: pytest.LogCaptureFixture
) -> None:
    Path(first.folder, "numpy", "__init__.py").unlink()
    wanted = parcels(first.runtime.wheels)
    tampered = Path(first.store.path(wanted[0].item.sha256))
    tampered.parent.mkdir(exist_ok=True)
    tampered.write_bytes(bytes(wanted[0].item.size_bytes))
    with link(noisy) as connection, caplog.at_level(logging.WARNING, "targets.provision"):
        again = provision(connection, deadline=after())
        assert not provision(connection, deadline=after()).made
    assert again.made
    assert "is not what was sent" in caplog.text
    assert again.versions == first.versions


def test_wheels_can_come_from_a_folder_without_a_network(
    noisy: Target, first: BoardPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = parcels(first.runtime.wheels)  # in the cache by now
    assert cached
    from targets.packages import cached_place

    for wheel in first.runtime.wheels:
        shutil.copy(cached_place(wheel.filename, wheel.sha256), tmp_path / wheel.filename)
    monkeypatch.setenv("HALFBYTE_INDEX_URL", "http://127.0.0.1:9/simple")
    shutil.rmtree(first.folder)
    target = dataclasses.replace(noisy, root="~/elsewhere")
    with link(target) as connection:
        board = provision(connection, wheelhouse=tmp_path, deadline=after())
        assert board.made
        assert board.folder.startswith(f"{Path(first.store.root).parent}/elsewhere/envs/")
        assert clean(connection, deadline=after()) > board.size_bytes
    assert not Path(board.store.root).exists()


def test_a_folder_that_lacks_a_wheel_is_told_so(noisy: Target, tmp_path: Path) -> None:
    with link(dataclasses.replace(noisy, root="~/elsewhere")) as connection:
        interpreter, runtime = choose_best(ask(connection, deadline=after()).interpreters)
        assert interpreter.architecture
        with pytest.raises(FetchError, match=re.escape(runtime.wheels[0].filename)):
            provision(connection, wheelhouse=tmp_path, deadline=after())
        for wheel in runtime.wheels:
            (tmp_path / wheel.filename).write_bytes(b"PK")
        with pytest.raises(FetchError, match="not the file that is expected"):
            provision(connection, wheelhouse=tmp_path, deadline=after())


def test_a_board_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    with (
        conditions.board(tmp_path, conditions.only_path(tmp_path)) as target,
        link(dataclasses.replace(target, python=None)) as connection,
        pytest.raises(NoPython, match="has no Python") as caught,
    ):
        provision(connection, deadline=after())
    assert "apt install python3" in caught.value.hint


def test_a_board_with_an_old_python_only_is_told_which(tmp_path: Path) -> None:
    path = conditions.only_path(tmp_path)
    conditions.stand_in_python(tmp_path, "3.6.9")
    with (
        conditions.board(tmp_path, path) as target,
        link(dataclasses.replace(target, python=None)) as connection,
        pytest.raises(NoPython, match=r"Too old: Python 3\.6\.9 .* needs 3\.8"),
    ):
        provision(connection, deadline=after())


def test_a_configured_python_that_is_not_there_is_named(noisy: Target) -> None:
    with (
        link(dataclasses.replace(noisy, python="/opt/nothing/python3")) as connection,
        pytest.raises(NoPython, match="/opt/nothing/python3") as caught,
    ):
        provision(connection, deadline=after())
    assert "targets.toml" in caught.value.hint


def test_a_runtime_that_the_target_asks_for_is_taken_or_refused(
    noisy: Target, tmp_path: Path
) -> None:
    with link(dataclasses.replace(noisy, runtime="tflite-runtime")) as connection:
        (found,) = ask(connection, deadline=after()).interpreters
        refusal = NoRuntime if found.version >= (3, 12) else FetchError
        with pytest.raises(refusal, match=r"tflite[-_]runtime"):  # the empty folder lacks it
            provision(connection, wheelhouse=tmp_path, deadline=after())


def test_lack_of_room_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    with (
        conditions.board(tmp_path, conditions.small_file_system(small)) as target,
        link(dataclasses.replace(target, root=str(small / "ours"))) as connection,
        pytest.raises(NoSpace, match=r"bytes are needed, [\d,]+ are free") as caught,
    ):
        provision(connection, deadline=after())
    assert str(small) in caught.value.message
    assert "Nothing was sent" in caught.value.message
    assert "`root`" in caught.value.hint


def test_a_small_tmp_does_not_matter() -> None:
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as name,  # not what is mounted over
        conditions.board(Path(name), conditions.small_file_system(Path("/tmp"))) as target,
        link(target) as connection,
    ):
        seen = connection.run("df -k /tmp | tail -n 1", deadline=after(20), check=True)
        assert int(seen.stdout.split()[1]) == 8192
        assert provision(connection, deadline=after()).made


def test_an_interpreter_without_ensurepip_will_do(noisy: Target) -> None:
    system = Path("/usr/bin/python3")
    probe = [str(system), "-c", "import ensurepip"]
    if (
        not system.exists()
        or subprocess.run(probe, capture_output=True, check=False).returncode == 0
    ):
        pytest.skip("the system's Python is absent or has ensurepip")
    with link(dataclasses.replace(noisy, python=str(system))) as connection:
        assert provision(connection, deadline=after()).made
