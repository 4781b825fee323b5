"""Root by real sudo: what is permitted, what is not and how to permit it, and what is refused.

A user of the test's own logs in, whose /etc/passwd, shadow and sudoers are files of the test,
mounted for this one connection.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import loopback
from targets.deadline import Deadline
from targets.privilege import NotPermitted, Privilege
from targets.process import Completed
from targets.ssh import Connection, connect
from tests.targets import conditions, servers

PASSWORD = "se$ret pass'word\"\\"
SCRIPT = "id -u; cat"


def soon() -> Deadline:
    return Deadline.after(60)


@contextlib.contextmanager
def board_of(folder: Path, rules: str) -> Iterator[Connection]:
    """A board where `pi` (uid 4711) logs in, whom /etc/sudoers permits `rules`."""
    servers.needs("sudo", "sudo")
    setpriv = servers.needs("setpriv", "util-linux")
    conditions.needs_root_and("unshare", "-m", "true")
    home = folder / "home"
    home.mkdir()
    os.chown(home, 4711, 4711)
    salted = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input=PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    files = {
        "passwd": "root:x:0:0::/root:/bin/sh\npi:x:4711:4711::/mnt:/bin/sh\n",
        "group": "root:x:0:\npi:x:4711:\n",
        "shadow": f"root:*:19000:0:99999:7:::\npi:{salted}:19000:0:99999:7:::\n",
        "sudoers": f"Defaults !lecture, !syslog\n{rules}\n",
        "pam.d/sudo": "".join(
            f"{kind} required pam_unix.so nodelay\n" for kind in ("auth", "account", "session")
        ),
    }
    mounts = [f"mount --bind '{home}' /mnt"]
    for name, text in files.items():
        path = folder / name.replace("/", "-")
        path.write_text(text)
        path.chmod(0o440 if name in ("sudoers", "shadow") else 0o644)
        mounts.append(f"mount --bind '{path}' /etc/{name}")
    inside = folder / "inside"
    inside.write_text(
        "\n".join(["set -e", *mounts, "cd /mnt", "export HOME=/mnt USER=pi"])
        + f'\nexec {setpriv} --reuid=4711 --regid=4711 --clear-groups /bin/sh "$@"\n'
    )
    first = f"exec unshare -m /bin/sh '{inside}' \"$@\""
    shell = conditions.login_shell(folder, first)
    with (
        loopback.started(home=home, shell=shell) as target,
        connect(target, deadline=soon()) as connection,
    ):
        yield connection


@pytest.fixture
def own(tmp_path: Path, own_settings: Path) -> Path:
    folder = tmp_path / "board"
    folder.mkdir()
    return folder


def ran(done: Completed | NotPermitted) -> Completed:
    assert isinstance(done, Completed), done
    return done


def refused(done: Completed | NotPermitted) -> NotPermitted:
    assert isinstance(done, NotPermitted), done
    return done


def nobody_is_asked(who: str) -> str | None:
    raise AssertionError(f"asked for the password of {who}")


def test_what_sudo_permits_runs_as_root_and_nobody_is_asked(own: Path) -> None:
    with board_of(own, "pi ALL=(root) NOPASSWD: ALL") as connection:
        privilege = Privilege.of(connection, nobody_is_asked, deadline=soon())
        assert (privilege.user, privilege.is_root) == ("pi", False)
        done = ran(privilege.run_as_root(["sh", "-c", SCRIPT], soon(), stdin=b"its input\n"))
        assert done.stdout == b"0\nits input\n"
        assert done.stderr == b""
        done = ran(privilege.run_as_root(["sh", "-c", "echo oh >&2; exit 3"], soon()))
        assert (done.exit_status, done.stderr) == (3, b"oh\n")
        assert ran(privilege.run_as_root(["no-such-program"], soon())).exit_status == 127


AWKWARD = [
    "-a",
    "a b",
    "c,d",
    "e:f=g",
    "#h",
    "i*j?[k]",
    "back\\slash",
    'quo"te',
    "it's",
    "!n",
    "^x$",
]


def test_the_line_that_is_told_permits_just_that(own: Path) -> None:
    words = ["echo", *AWKWARD]
    with board_of(own, "") as connection:
        done = refused(Privilege.of(connection, deadline=soon()).run_as_root(words, soon()))
    assert done.sudoers is not None
    assert done.sudoers in done.hint
    assert done.sudoers.startswith("pi ALL=(root) NOPASSWD: /usr/bin/echo ")
    again = own / "again"
    again.mkdir()
    with board_of(again, done.sudoers) as connection:
        privilege = Privilege.of(connection, deadline=soon())
        assert ran(privilege.run_as_root(words, soon())).stdout.decode() == " ".join(AWKWARD) + "\n"
        refused(privilege.run_as_root([*words[:-1], "other"], soon()))
        refused(privilege.run_as_root(["echo", *(w.replace("*", "ZZ") for w in AWKWARD)], soon()))
        refused(privilege.run_as_root(["echo"], soon()))


def test_a_program_without_arguments_is_permitted_without_any(own: Path) -> None:
    with board_of(own, "") as connection:
        line = Privilege.of(connection, deadline=soon()).sudoers(["/usr/bin/id"])
    again = own / "again"
    again.mkdir()
    with board_of(again, line) as connection:
        privilege = Privilege.of(connection, deadline=soon())
        assert ran(privilege.run_as_root(["id"], soon())).stdout.startswith(b"uid=0")
        refused(privilege.run_as_root(["id", "-u"], soon()))


def test_a_password_is_asked_once_and_never_shown(own: Path) -> None:
    asked = []

    def ask(who: str) -> str:
        asked.append(who)
        return "wrong" if len(asked) == 1 else PASSWORD

    seen = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; cat"
    with board_of(own, "pi ALL=(root) ALL") as connection:
        privilege = Privilege.of(connection, ask, deadline=soon())
        done = ran(privilege.run_as_root(["sh", "-c", seen], soon(), stdin=b"input"))
        assert done.stdout.endswith(b"input")
        assert PASSWORD.encode() not in done.stdout
        assert done.stderr == b""
        assert ran(privilege.run_as_root(["id", "-u"], soon())).stdout == b"0\n"
        assert PASSWORD not in repr(privilege)
    assert asked == ["pi@loopback"] * 2  # the wrong one, the right one


def test_wrong_passwords_end_in_not_permitted(own: Path) -> None:
    asked = []

    def ask(who: str) -> str:
        asked.append(who)
        return "wrong"

    with board_of(own, "Defaults passwd_tries=3\npi ALL=(root) ALL") as connection:
        privilege = Privilege.of(connection, ask, deadline=Deadline.after(60))
        done = refused(privilege.run_as_root(["id", "-u"], Deadline.after(60)))
        assert "password" in done.reason
        refused(privilege.run_as_root(["id", "-u"], soon()))
    assert len(asked) == 3


def test_an_allowed_command_never_gets_the_password_as_its_input(own: Path) -> None:
    rules = "pi ALL=(root) ALL\npi ALL=(root) NOPASSWD: /usr/bin/cat"
    with board_of(own, rules) as connection:
        privilege = Privilege.of(connection, lambda _: PASSWORD, deadline=soon())
        assert ran(privilege.run_as_root(["id", "-u"], soon())).ok  # the password is known now
        assert ran(privilege.run_as_root(["cat"], soon(), stdin=b"mine")).stdout == b"mine"


def test_who_may_not_use_sudo_is_told_the_line(own: Path) -> None:
    with board_of(own, "") as connection:
        privilege = Privilege.of(connection, deadline=soon())
        done = refused(privilege.run_as_root(["id", "-u"], soon()))
        script = refused(privilege.run_as_root(["sh", "-c", "id -u"], soon()))
    assert done.sudoers == "pi ALL=(root) NOPASSWD: /usr/bin/id -u"
    assert not done.permits_all
    assert script.permits_all  # as whoever may run this may well run another
    assert "root in all but name" in script.hint
    assert str(done).startswith("not permitted: ")


def test_a_program_that_the_user_can_change_is_not_started_as_root(own: Path) -> None:
    with board_of(own, "pi ALL=(root) NOPASSWD: ALL") as connection:
        make = """
cp /usr/bin/id /mnt/id; ln -s /usr/bin/id /mnt/link; mkdir /mnt/folder; cp /usr/bin/id /mnt/folder
echo id > /mnt/script
"""
        assert connection.run(make, deadline=soon()).ok
        privilege = Privilege.of(connection, nobody_is_asked, deadline=soon())
        for words in (
            ["/mnt/id"],
            ["/mnt/link"],  # whoever owns the link says where it leads
            ["/mnt/folder/id"],
            ["/usr/bin/../../mnt/id"],
            ["env", "/mnt/id"],
            ["sh", "/mnt/script"],
            ["sh", "script"],
            ["./id"],
            ["timeout", "5", "/mnt/id"],
        ):
            done = refused(privilege.run_as_root(words, soon()))
            assert done.sudoers is None, words
            assert "others than root" in done.reason or "no full path" in done.reason
        # A name is looked for where root installs, whatever the user's PATH says.
        assert ran(privilege.run_as_root(["id", "-u"], soon())).stdout == b"0\n"


def test_folders_above_count_too_and_so_do_links(own: Path) -> None:
    with board_of(own, "pi ALL=(root) NOPASSWD: ALL") as connection:
        privilege = Privilege.of(connection, deadline=soon())
        assert connection.run("mkdir -p /mnt/bin && cp /usr/bin/id /mnt/bin", deadline=soon()).ok
        make = """
rm -rf /opt/halfbyte-test; mkdir -p /opt/halfbyte-test/bin; cd /opt/halfbyte-test
cp /usr/bin/id bin/id; ln -s /mnt/bin away; ln -s bin/id good; chmod 777 bin
"""
        try:
            assert ran(privilege.run_as_root(["sh", "-c", make], soon())).ok
            refused(privilege.run_as_root(["/opt/halfbyte-test/bin/id"], soon()))
            refused(privilege.run_as_root(["/opt/halfbyte-test/good"], soon()))
            refused(privilege.run_as_root(["/opt/halfbyte-test/away/id"], soon()))
            closed = ["chmod", "755", "/opt/halfbyte-test/bin"]
            assert ran(privilege.run_as_root(closed, soon())).ok
            assert ran(privilege.run_as_root(["/opt/halfbyte-test/good", "-u"], soon())).ok
        finally:
            connection.run(["sudo", "-n", "rm", "-rf", "/opt/halfbyte-test"], deadline=soon())


def test_a_sudo_of_the_users_own_never_sees_the_password(own: Path) -> None:
    with board_of(own, "pi ALL=(root) ALL") as connection:
        fake = 'mkdir -p bin; printf "#!/bin/sh\\ncat > ~/stolen\\n" > bin/sudo; chmod +x bin/sudo'
        assert connection.run(fake, deadline=soon()).ok
        privilege = Privilege.of(connection, lambda _: PASSWORD, deadline=soon())
        assert privilege.sudo == "/usr/bin/sudo"


def test_root_needs_no_sudo(tmp_path: Path, own_settings: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the loopback target is this user, who is not root")
    with (
        loopback.started(home=servers.awkward_home(tmp_path)) as target,
        connect(target, deadline=soon()) as connection,
    ):
        privilege = Privilege.of(connection, nobody_is_asked, deadline=soon())
        assert privilege.is_root
        assert ran(privilege.run_as_root(["id", "-u"], soon())).stdout == b"0\n"
