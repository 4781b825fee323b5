"""OpenSSH's configuration, as `ssh -G` resolves it and as it is read without OpenSSH."""

from __future__ import annotations

import getpass
import logging
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.errors import DeadlineExceeded, InventoryError
from targets.openssh import NO_CONFIG, SshSettings, is_configured, resolve
from tests.targets import servers

BOARDS = """
Host shed
  HostName 127.0.0.1
  Port 2222
  User cam
  IdentityFile ~/.ssh/shed_ed25519
  IdentitiesOnly yes

Host barn
  HostName 10.20.0.5
  ProxyJump shed
"""
MAIN = """
Include {boards}

Host far
  ProxyCommand nc -X connect %h %p %r %%

Match host 10.9.9.9
  User matched

Host *
  ServerAliveInterval 5
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "boards.conf").write_text(BOARDS)
    (tmp_path / "config").write_text(MAIN.format(boards=tmp_path / "boards.conf"))
    return tmp_path / "config"


@pytest.fixture
def no_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def ask(host: str, config: Path | None, **given: object) -> SshSettings:
    return resolve(host, config=config, deadline=Deadline.after(20), **given)  # type: ignore[arg-type]


@pytest.fixture
def _ssh() -> None:
    servers.needs("ssh", "openssh-client")


@pytest.mark.usefixtures("_ssh")
class TestWithOpenSSH:
    def test_included_files_count(self, config: Path) -> None:
        shed = ask("shed", config)
        assert (shed.hostname, shed.port, shed.user) == ("127.0.0.1", 2222, "cam")
        assert [file.name for file in shed.identity_files] == ["shed_ed25519"]
        assert shed.identities_only
        assert shed.warning is None

    def test_jumps_are_told(self, config: Path) -> None:
        barn = ask("barn", config)
        assert (barn.hostname, barn.proxy_jump) == ("10.20.0.5", ("shed",))
        assert ask("shed", config).proxy_jump == ()

    def test_a_proxy_command_gets_its_tokens(self, config: Path) -> None:
        far = ask("far", config, user="me", port=99)
        assert far.proxy_command == "nc -X connect far 99 me %"

    def test_match_counts(self, config: Path) -> None:
        assert ask("10.9.9.9", config).user == "matched"

    def test_what_the_target_says_comes_first(self, config: Path) -> None:
        shed = ask("shed", config, user="pi", port=22)
        assert (shed.user, shed.port) == ("pi", 22)

    def test_no_configuration_at_all_is_possible(self) -> None:
        settings = ask("shed", NO_CONFIG)
        assert (settings.hostname, settings.user) == ("shed", getpass.getuser())

    def test_known_hosts_files_are_told(self, config: Path) -> None:
        names = [path.name for path in ask("shed", config).known_hosts]
        assert names[0] == "known_hosts"
        assert "ssh_known_hosts" in names

    def test_a_host_that_is_configured_is_known(self, config: Path) -> None:
        assert is_configured("shed", config=config)
        assert is_configured("barn", config=config)
        assert not is_configured("shedd", config=config)

    def test_a_configuration_that_openssh_refuses_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "bad").write_text("Host x\n  Prot 22\n")
        with pytest.raises(InventoryError, match="prot"):
            ask("x", tmp_path / "bad")

    def test_a_token_that_is_not_known_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "c").write_text("Host x\n  IdentityFile ~/%T/key\n")
        with pytest.raises(InventoryError):
            ask("x", tmp_path / "c")

    def test_a_match_that_hangs_ends_with_the_deadline(self, tmp_path: Path) -> None:
        (tmp_path / "c").write_text('Match exec "sleep 30"\n  User x\n')
        with pytest.raises(DeadlineExceeded, match="ssh -G"):
            resolve("x", config=tmp_path / "c", deadline=Deadline.after(0.5))


@pytest.mark.usefixtures("no_ssh")
class TestWithoutOpenSSH:
    def test_hosts_are_read_and_the_reading_is_called_incomplete(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "config").write_text(BOARDS)
        shed = ask("shed", tmp_path / "config")
        assert (shed.hostname, shed.port, shed.user) == ("127.0.0.1", 2222, "cam")
        assert shed.identities_only
        assert shed.warning is not None
        assert "not installed" in shed.warning
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert ask("barn", tmp_path / "config").proxy_jump == ("shed",)

    def test_what_cannot_be_followed_is_named(self, config: Path) -> None:
        settings = ask("shed", config)
        assert settings.hostname == "shed"  # the file that defines it was not read
        assert settings.warning is not None
        assert "Include and Match" in settings.warning

    def test_no_file_means_no_warning(self, tmp_path: Path) -> None:
        assert ask("pi", tmp_path / "none", user="pi").warning is None

    def test_a_configured_host_is_known(self, tmp_path: Path) -> None:
        (tmp_path / "config").write_text(BOARDS)
        assert is_configured("shed", config=tmp_path / "config")
        assert not is_configured("shedd", config=tmp_path / "config")


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/x", "a b", "$(id)", ""])
def test_a_host_that_ssh_could_take_for_an_option_never_gets_there(host: str) -> None:
    with pytest.raises(InventoryError):
        ask(host, NO_CONFIG)
