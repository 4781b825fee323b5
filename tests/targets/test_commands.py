"""Commands on boards of every kind: embedded server, OpenSSH, Dropbear; sh, fish and tcsh."""

from __future__ import annotations

import hashlib
import os
import shlex
import threading
from pathlib import Path

import paramiko
import pytest

from targets import doctor
from targets.deadline import Deadline
from targets.errors import CommandFailed, DeadlineExceeded
from targets.ssh import Connection, connect
from targets.target import Target
from tests.targets import conditions, servers
from tests.targets.test_shell import AWKWARD

SOON = 20


def soon() -> Deadline:
    return Deadline.after(SOON)


def test_a_script_gets_its_arguments_as_they_are(connection: Connection) -> None:
    words = [word for word in AWKWARD if word != "\udcff"]
    done = connection.run('printf "%s|" "$@"', *words, deadline=soon())
    assert done.stdout == "".join(f"{word}|" for word in words).encode()


def test_a_list_of_words_is_a_program(connection: Connection) -> None:
    done = connection.run(["printf", "%s", "it's $HOME"], deadline=soon())
    assert done.stdout == b"it's $HOME"


def test_exit_status_and_both_outputs_come_back(connection: Connection) -> None:
    done = connection.run("echo out; echo err >&2; exit 7", deadline=soon())
    assert (done.exit_status, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert done.how == "exit status 7"


def test_a_killed_program_is_told_from_one_that_failed(connection: Connection) -> None:
    done = connection.run('kill -s KILL "$$"', deadline=soon())
    assert done.killed
    assert not connection.run("exit 9", deadline=soon()).killed


def test_a_failed_command_says_what_the_board_said(connection: Connection) -> None:
    with pytest.raises(CommandFailed, match="exit status 3: no such thing"):
        connection.run("echo no such thing >&2; exit 3", deadline=soon(), check=True)


def test_input_arrives_whole_even_if_it_is_read_late(connection: Connection) -> None:
    data = os.urandom(5_000_003)
    done = connection.run("sleep 0.3; cat", stdin=data, deadline=soon())
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_a_program_that_does_not_read_its_input_ends_all_the_same(connection: Connection) -> None:
    done = connection.run("exec true", stdin=bytes(5_000_000), deadline=soon())
    assert done.ok


def test_input_is_at_its_end_unless_given(connection: Connection) -> None:
    done = connection.run('read -r answer; echo "answer: $answer"', deadline=soon())
    assert done.stdout == b"answer: \n"


def test_nothing_asks_a_question_that_nobody_sees(connection: Connection) -> None:
    script = "test -t 0 || test -t 1 || echo no terminal; read answer || echo no answer"
    assert connection.run(script, deadline=soon()).stdout == b"no terminal\nno answer\n"


def test_a_sudo_that_wants_a_password_is_no_hang_but_an_answer(connection: Connection) -> None:
    """Real sudo, of a user who would have to type a password."""
    servers.needs("sudo", "sudo")
    if os.geteuid() != 0:
        pytest.skip("another user is taken, which only root can")
    other = f"{servers.needs('setpriv', 'util-linux')} --reuid=65534 --regid=65534 --clear-groups"
    done = connection.run(f"{other} sh -c {shlex.quote(doctor.LOOK)}", deadline=soon())
    said = dict(line.split(" ", 1) for line in done.stdout.decode().splitlines() if " " in line)
    assert said["sudo"] == "refused"
    check = doctor.sudo_check(said)
    assert "not permitted" in check.detail
    assert check.hint.endswith("nobody ALL=(root) NOPASSWD: ALL")


def test_a_command_that_hangs_ends_with_its_deadline(connection: Connection) -> None:
    with pytest.raises(DeadlineExceeded, match="sleep 4242"):
        connection.run("exec sleep 4242", deadline=Deadline.after(0.5))
    assert connection.run("echo alive", deadline=soon()).stdout == b"alive\n"


def test_a_command_that_hung_is_gone_afterwards(connection: Connection, tmp_path: Path) -> None:
    with connection.start(["sleep", "4243"], deadline=soon()) as process:
        assert connection.run(["kill", "-0", str(process.pid)], deadline=soon()).ok
    gone = 'for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" || exit 0; sleep 0.5; done; exit 1'
    assert connection.run(gone, str(process.pid), deadline=soon()).ok


def test_a_program_is_talked_to_line_by_line(connection: Connection) -> None:
    with connection.start(["cat"], stdin=True, deadline=soon()) as process:
        process.write(b"one\ntw", deadline=soon())
        assert process.readline(deadline=soon(), limit=100) == b"one\n"
        process.write(b"o\nthree", deadline=soon())
        process.close_stdin()
        assert list(process.lines(limit=100, stall_s=5, deadline=soon())) == [b"two\n", b"three"]
        assert process.wait(deadline=soon()).ok


def test_a_line_longer_than_allowed_comes_in_parts(connection: Connection) -> None:
    script = 'head -c 300000 /dev/zero | tr "\\0" x; echo'
    with connection.start(script, deadline=soon()) as process:
        first = process.readline(deadline=soon(), limit=1000)
        assert len(first) >= 1000
        assert not first.endswith(b"\n")


def test_a_chatty_stderr_does_not_stop_the_program(connection: Connection) -> None:
    script = (
        "i=0; while [ $i -lt 40000 ]; do echo 0123456789012345678901234567890123456789012345678"
    )
    done = connection.run(script + " >&2; i=$((i+1)); done; echo end >&2; echo ok", deadline=soon())
    assert done.stdout == b"ok\n"
    assert done.stderr.endswith(b"end\n")
    assert len(done.stderr) <= 64 * 1024


def test_commands_run_side_by_side(connection: Connection) -> None:
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        script = 'sleep 0.2; echo "$1"'
        answers[number] = connection.run(script, str(number), deadline=soon()).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: b"%d\n" % number for number in range(5)}


NOISY_BASHRC = """echo "Welcome to $(hostname)"
printf "disk: 81%% full"
echo "swap is off" >&2
"""


def test_what_start_up_files_print_is_left_out_and_mentioned_once(
    tmp_path: Path, own_settings: Path, caplog: pytest.LogCaptureFixture
) -> None:

    (servers.awkward_home(tmp_path) / ".bashrc").write_text(NOISY_BASHRC)
    bash = servers.needs("bash", "bash")
    with (
        servers.embedded(tmp_path, bash) as target,
        connect(target, deadline=soon()) as connection,
    ):
        for _ in range(2):
            done = connection.run("echo first; echo error >&2", deadline=soon())
            assert (done.stdout, done.stderr) == (b"first\n", b"error\n")
        assert connection.noise.endswith("disk: 81% full")
    assert sum("start-up files" in record.message for record in caplog.records) == 1


def test_an_account_without_a_shell_says_so(tmp_path: Path, own_settings: Path) -> None:

    nologin = servers.needs("nologin", "login")
    with (
        servers.embedded(tmp_path, nologin) as target,
        connect(target, deadline=soon()) as connection,
        pytest.raises(CommandFailed, match="not available"),
    ):
        connection.run("true", deadline=soon())


def test_output_without_end_is_refused(
    embedded: Target, own_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("targets.ssh.MAX_OUTPUT_BYTES", 1_000_000)
    with (
        connect(embedded, deadline=soon()) as connection,
        pytest.raises(CommandFailed, match="stop talking"),
    ):
        connection.run(["yes"], deadline=soon())


@pytest.mark.parametrize("said", ["", " me", " 99999999999999999999"])
def test_a_server_that_does_not_say_which_process_it_started_is_an_error(
    tmp_path: Path, own_settings: Path, said: str
) -> None:
    mangled = f"/bin/sh \"$@\" | sed -E 's/^(halfbyte-[0-9a-f]+) [0-9]+$/\\1{said}/'; exit"
    with (
        conditions.board(tmp_path, mangled) as target,
        connect(target, deadline=soon()) as connection,
        pytest.raises(CommandFailed, match="did not run `true`"),
    ):
        connection.run("true", deadline=soon())


def test_a_channel_that_is_closed_as_it_opens_is_asked_for_once_more(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, fails = connection._transport.open_session, iter([True])

    def sometimes(**how: float) -> paramiko.Channel:
        if next(fails, False):
            raise paramiko.SSHException("Unable to open channel.")
        return opened(**how)

    monkeypatch.setattr(connection._transport, "open_session", sometimes)
    assert connection.run("echo alive", deadline=soon()).stdout == b"alive\n"
