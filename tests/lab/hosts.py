"""Emulated hosts: one set of namespaces each, with an SSH server that QEMU's user mode runs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.lab import binfmt, processes
from tests.lab.boards import Board
from tests.lab.description import describe
from tests.lab.places import HERE, STATE, cache, client_key
from tests.lab.rootfs import root_of

_START_S = 60.0
SSHD = """\
HostKey /etc/ssh/lab_host_key
AuthorizedKeysFile /etc/ssh/lab_authorized_keys
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def start(board: Board) -> None:
    """Up, with its link; returns when its SSH server answers."""
    binfmt.register(board.system.architecture)
    lower, hw, upper = root_of(board.system), hardware(board), _upper(board)
    for folder in (hw, upper):
        shutil.rmtree(folder, ignore_errors=True)
    (STATE / f"{board.name}.root").mkdir(exist_ok=True)
    (upper / "work").mkdir(parents=True)
    (upper / "files").mkdir()
    describe(board, hw)
    emulation = f"SetEnv QEMU_CPU={board.qemu_cpu} QEMU_UNAME={board.kernel}\n"
    furnish(upper / "files", SSHD + emulation)
    places = [str(place) for place in (STATE / f"{board.name}.root", lower, upper, hw)]
    pid = processes.start(
        board.name,
        [
            *("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child"),
            *("--propagation", "private", "sh", str(HERE / "inside.sh"), *places, board.name),
        ],
    )
    own = Path("/proc/self/ns/net").readlink()
    processes.wait(
        f"namespaces of {board.name}",
        lambda: Path(f"/proc/{pid}/ns/net").readlink() != own,
        seconds=_START_S,
    )
    start_link(board.name, board.host_address, "namespace", str(pid), board.address)
    wait_for_ssh(board.name, board.address, seconds=_START_S)


def stop(board: Board) -> None:
    """Down; nothing is left but the cache."""
    processes.end(f"{board.name}.relay")
    processes.end(board.name)
    shutil.rmtree(_upper(board), ignore_errors=True)


def hardware(board: Board) -> Path:
    """Its description; a test may write in `sys` and `state` there while it runs."""
    return STATE / f"{board.name}.hw"


def run_as_root(board: Board, script: str) -> subprocess.CompletedProcess[str]:
    """A shell script on the board, past SSH."""
    outer = processes.pid_of(board.name)
    assert outer is not None, f"{board.name} is not up"
    inner = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0]
    words = ["nsenter", "-t", inner, "-m", "-u", "-i", "-n", "-p", "chroot"]
    root = str(STATE / f"{board.name}.root")
    return subprocess.run(
        [*words, root, "sh", "-c", script], capture_output=True, text=True, check=False
    )


def furnish(root: Path, sshd_config: str) -> None:
    """Keys and configuration of the SSH server, below `root`."""
    ssh = root / "etc" / "ssh"
    ssh.mkdir(parents=True)
    for name in ("lab_host_key", "lab_host_key.pub"):
        shutil.copy(STATE / name, ssh / name)
    shutil.copy(client_key().with_suffix(".pub"), ssh / "lab_authorized_keys")
    (ssh / "lab_config").write_text(sshd_config)


def make_keys() -> None:
    """One host key for the whole lab, and one key that every board lets in."""
    for path in (STATE / "lab_host_key", client_key()):
        if not path.exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f"]
            subprocess.run([*words, str(path)], check=True)


def start_link(name: str, host_address: str, *board_end: str) -> None:
    """The process between this machine and the board; returns when it can be steered."""
    control = STATE / f"{name}.link"
    control.unlink(missing_ok=True)
    arguments = [f"lab-{name}"[:15], host_address, str(control), *board_end]
    processes.start_module(f"{name}.relay", "tests.lab.relay", *arguments)
    with _explained(f"{name}.relay"):
        processes.wait(f"the link of {name}", control.exists, seconds=20)


def wait_for_ssh(name: str, address: str, *, seconds: float) -> None:
    """Until something there says SSH-2.0."""

    def answers() -> bool:
        assert processes.pid_of(name) is not None, f"it ended:\n{processes.log_of(name)}"
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address, 22), timeout=5) as sock,
        ):
            return sock.recv(8).startswith(b"SSH-2.0")
        return False

    with _explained(name):
        processes.wait(f"SSH on {name}", answers, seconds=seconds)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (TimeoutError, AssertionError) as error:
        raise RuntimeError(f"{name} does not start: {error}\n{processes.log_of(name)}") from None


def _upper(board: Board) -> Path:
    # Not in STATE: that may lie in memory, and what is sent to a board is large.
    return cache() / "boards" / board.name
