"""Emulated boards get the environment that is made for their processor, and lose it again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.openssh import NO_CONFIG
from targets.privilege import NotPermitted, Privilege
from targets.provision.environment import clean, look, provision
from targets.ssh import Connection, connect
from targets.target import Target
from tests.lab.boards import PI_3, PI_4, Board
from tests.lab.conftest import board_called
from tests.lab.places import client_key

ROOT = "~/a folder of the test's"  # other tests have environments of theirs on the same boards
MADE = {
    "pi-3": ("tflite-runtime 2.14.0", "armv7l", ()),
    "pi-4": ("ai-edge-litert 2.3.0", "aarch64", ("asimddp", "asimdhp")),
    "pi-5": ("ai-edge-litert 2.3.0", "aarch64", ()),
}


@contextlib.contextmanager
def link(board: Board, folder: Path, **more: str) -> Iterator[Connection]:
    target = Target(
        board.name,
        board.address,
        user="pi",
        key=client_key(),
        root=ROOT,
        known_hosts=folder / "known_hosts",
        ssh_config=NO_CONFIG,
    )
    target = dataclasses.replace(target, **more)  # type: ignore[arg-type]
    deadline = Deadline.after(120)
    with connect(target, deadline=deadline, accept_new=True) as connection:
        clean(connection, deadline=Deadline.after(300))  # of a test that was ended
        try:
            yield connection
        finally:
            clean(connection, deadline=Deadline.after(300))


@pytest.mark.parametrize("name", list(MADE))
def test_an_environment_is_made_for_the_processor_once_and_cleaned_away(
    lab_is_up: None, name: str, tmp_path: Path
) -> None:
    runtime, architecture, slow_without = MADE[name]
    with link(board_called(name), tmp_path) as connection:
        made = provision(connection, deadline=Deadline.after(900))
        assert (made.made, made.runtime.named) == (True, runtime)
        assert made.interpreter.architecture == architecture
        assert made.runtime.slow_without == slow_without
        again = provision(connection, deadline=Deadline.after(300))
        assert (again.made, again.sent_bytes, again.versions) == (False, 0, made.versions)
        assert clean(connection, deadline=Deadline.after(300)) >= made.size_bytes
        left = connection.run("ls -A", deadline=Deadline.after(60), check=True).stdout.decode()
        assert "a folder of the test's" not in left.splitlines()


def test_a_32_bit_board_takes_numpy_and_pillow_from_its_system(
    lab_is_up: None, tmp_path: Path
) -> None:
    with link(board_called(PI_3.name), tmp_path) as connection:
        found, seen = look(connection, deadline=Deadline.after(300))
    assert [name for name, _ in found.runtime.from_board] == ["numpy", "PIL"]
    assert [wheel.project for wheel in found.runtime.wheels] == ["tflite-runtime"]
    assert found.interpreter.machine in ("armv7l", "aarch64")
    assert found.interpreter.bits == 32
    assert seen["available_bytes"] > 0


def test_the_runtime_that_a_target_names_runs_on_arm64_too(lab_is_up: None, tmp_path: Path) -> None:
    board = board_called(PI_4.name)
    with link(board, tmp_path, runtime="tflite-runtime", root=f"{ROOT} 2") as connection:
        made = provision(connection, deadline=Deadline.after(900))
        assert made.runtime.named == "tflite-runtime 2.14.0"
        assert (made.versions["numpy"] or "").startswith("1.26")


def test_root_on_a_board_where_nobody_may_use_sudo_is_not_permitted(
    lab_is_up: None, tmp_path: Path
) -> None:
    with link(board_called(PI_4.name), tmp_path) as connection:
        privilege = Privilege.of(connection, deadline=Deadline.after(120))
        done = privilege.run_as_root(["id", "-u"], Deadline.after(120))
    assert isinstance(done, NotPermitted)
    assert done.sudoers is not None
    assert done.sudoers.startswith("pi ALL=(root) NOPASSWD: /usr/bin/id")
