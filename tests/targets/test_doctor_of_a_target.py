"""`check` says what a target lacks, on boards that lack it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.doctor import Check, check
from targets.provision.environment import provision
from targets.ssh import connect
from targets.target import Target
from tests.targets import conditions


def by_name(target: Target) -> dict[str, Check]:
    return {found.name: found for found in check(target)}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with conditions.board(tmp_path_factory.mktemp("noisy"), conditions.NOISE) as target:
        yield target


def test_a_good_board_is_good_in_all_that_the_main_job_needs(noisy: Target) -> None:
    before = by_name(noisy)
    assert before["environment"].ok is None
    assert "target provision" in before["environment"].hint
    with connect(noisy, deadline=Deadline.after(20)) as connection:
        board = provision(connection, deadline=Deadline.after(300))
    found = by_name(noisy)
    assert [name for name, one in found.items() if one.ok is False] == []
    assert board.runtime.named in found["environment"].detail
    assert found["agent"].ok
    assert "64-bit" in found["userland"].detail
    assert "GB free on" in found["disk"].detail
    assert found["clock"].ok
    assert found["sftp"].detail == "absent, not needed"


def test_start_up_files_that_print_are_a_note(noisy: Target) -> None:
    found = by_name(noisy)["start-up files"]
    assert found.ok is None
    assert "disk: 81% full" in found.detail
    assert "interactive" in found.hint


def test_a_board_without_python_is_told_so_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    with conditions.board(tmp_path, conditions.only_path(tmp_path)) as target:
        found = by_name(dataclasses.replace(target, python=None))
    assert found["Python"].ok is False
    assert "apt install python3" in found["Python"].hint
    assert found["memory"].ok is not False
    assert "runtime" not in found


def test_a_runtime_that_the_board_cannot_have_is_named(noisy: Target) -> None:
    python = Path.home() / ".pyenv/versions/3.12.1/bin/python3"
    if not python.exists():
        pytest.skip("no Python 3.12 on this machine")
    target = dataclasses.replace(noisy, python=str(python), runtime="tflite-runtime")
    assert by_name(target)["runtime"].ok is False


def test_an_unknown_host_key_is_told_and_nothing_else(noisy: Target, tmp_path: Path) -> None:
    (found,) = check(dataclasses.replace(noisy, known_hosts=tmp_path / "nobody"))
    assert (found.name, found.ok) == ("host key", False)
    assert found.hint


def test_a_board_that_is_off_is_told_and_nothing_else(noisy: Target) -> None:
    (found,) = check(dataclasses.replace(noisy, port=1))
    assert (found.name, found.ok) == ("connection", False)


def test_a_key_that_nobody_knows_is_told(noisy: Target, tmp_path: Path) -> None:
    from targets.keys import make_key

    make_key(tmp_path / "other", comment="other")
    (found,) = check(dataclasses.replace(noisy, key=tmp_path / "other"))
    assert (found.name, found.ok) == ("login", False)
