"""Servers that know SHA-1 alone: refused with the next step, used where that is permitted."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.deadline import Deadline
from targets.errors import HostKeyChanged, KeyRefused, Unreachable
from targets.hostkeys import HostKey, record
from targets.keys import make_key, public_part
from targets.ssh import connect
from targets.target import Target
from tests.targets import servers
from tests.targets.test_login import add_to_agent, agent, ssh_config

__all__ = ["agent"]
HOST_KEY = "HostKeyAlgorithms +ssh-rsa"
LOGIN = "PubkeyAcceptedAlgorithms +ssh-rsa"


def soon() -> Deadline:
    return Deadline.after(20)


def rsa(path: Path) -> Path:
    servers.needs("ssh-keygen", "openssh-client")
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """OpenSSH whose only host key is RSA's, which signs by SHA-1 and lets RSA keys in so."""
    folder = tmp_path_factory.mktemp("old")
    client, host = rsa(folder / "rsa"), rsa(folder / "host-rsa")
    public = public_part(client)
    settings = f"HostKey {host}\nHostKeyAlgorithms ssh-rsa\nPubkeyAcceptedAlgorithms ssh-rsa"
    with servers.openssh(folder / "server", key=public, config=settings) as target:
        key = public_part(host)
        assert key is not None
        assert target.known_hosts is not None
        assert target.port is not None
        target.known_hosts.unlink()
        record(target.known_hosts, "127.0.0.1", target.port, HostKey(key.type, key.blob))
        yield dataclasses.replace(target, key=client)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


def test_it_is_refused_unasked_and_the_lines_that_permit_it_are_told(old: Target) -> None:
    with pytest.raises(Unreachable, match=r"ssh-rsa \(SHA-1\) alone") as caught:
        connect(old, deadline=soon())
    assert HOST_KEY in caught.value.hint
    assert LOGIN in caught.value.hint


def test_where_the_users_configuration_permits_it_both_keys_are_used(
    old: Target, tmp_path: Path
) -> None:
    permitting = dataclasses.replace(old, ssh_config=ssh_config(tmp_path, HOST_KEY, LOGIN))
    with connect(permitting, deadline=soon()) as connection:
        assert connection.run("echo in", deadline=soon()).stdout == b"in\n"


def test_an_agents_rsa_key_signs_so_too(old: Target, tmp_path: Path, agent: Path) -> None:
    assert old.key is not None
    add_to_agent(old.key)
    config = ssh_config(tmp_path, HOST_KEY, LOGIN, "IdentityFile none")
    connect(dataclasses.replace(old, key=None, ssh_config=config), deadline=soon()).close()


def test_the_host_key_alone_is_not_the_login(old: Target, tmp_path: Path) -> None:
    permitting = dataclasses.replace(old, ssh_config=ssh_config(tmp_path, HOST_KEY))
    with pytest.raises(KeyRefused) as caught:
        connect(permitting, deadline=soon())
    assert LOGIN in caught.value.hint


def test_a_newer_server_is_not_talked_down(tmp_path: Path) -> None:
    client = rsa(tmp_path / "rsa")
    with servers.openssh(tmp_path / "server", key=public_part(client)) as target:
        config = ssh_config(tmp_path, HOST_KEY, LOGIN)
        new = dataclasses.replace(target, key=client, ssh_config=config)
        with connect(new, deadline=soon()) as connection:
            inner: Any = connection._transport
            assert inner.host_key_type == "ssh-ed25519"
            assert inner._agreed_pubkey_algorithm == "rsa-sha2-512"


def test_a_changed_host_key_is_refused_there_too(old: Target, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", comment="")
    assert old.port is not None
    known = tmp_path / "known"
    record(known, "127.0.0.1", old.port, HostKey(other.type, other.blob))
    config = ssh_config(tmp_path, HOST_KEY, LOGIN)
    with pytest.raises(HostKeyChanged):
        connect(dataclasses.replace(old, known_hosts=known, ssh_config=config), deadline=soon())
