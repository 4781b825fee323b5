"""The embedded server behaves as a board's does, keeps to itself, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from targets import inventory, loopback
from targets.deadline import Deadline
from targets.errors import CommandFailed, KeyRefused, TargetError
from targets.keys import make_key
from targets.ssh import connect
from targets.target import Target
from targets.transfer import open_store
from tests.processes import ends
from tests.targets import servers

ROOT = Path(__file__).resolve().parents[2]


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


def test_commands_find_a_plain_environment(
    embedded: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(embedded, deadline=soon()) as connection:
        done = connection.run(["env", "-0"], deadline=soon())
    seen = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    assert seen["HOME"].endswith(servers.AWKWARD_HOME)
    assert seen["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTEST_CURRENT_TEST", "HALFBYTE_CONFIG"):
        assert name not in seen


def test_what_was_sent_stays_until_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    for script in ("echo kept > file", "cat file"):
        with loopback.started() as target, connect(target, deadline=soon()) as connection:
            done = connection.run(script, deadline=soon(), check=True)
    assert done.stdout == b"kept\n"
    assert (tmp_path / "cache/loopback/home/file").exists()


def test_keys_are_new_each_time_and_gone_afterwards(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with loopback.started(home=tmp_path / "home") as target:
            assert target.key is not None
            assert target.key.stat().st_mode & 0o777 == 0o600
            seen.append(target.key.read_bytes())
        assert not target.key.exists()
    assert seen[0] != seen[1]


def test_nobody_gets_in_with_another_key(embedded: Target, tmp_path: Path) -> None:
    import dataclasses

    make_key(tmp_path / "other", comment="")
    with pytest.raises(KeyRefused):
        connect(dataclasses.replace(embedded, key=tmp_path / "other"), deadline=soon())


def test_nothing_is_written_into_the_users_own_ssh_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    with loopback.started(home=tmp_path / "home") as target:
        connect(target, deadline=soon()).close()
    assert not (tmp_path / "me").exists()


def test_it_has_no_sftp(embedded: Target) -> None:
    import paramiko

    with connect(embedded, deadline=soon()) as connection:
        with pytest.raises(paramiko.SSHException):
            connection._transport.open_sftp_client()
        assert open_store(connection, deadline=soon()).python is not None


def test_a_client_that_goes_away_hangs_up_on_its_commands(embedded: Target, tmp_path: Path) -> None:
    connection = connect(embedded, deadline=soon())
    process = connection.start(["sleep", "4321"], deadline=soon())
    connection.abort()
    assert ends(process.pid)


def test_the_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Also when that is killed and can clean up nothing; commands end too."""
    program = """
import sys, time
from pathlib import Path
from targets import loopback, ssh
from targets.deadline import Deadline
with loopback.started(home=Path(sys.argv[1])) as target:
    connection = ssh.connect(target, deadline=Deadline.after(20))
    server = connection.run("echo $PPID; ps -o ppid= -p $PPID", deadline=Deadline.after(20))
    process = connection.start(["sleep", "4322"], deadline=Deadline.after(20))
    print(target.port, process.pid, flush=True)
    time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "home"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    with parent.stdout:
        port, pid = (int(word) for word in parent.stdout.readline().split())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert ends(pid)
    with pytest.raises(TargetError):
        connect(Target("pi", "127.0.0.1", port=port, user="x"), deadline=soon())


def test_only_a_target_that_is_not_running_is_started(own_settings: Path, tmp_path: Path) -> None:
    board = Target("pi", "10.0.0.7")
    with loopback.reachable(board) as same:
        assert same is board


def test_choices_made_for_loopback_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    listed = inventory.load()["loopback"]
    with loopback.reachable(dataclasses.replace(listed, threads=3)) as target:
        assert target.threads == 3
        assert target.port is not None
        with connect(target, deadline=soon()) as connection:
            assert connection.run(["true"], deadline=soon()).ok
        with loopback.reachable(target) as same:
            assert same is target


def test_an_interactive_login_is_not_offered(embedded: Target) -> None:
    with connect(embedded, deadline=soon()) as connection:
        channel = connection._transport.open_session(timeout=10)
        import paramiko

        with pytest.raises(paramiko.SSHException):
            channel.invoke_shell()


def test_a_home_that_cannot_be_used_is_an_error_of_the_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        loopback.started(home=home) as target,
        connect(target, deadline=soon()) as connection,
    ):
        home.rmdir()
        with pytest.raises(CommandFailed, match="cannot start"):
            connection.run("true", deadline=soon())
