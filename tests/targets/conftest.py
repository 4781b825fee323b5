from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.ssh import Connection, connect
from targets.target import Target
from tests.targets import servers

BOARDS = ["embedded", "embedded-fish", "embedded-tcsh", "openssh", "openssh-fish", "dropbear"]


@pytest.fixture
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty settings folder, and no ssh-agent."""
    monkeypatch.setenv("HALFBYTE_CONFIG", str(tmp_path / "settings"))
    monkeypatch.delenv("HALFBYTE_TARGETS", raising=False)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "settings"


@pytest.fixture(scope="module", params=BOARDS)
def board(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A reachable board of each kind: server and login shell; home folders are awkward to name."""
    folder = tmp_path_factory.mktemp("board")
    kind, _, shell = request.param.partition("-")
    program = servers.needs(shell, shell) if shell else None
    if kind == "embedded":
        with servers.embedded(folder, program or "/bin/sh") as target:
            yield target
    elif kind == "openssh":
        with servers.openssh(folder, shell=program) as target:
            yield target
    else:
        with servers.dropbear(folder) as target:
            yield target


@pytest.fixture
def connection(board: Target, own_settings: Path) -> Iterator[Connection]:
    with connect(board, deadline=Deadline.after(20)) as connection:
        yield connection


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The loopback server, for what does not depend on the kind of board."""
    with servers.embedded(tmp_path_factory.mktemp("embedded")) as target:
        yield target
