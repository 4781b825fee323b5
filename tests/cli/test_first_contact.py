"""`halfbyte target add` at a terminal: the host key is shown, the password asked for once."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from targets import loopback
from targets.inventory import load

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "it's raspberry"


class Terminal:
    """A program at a terminal, and who sits there."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.ours, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            words,
            env=environment,
            cwd=environment["HOME"],
            preexec_fn=lambda: os.login_tty(theirs),
        )
        os.close(theirs)

    def answer(self, question: str, text: str) -> None:
        """Wait for the question, then type."""
        before = len(self.shown)
        while question not in self.shown[before:]:
            self._look(question)
        os.write(self.ours, text.encode() + b"\n")

    def end(self) -> int:
        """Read on until it ends; its exit status."""
        while self.process.poll() is None:
            self._look("the end")
        os.close(self.ours)
        return self.process.returncode

    def _look(self, awaited: str) -> None:
        ready, _, _ = select.select([self.ours], [], [], 60)
        assert ready, f"waited for {awaited!r}; the terminal shows:\n{self.shown}"
        try:
            self.shown += os.read(self.ours, 4096).decode()
        except OSError:  # it ended
            self.process.wait(60)
        if self.process.poll() is not None and awaited != "the end":
            raise AssertionError(f"ended before {awaited!r}:\n{self.shown}")


def test_a_board_with_a_password_is_added_and_asks_for_it_never_again(tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HALFBYTE_CONFIG": str(settings),
        "TERM": "dumb",
    }
    with loopback.started(home=tmp_path / "board", password=PASSWORD) as board:
        words = [sys.executable, "-m", "toolchain.cli", "target", "add"]
        words += [f"{board.user}@127.0.0.1:{board.port}", "--name", "shed"]
        terminal = Terminal(words, environment)
        terminal.answer("Is that the same?", "y")
        terminal.answer("Password of", PASSWORD)
        assert terminal.end() == 0, terminal.shown
        assert "SHA256:" in terminal.shown
        assert PASSWORD not in terminal.shown
        assert "no password from now on" in terminal.shown
        shed = load(settings / "targets.toml")["shed"]
        assert shed.key is not None
        for path in settings.rglob("*"):
            assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
        again = subprocess.run(
            [sys.executable, "-c", CONNECT],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert again.stdout == "in\n", again.stderr


CONNECT = """
from targets.deadline import Deadline
from targets.ssh import connect
from targets.inventory import load
with connect(load()["shed"], deadline=Deadline.after(60)) as connection:
    print(connection.run("echo in", deadline=Deadline.after(60)).stdout.decode(), end="")
"""
