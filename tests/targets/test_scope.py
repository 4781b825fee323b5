"""Whether a run is put into a scope of systemd's, by what the board has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from targets.provision.on_board import start

SYSTEMD_RUN = "/usr/bin/systemd-run"


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths that are there on a board with systemd."""
    there = {"/run/systemd/system"}
    monkeypatch.setattr(os.path, "isdir", there.__contains__)
    monkeypatch.setattr(os.path, "exists", there.__contains__)
    monkeypatch.setenv("USER", "pi")
    return there


def test_root_gets_a_scope_of_the_system(
    systemd: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert start.scope(SYSTEMD_RUN) == ["/usr/bin/systemd-run", "--scope", "--quiet", "--collect"]


def test_a_user_gets_one_only_where_it_outlives_the_login(
    systemd: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert start.scope(SYSTEMD_RUN) == []
    systemd.add("/var/lib/systemd/linger/pi")
    assert start.scope(SYSTEMD_RUN)[:2] == ["/usr/bin/systemd-run", "--user"]


def test_without_systemd_there_is_none(systemd: set[str]) -> None:
    assert start.scope(None) == []
    systemd.clear()
    assert start.scope(SYSTEMD_RUN) == []


def test_a_scope_that_does_not_come_up_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "supervise.py").write_text(
        "import os, sys\nos.write(int(sys.argv[3]), b'{\"pid\": 1}\\n')\n"
    )
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    with pytest.raises(start.Refused):
        start.supervised(str(tmp_path), lock, ["/bin/false"])
    assert start.supervised(str(tmp_path), lock, []) == {"pid": 1}
    os.close(lock)


def test_none_is_looked_for_where_others_than_root_may_write() -> None:
    assert "local" not in start.FOLDERS
