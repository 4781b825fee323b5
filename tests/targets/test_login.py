"""Which keys are tried: the configured one first, few in all, and a clear word when none fits."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import loopback
from targets.deadline import Deadline
from targets.errors import InventoryError, KeyRefused
from targets.keys import install_key, key_to_install, make_key, own_key, public_part
from targets.ssh import connect
from targets.target import Target
from tests.targets import servers


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent without keys."""
    program = servers.needs("ssh-agent", "openssh-client")
    path = tmp_path / "agent"
    process = subprocess.Popen(
        [program, "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not path.exists():
        assert process.poll() is None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    yield path
    process.send_signal(signal.SIGTERM)
    process.wait(5)


def add_to_agent(path: Path) -> None:
    path.chmod(0o600)
    subprocess.run(
        ["ssh-add", "-q", path], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )


def with_passphrase(path: Path, passphrase: str, *more: str) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path, *more]
    subprocess.run(command, check=True)
    return path


@contextlib.contextmanager
def server_for(folder: Path, key: Path, config: str = "") -> Iterator[Target]:
    """OpenSSH that lets in `key` only; the target names no key."""
    public = public_part(key)
    assert public is not None
    with servers.openssh(folder / "server", key=public, config=config) as target:
        yield dataclasses.replace(target, key=None)


def ssh_config(folder: Path, *lines: str) -> Path:
    path = folder / "ssh_config"
    path.write_text("\n".join(("Host *", *lines)) + "\n")
    return path


def test_the_configured_key_comes_before_an_agent_full_of_others(
    tmp_path: Path, agent: Path
) -> None:
    for number in range(8):
        make_key(tmp_path / f"other{number}", comment="")
        add_to_agent(tmp_path / f"other{number}")
    key = tmp_path / "mine"
    make_key(key, comment="")
    with server_for(tmp_path, key, "MaxAuthTries 2") as target:
        connect(dataclasses.replace(target, key=key), deadline=soon()).close()
        config = ssh_config(tmp_path, f"IdentityFile {key}")
        connect(dataclasses.replace(target, ssh_config=config), deadline=soon()).close()


def test_the_agent_is_not_forwarded(tmp_path: Path, agent: Path) -> None:
    make_key(tmp_path / "mine", comment="")
    add_to_agent(tmp_path / "mine")
    config = ssh_config(tmp_path, "ForwardAgent yes", "IdentityFile none")
    with server_for(tmp_path, tmp_path / "mine", "AllowAgentForwarding yes") as target:
        target = dataclasses.replace(target, ssh_config=config)
        with connect(target, deadline=soon()) as connection:
            done = connection.run('echo "agent: $SSH_AUTH_SOCK"', deadline=soon())
    assert done.stdout == b"agent: \n"


def test_identities_only_keeps_the_agent_out(tmp_path: Path, agent: Path) -> None:
    make_key(tmp_path / "wrong", comment="")
    make_key(tmp_path / "right", comment="")
    add_to_agent(tmp_path / "right")
    config = ssh_config(tmp_path, f"IdentityFile {tmp_path / 'wrong'}")
    with server_for(tmp_path, tmp_path / "right") as target:
        connect(dataclasses.replace(target, ssh_config=config), deadline=soon()).close()
        config.write_text(config.read_text() + "IdentitiesOnly yes\n")
        with pytest.raises(KeyRefused) as caught:
            connect(dataclasses.replace(target, ssh_config=config), deadline=soon())
    assert str(tmp_path / "wrong") in caught.value.message
    assert "ssh-agent" not in caught.value.message


def test_a_key_with_a_passphrase_is_used_from_the_agent(tmp_path: Path, agent: Path) -> None:
    key = tmp_path / "locked"
    make_key(key, comment="")
    add_to_agent(key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], check=True)
    with server_for(tmp_path, key) as target:
        connect(dataclasses.replace(target, key=key), deadline=soon()).close()


@pytest.mark.parametrize("form", ["openssh", "pem"])
def test_a_passphrase_is_asked_for_where_somebody_can_answer(tmp_path: Path, form: str) -> None:
    servers.needs("ssh-keygen", "openssh-client")
    key = tmp_path / "locked"
    if form == "pem":
        command = ["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "sécret", "-f", key]
        subprocess.run(command, check=True)
    else:
        with_passphrase(key, "sécret")
    asked: list[Path] = []

    def answer(path: Path) -> str:
        asked.append(path)
        return "sécret"

    with server_for(tmp_path, key) as target:
        target = dataclasses.replace(target, key=key)
        connect(target, deadline=soon(), passphrase=answer).close()
        with pytest.raises(KeyRefused, match="wrong passphrase"):
            connect(target, deadline=soon(), passphrase=lambda _: "no")
        with pytest.raises(KeyRefused, match="has a passphrase"):
            connect(target, deadline=soon())
    assert asked == [key]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_keys_of_every_kind_work(tmp_path: Path, kind: str) -> None:
    servers.needs("ssh-keygen", "openssh-client")
    key = tmp_path / kind
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    with server_for(tmp_path, key) as target:
        connect(dataclasses.replace(target, key=key), deadline=soon()).close()


def test_an_agent_elsewhere_is_found_by_identity_agent(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(tmp_path / "right", comment="")
    add_to_agent(tmp_path / "right")
    monkeypatch.delenv("SSH_AUTH_SOCK")
    config = ssh_config(tmp_path, f"IdentityAgent {agent}", "IdentityFile none")
    with server_for(tmp_path, tmp_path / "right") as target:
        connect(dataclasses.replace(target, ssh_config=config), deadline=soon()).close()


def test_a_wrong_key_says_which_were_tried_and_what_to_do(tmp_path: Path, embedded: Target) -> None:
    make_key(tmp_path / "wrong", comment="")
    with pytest.raises(KeyRefused) as caught:
        connect(dataclasses.replace(embedded, key=tmp_path / "wrong"), deadline=soon())
    assert str(tmp_path / "wrong") in caught.value.message
    assert str(embedded.user) in caught.value.message
    assert "halfbyte target add" in caught.value.hint
    assert caught.value.exit_code == 4


def test_a_wrong_user_is_refused(embedded: Target) -> None:
    with pytest.raises(KeyRefused, match="nobody-here"):
        connect(dataclasses.replace(embedded, user="nobody-here"), deadline=soon())


def test_a_key_that_is_not_there_is_a_mistake_in_the_file(tmp_path: Path, embedded: Target) -> None:
    with pytest.raises(InventoryError, match="There is no key"):
        connect(dataclasses.replace(embedded, key=tmp_path / "none"), deadline=soon())


def test_a_file_that_is_no_key_is_named(tmp_path: Path, embedded: Target) -> None:
    (tmp_path / "text").write_text("not a key")
    with pytest.raises(KeyRefused, match="no private key"):
        connect(dataclasses.replace(embedded, key=tmp_path / "text"), deadline=soon())


def test_a_server_that_hangs_up_after_few_tries_is_told_so(tmp_path: Path, agent: Path) -> None:
    for number in range(4):
        make_key(tmp_path / f"other{number}", comment="")
        add_to_agent(tmp_path / f"other{number}")
    make_key(tmp_path / "mine", comment="")
    config = ssh_config(tmp_path, "IdentityFile none")
    with (
        server_for(tmp_path, tmp_path / "mine", "MaxAuthTries 2") as target,
        pytest.raises(KeyRefused, match="hung up"),
    ):
        connect(dataclasses.replace(target, ssh_config=config), deadline=soon())


def test_a_password_lets_in_once_and_a_key_from_then_on(tmp_path: Path) -> None:
    with loopback.started(home=tmp_path / "home", password="raspberry") as target:
        own_key()
        first = dataclasses.replace(target, key=own_key())
        with pytest.raises(KeyRefused):
            connect(first, deadline=soon())
        with pytest.raises(KeyRefused, match="the password"):
            connect(first, deadline=soon(), password=lambda _: "wrong")
        asked: list[str] = []

        def answer(who: str) -> str:
            asked.append(who)
            return "raspberry"

        key = public_part(own_key())
        assert key is not None
        with connect(first, deadline=soon(), password=answer) as connection:
            assert install_key(connection, key, deadline=soon())
            assert not install_key(connection, key, deadline=soon())
        assert asked == [f"{target.user}@127.0.0.1"]
        connect(first, deadline=soon()).close()
    folder = tmp_path / "home" / ".ssh"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "authorized_keys").stat().st_mode & 0o777 == 0o600


def test_an_installed_key_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    old = make_key(tmp_path / "old", comment="laptop")
    with loopback.started(home=tmp_path / "home") as target:
        folder = tmp_path / "home" / ".ssh"
        folder.mkdir()
        (folder / "authorized_keys").write_text(old.line)  # without a line break at its end
        with connect(target, deadline=soon()) as connection:
            new = make_key(tmp_path / "new", comment="it's ours")
            install_key(connection, new, deadline=soon())
        assert (folder / "authorized_keys").read_text() == f"{old.line}\n{new.line}\n"


def test_a_person_may_take_longer_than_the_deadline(tmp_path: Path) -> None:
    with loopback.started(home=tmp_path / "home", password="raspberry") as target:
        make_key(tmp_path / "unknown", comment="")
        new = dataclasses.replace(
            target, key=tmp_path / "unknown", known_hosts=tmp_path / "known_hosts"
        )

        def slowly(_: object) -> str:
            time.sleep(3)
            return "raspberry"

        with connect(
            new, deadline=Deadline.after(5), ask=lambda _: bool(slowly(_)), password=slowly
        ) as connection:
            assert connection.is_open


def test_our_own_key_is_made_once_and_kept_private(own_settings: Path) -> None:
    path = own_key()
    before = path.read_bytes()
    assert own_key().read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600
    private, public = public_part(path), public_part(path.with_name("id_ed25519.pub"))
    assert private is not None
    assert public is not None
    assert private.blob == public.blob


def test_the_users_own_key_is_preferred_unless_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.needs("ssh-keygen", "openssh-client")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with_passphrase(tmp_path / ".ssh" / "id_ed25519", "secret")
    assert key_to_install() == own_key()
    make_key(tmp_path / ".ssh" / "id_rsa", comment="")
    assert key_to_install() == tmp_path / ".ssh" / "id_rsa"


# No server, or none that speaks SSH


# Links that break
