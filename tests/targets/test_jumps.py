"""Through other hosts: ProxyJump and ProxyCommand of a real ssh configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.errors import HostKeyUnknown, InventoryError, KeyRefused, Unreachable
from targets.keys import make_key
from targets.ssh import connect
from targets.target import Target
from tests.targets import servers


def soon() -> Deadline:
    return Deadline.after(30)


@dataclass
class Yard:
    """Two jump hosts and a board, each a server of its own, in one ssh configuration."""

    folder: Path
    ports: dict[str, int]

    def target(self, name: str) -> Target:
        return Target(
            name,
            name,
            ssh_config=self.folder / "config",
            known_hosts=self.folder / "known_hosts",
        )

    def configure(self, extra: str) -> None:
        (self.folder / "config").write_text(self.config + extra)

    @property
    def config(self) -> str:
        return "".join(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n"
            f"  IdentityFile {self.folder / name / 'client'}\n  IdentitiesOnly yes\n"
            for name, port in self.ports.items()
        )


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    servers.needs("ssh", "openssh-client")
    folder = tmp_path_factory.mktemp("yard")
    ports, known = {}, ""
    with contextlib.ExitStack() as stack:
        for name in ("gate", "shed", "barn"):
            target = stack.enter_context(servers.openssh(folder / name))
            assert target.port is not None
            assert target.known_hosts is not None
            ports[name] = target.port
            known += target.known_hosts.read_text()
        (folder / "known_hosts").write_text(known)
        yield Yard(folder, ports)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


def came_from(yard: Yard, name: str) -> int:
    """The port of the server whose session we are in."""
    with connect(yard.target(name), deadline=soon()) as connection:
        done = connection.run('echo "${SSH_CONNECTION##* }"; echo "$HOME"', deadline=soon())
    port, home = done.stdout.decode().splitlines()
    assert home == str(yard.folder / name / servers.AWKWARD_HOME)
    return int(port)


def test_a_host_behind_another_is_reached(yard: Yard) -> None:
    yard.configure("Host barn\n  ProxyJump shed\n")
    assert came_from(yard, "barn") == yard.ports["barn"]


@pytest.mark.parametrize(
    "config",
    [
        "Host barn\n  ProxyJump gate,shed\n",
        "Host barn\n  ProxyJump shed\nHost shed\n  ProxyJump gate\n",
    ],
    ids=["listed", "chained"],
)
def test_several_jumps_are_taken_in_order(yard: Yard, config: str) -> None:
    yard.configure(config)
    logs = {name: yard.folder / name / "log" for name in yard.ports}
    before = {name: log.read_text().count("Accepted") for name, log in logs.items()}
    assert came_from(yard, "barn") == yard.ports["barn"]
    after = {name: log.read_text().count("Accepted") for name, log in logs.items()}
    assert {name: after[name] - before[name] for name in logs} == {"gate": 1, "shed": 1, "barn": 1}


def test_a_jump_may_carry_user_and_port(yard: Yard) -> None:
    import getpass

    yard.configure(f"Host barn\n  ProxyJump {getpass.getuser()}@shed:{yard.ports['shed']}\n")
    assert came_from(yard, "barn") == yard.ports["barn"]


def test_the_host_key_of_a_jump_is_checked_too(yard: Yard, tmp_path: Path) -> None:
    yard.configure("Host barn\n  ProxyJump shed\n")
    lines = (yard.folder / "known_hosts").read_text().splitlines(keepends=True)
    shed = f"]:{yard.ports['shed']} "
    (tmp_path / "known").write_text("".join(line for line in lines if shed not in line))
    target = Target(
        "barn", "barn", ssh_config=yard.folder / "config", known_hosts=tmp_path / "known"
    )
    with pytest.raises(HostKeyUnknown, match=str(yard.ports["shed"])):
        connect(target, deadline=soon())


def test_a_key_for_the_board_is_not_offered_to_the_jump(yard: Yard) -> None:
    make_key(yard.folder / "wrong", comment="")
    yard.configure("Host barn\n  ProxyJump shed\n")
    target = Target(
        "barn",
        "barn",
        key=yard.folder / "wrong",
        ssh_config=yard.folder / "config",
        known_hosts=yard.folder / "known_hosts",
    )
    with pytest.raises(KeyRefused, match=r"^barn"):
        connect(target, deadline=soon())


def test_a_board_that_the_jump_cannot_reach_is_named(yard: Yard) -> None:
    port = servers.free_port()
    yard.configure(f"Host attic\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump shed\n")
    with pytest.raises(Unreachable, match=f"jump host cannot reach attic.*{port}"):
        connect(yard.target("attic"), deadline=soon())


def test_jumps_in_a_circle_end(yard: Yard) -> None:
    yard.configure("Host shed\n  ProxyJump barn\nHost barn\n  ProxyJump shed\n")
    with pytest.raises(InventoryError, match="more than 8 jumps"):
        connect(yard.target("barn"), deadline=soon())


def test_a_proxy_command_is_run_as_openssh_runs_it(yard: Yard) -> None:
    relay = (
        "import socket,sys,threading,os\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def up():\n"
        "    while d:=os.read(0,65536): s.sendall(d)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    (yard.folder / "relay.py").write_text(relay)
    yard.configure(f"Host barn\n  ProxyCommand python3 '{yard.folder}/relay.py' %h %p\n")
    assert came_from(yard, "barn") == yard.ports["barn"]


def test_a_proxy_command_that_fails_does_not_hang(yard: Yard) -> None:
    yard.configure("Host barn\n  ProxyCommand exit 3\n")
    with pytest.raises(Unreachable, match="not as an SSH server"):
        connect(yard.target("barn"), deadline=soon())
