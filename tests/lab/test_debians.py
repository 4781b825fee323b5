"""The servers of Debian 11 to 13 with Debian's own settings: a key, a password, the main job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets.agent.records import Detected, Finished
from targets.deadline import Deadline
from targets.errors import KeyRefused
from targets.items import Item
from targets.keys import install_key, own_key, public_part
from targets.provision.environment import clean, provision
from targets.session import run
from targets.ssh import connect
from targets.target import Target
from targets.zipapp import build
from tests.agent import small_models
from tests.lab import debians
from toolchain.bundle import Bundle, Picture, Settings

RUNTIMES = {  # by Python: 3.9, 3.11, 3.13
    "bullseye": "ai-edge-litert 2.1.0",
    "bookworm": "ai-edge-litert 2.3.0",
    "trixie": "ai-edge-litert 2.3.0",
}
PRINTS = 'echo "Welcome to $(hostname)"\nprintf "disk: 81%% full"\n'


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFBYTE_CONFIG", str(tmp_path / "settings"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture(scope="module", params=list(debians.SUITES))
def debian(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    with debians.server(request.param, tmp_path_factory.mktemp("debian"), bashrc=PRINTS) as found:
        yield found.target


def bundle(folder: Path) -> Bundle:
    built = build(folder)
    picture = small_models.save_picture(folder / "a", small_models.coloured_cell(1, 2, 0))
    return Bundle(
        Item.of_bytes(small_models.int8_detector()),
        Item.of_file(built.path, sha256=built.sha256),
        (Picture("a.jpg", Item.of_file(picture)),),
        Settings(head=small_models.HEAD, warmup=1, timed_runs=2),
    )


def test_the_main_job_passes_and_nothing_is_left(debian: Target, tmp_path: Path) -> None:
    """Its Python gets the runtime made for it; start-up files print; the home is awkward."""
    with connect(debian, deadline=soon()) as connection:
        for module in ("pip", "ensurepip"):  # Debian has them in packages of their own
            assert not connection.run(["python3", "-c", f"import {module}"], deadline=soon()).ok
        made = provision(connection, deadline=Deadline.after(300))
        assert made.runtime.named == RUNTIMES[debian.name]
        assert made.folder.startswith(f"{debians.HOME}/")
        envelopes = run(connection, made, bundle(tmp_path), deadline=soon())
        records = [envelope.record for envelope in envelopes]
        (detected,) = [record for record in records if isinstance(record, Detected)]
        assert [int(row[5]) for row in detected.detections][:1] == [0]
        assert isinstance(records[-1], Finished)
        assert "Welcome" in connection.noise
        assert clean(connection, deadline=soon()) > made.size_bytes
        left = connection.run("ls -A /tmp; ls -A", deadline=soon(), check=True).stdout
        assert left.split() == [b".bashrc", b".ssh"]


@pytest.mark.parametrize("how", ["password", "keyboard-interactive"])
@pytest.mark.parametrize("suite", list(debians.SUITES))
def test_a_password_through_pam_lets_in_once_and_a_key_from_then_on(
    suite: str, how: str, tmp_path: Path
) -> None:
    interactive = "KbdInteractiveAuthentication" if suite != "bullseye" else (
        "ChallengeResponseAuthentication"
    )  # fmt: skip
    settings = ("PasswordAuthentication=no", f"{interactive}=yes") if how != "password" else ()
    server = debians.server(suite, tmp_path / "server", password=True, settings=settings)
    with server as found:
        target = dataclasses.replace(found.target, key=own_key())
        with pytest.raises(KeyRefused):
            connect(target, deadline=soon())
        with pytest.raises(KeyRefused, match="the password"):
            connect(target, deadline=soon(), password=lambda _: "wrong")
        key = public_part(own_key())
        assert key is not None
        password = debians.PASSWORD
        with connect(target, deadline=soon(), password=lambda _: password) as connection:
            install_key(connection, key, deadline=soon())
        connect(target, deadline=soon()).close()


@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/bin/tcsh"])
@pytest.mark.parametrize("kind", ["sshd", "dropbear"])
@pytest.mark.parametrize("suite", list(debians.SUITES))
def test_commands_run_alike_by_every_server_and_login_shell(
    suite: str, kind: str, shell: str, tmp_path: Path
) -> None:
    with (
        debians.server(suite, tmp_path / "server", kind=kind, shell=shell) as found,
        connect(found.target, deadline=soon()) as connection,
    ):
        words = ["printf", "%s|", "a b", "it's", 'quo"te', "back\\slash", "$HOME", "!", "é"]
        done = connection.run(words, deadline=soon(), check=True)
        assert done.stdout.decode() == "a b|it's|quo\"te|back\\slash|$HOME|!|é|"
        assert connection.run("pwd", deadline=soon()).stdout.decode() == debians.HOME + "\n"
        assert connection.run("cat", stdin=bytes(200_000), deadline=soon()).stdout == bytes(200_000)
        assert connection.offers_subsystem("sftp", deadline=soon()) or kind == "dropbear"
