"""known_hosts files as OpenSSH's own tools write them."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown
from targets.hostkeys import HostKey, KnownHosts, Newcomer, admit, record
from targets.keys import make_key
from targets.ssh import connect
from targets.target import Target
from tests.targets import servers

SSH_RSA = HostKey("ssh-rsa", b"\0\0\0\x07ssh-rsa" + b"1" * 64)


def new_key(folder: Path, name: str = "key") -> HostKey:
    made = make_key(folder / name, comment="")
    return HostKey(made.type, made.blob)


def known(folder: Path, *lines: str) -> KnownHosts:
    path = folder / "known_hosts"
    path.write_text("".join(f"{line}\n" for line in lines))
    return KnownHosts.read([path])


def text_of(key: HostKey) -> str:
    import base64

    return f"{key.type} {base64.b64encode(key.blob).decode()}"


@pytest.mark.parametrize(
    ("names", "host", "port", "is_known"),
    [
        ("pi", "pi", 22, True),
        ("PI", "pi", 22, True),
        ("other,pi", "pi", 22, True),
        ("[pi]:2222", "pi", 2222, True),
        ("[pi]:2222", "pi", 22, False),
        ("[pi]:2222", "pi", 2223, False),
        ("pi", "pi", 2222, True),
        ("192.168.1.*", "192.168.1.40", 22, True),
        ("192.168.1.?", "192.168.1.40", 22, False),
        ("*.lab,!bad.lab", "good.lab", 22, True),
        ("*.lab,!bad.lab", "bad.lab", 22, False),
        ("fe80::1", "fe80::1", 22, True),
    ],
)
def test_a_line_names_the_hosts_that_openssh_says(
    tmp_path: Path, names: str, host: str, port: int, is_known: bool
) -> None:
    key = new_key(tmp_path)
    assert known(tmp_path, f"{names} {text_of(key)}").check(host, port, key) is is_known


def test_hashed_names_are_recognised(tmp_path: Path) -> None:
    servers.needs("ssh-keygen", "openssh-client")
    key = new_key(tmp_path)
    known(tmp_path, f"pi {text_of(key)}", f"[pi]:2222 {text_of(SSH_RSA)}")
    path = tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", path], check=True, capture_output=True)
    assert "pi" not in path.read_text().replace(text_of(key), "").replace(text_of(SSH_RSA), "")
    hashed = KnownHosts.read([path])
    assert hashed.check("pi", 22, key)
    assert hashed.types("pi", 2222) == ["ssh-rsa"]
    assert not hashed.check("po", 22, key)


def test_the_fingerprint_is_the_one_that_ssh_keygen_prints(tmp_path: Path) -> None:
    servers.needs("ssh-keygen", "openssh-client")
    key = new_key(tmp_path)
    told = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    )
    assert key.fingerprint == told.stdout.split()[1]


def test_a_changed_key_is_refused_with_both_fingerprints_and_the_line(tmp_path: Path) -> None:
    old, new = new_key(tmp_path, "old"), new_key(tmp_path, "new")
    hosts = known(tmp_path, "# ours", f"pi {text_of(old)}")
    with pytest.raises(HostKeyChanged) as caught:
        hosts.check("pi", 22, new)
    assert old.fingerprint in caught.value.message
    assert new.fingerprint in caught.value.message
    assert f"{tmp_path / 'known_hosts'}:2" in caught.value.message


def test_one_of_several_recorded_keys_is_enough(tmp_path: Path) -> None:
    old, new = new_key(tmp_path, "old"), new_key(tmp_path, "new")
    assert known(tmp_path, f"pi {text_of(old)}", f"pi {text_of(new)}").check("pi", 22, new)


def test_a_known_host_with_keys_of_other_types_only_is_no_new_host(tmp_path: Path) -> None:
    hosts = known(tmp_path, f"pi {text_of(SSH_RSA)}")
    with pytest.raises(HostKeyChanged):
        hosts.check("pi", 22, new_key(tmp_path))


def test_a_revoked_key_is_refused_even_if_it_is_recorded_too(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    hosts = known(tmp_path, f"pi {text_of(key)}", f"@revoked * {text_of(key)}")
    with pytest.raises(HostKeyRevoked, match=":2"):
        hosts.check("pi", 22, key)


def test_a_certificate_authority_vouches_for_nothing_and_that_is_said(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    hosts = known(tmp_path, f"@cert-authority *.lab {text_of(key)}")
    with pytest.raises(HostKeyUnknown, match="certificates are not supported"):
        admit(hosts, "pi.lab", 22, key, ask=None, accept_new=False, record_in=tmp_path / "new")


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    key = new_key(tmp_path)
    hosts = known(
        tmp_path, "", "#", "pi", "pi ssh-ed25519", "pi ssh-ed25519 @@@", "|1|x pi y",
        "|1|AA==|BB== ssh-ed25519 AAAA", "1024 35 12345", f"pi {text_of(key)} and a comment",
    )  # fmt: skip
    assert hosts.check("pi", 22, key)


def test_a_recorded_key_is_on_a_line_of_its_own(tmp_path: Path) -> None:
    first, second = new_key(tmp_path, "a"), new_key(tmp_path, "b")
    path = tmp_path / "known_hosts"
    path.write_text(f"pi {text_of(first)}")  # no newline at its end
    record(path, "po", 2222, second)
    assert path.read_text().splitlines() == [f"pi {text_of(first)}", f"[po]:2222 {text_of(second)}"]
    assert path.stat().st_mode & 0o777 == 0o600


# Across a real connection


def forgotten(target: Target) -> Target:
    """The same board, never met before."""
    assert target.known_hosts is not None
    return dataclasses.replace(target, known_hosts=target.known_hosts.with_name("empty"))


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


def test_a_new_host_is_refused_where_nobody_can_be_asked(embedded: Target) -> None:
    with pytest.raises(HostKeyUnknown, match="SHA256:") as caught:
        connect(forgotten(embedded), deadline=soon())
    assert "--accept-new" in caught.value.hint


def test_a_new_host_is_asked_about_once(embedded: Target) -> None:
    asked: list[Newcomer] = []

    def agree(newcomer: Newcomer) -> bool:
        asked.append(newcomer)
        return True

    target = forgotten(embedded)
    for _ in range(2):
        connect(target, deadline=soon(), ask=agree).close()
    assert [newcomer.host for newcomer in asked] == [f"[127.0.0.1]:{target.port}"]
    assert target.known_hosts is not None
    target.known_hosts.unlink()


def test_a_no_is_taken_for_a_no(embedded: Target) -> None:
    with pytest.raises(HostKeyUnknown):
        connect(forgotten(embedded), deadline=soon(), ask=lambda _: False)
    with pytest.raises(HostKeyUnknown):
        connect(forgotten(embedded), deadline=soon())


def test_accept_new_records_in_our_own_file_by_default(
    embedded: Target, own_settings: Path
) -> None:
    target = dataclasses.replace(embedded, known_hosts=None)
    connect(target, deadline=soon(), accept_new=True).close()
    assert f"[127.0.0.1]:{target.port} " in (own_settings / "known_hosts").read_text()
    connect(target, deadline=soon()).close()


def test_accept_new_does_not_accept_a_changed_key(embedded: Target, tmp_path: Path) -> None:
    other = new_key(tmp_path)
    target = dataclasses.replace(embedded, known_hosts=tmp_path / "known_hosts")
    assert target.port is not None
    record(tmp_path / "known_hosts", "127.0.0.1", target.port, other)
    with pytest.raises(HostKeyChanged):
        connect(target, deadline=soon(), accept_new=True, ask=lambda _: True)


def test_a_revoked_host_is_not_logged_in_to(embedded: Target, tmp_path: Path) -> None:
    assert embedded.known_hosts is not None
    _, key_type, blob = embedded.known_hosts.read_text().split()
    (tmp_path / "revoked").write_text(f"@revoked * {key_type} {blob}\n")
    target = dataclasses.replace(embedded, known_hosts=tmp_path / "revoked")
    with pytest.raises(HostKeyRevoked):
        connect(target, deadline=soon(), accept_new=True)


def test_the_type_of_key_that_is_recorded_is_asked_for(tmp_path: Path) -> None:
    """A server with several keys must show the one we know, not the one that we like best."""
    servers.needs("ssh-keygen", "openssh-client")
    folder = tmp_path / "two-keys"
    folder.mkdir()
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", folder / "rsa"]
    subprocess.run(command, check=True)
    with servers.openssh(folder, config=f"HostKey {folder / 'rsa'}") as target:
        assert target.known_hosts is not None
        rsa = (folder / "rsa.pub").read_text()
        target.known_hosts.write_text(f"[127.0.0.1]:{target.port} {rsa}")
        connect(target, deadline=soon()).close()
