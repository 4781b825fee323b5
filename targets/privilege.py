"""Root on the board, for one command at a time: by `sudo -n`, or by a password that a person types.

    privilege = Privilege.of(connection, ask, deadline=Deadline.after(20))
    done = privilege.run_as_root(["tee", "/sys/.../governor"], deadline, stdin=b"performance")
    if isinstance(done, NotPermitted):
        print(done, done.hint)

Nothing waits for an answer that nobody sees.  The password is never an argument, an environment
variable or a file, and it is sent only when sudo itself has asked for it.  A program that somebody
else than root could change is not started as root: neither the one named, nor one among its
arguments.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from targets.authenticate import AskPassword
from targets.deadline import Deadline
from targets.errors import CommandFailed
from targets.process import Completed, Process
from targets.roots_only import LOOK, RUN
from targets.ssh import Connection

PROMPT_S: Final = 10.0
"""sudo asks for the password within this time, or in a way that is not known here."""
_TRIES: Final = 3
_TICK_S: Final = 0.02
_INTERPRETER: Final = re.compile(
    r"(|ba|da|z|k|mk|tc|c|fi)sh|busybox|python.*|perl.*|ruby.*|lua.*|.*awk|env|xargs"
)


@dataclass(frozen=True)
class NotPermitted:
    """Nothing was run.

    reason: half a sentence.  sudoers: the line for a file in /etc/sudoers.d that would permit it
    without a password; None where it must not be permitted.
    """

    words: tuple[str, ...]
    reason: str
    sudoers: str | None = None

    @property
    def permits_all(self) -> bool:
        """The line would let its user do anything as root, as the program runs what it is given."""
        program = self.words[0].rpartition("/")[2]
        return self.sudoers is not None and (
            self.sudoers.endswith(": ALL") or _INTERPRETER.fullmatch(program) is not None
        )

    @property
    def hint(self) -> str:
        """What to do, for people."""
        if self.sudoers is None:
            return "Only what nobody but root can change is started as root."
        warning = " (That makes this user root in all but name.)" if self.permits_all else ""
        return (
            "Use --ask-sudo; or to permit it, `sudo visudo -f /etc/sudoers.d/halfbyte` and write: "
            f"{self.sudoers}{warning}"
        )

    def __str__(self) -> str:
        return f"not permitted: {self.reason}"


@dataclass
class Privilege:
    """The way to root on one board.

    ask: gives the password of "user@board" (None: nobody can be asked).  It is asked once, when it
    is first needed, tried out, and kept in this object's memory alone.
    """

    connection: Connection
    user: str
    is_root: bool
    sudo: str | None  # the path of a sudo that only root can change
    ask: AskPassword | None = None
    _password: str | None = field(default=None, repr=False)
    _asked: bool = field(default=False, repr=False)

    @classmethod
    def of(
        cls, connection: Connection, ask: AskPassword | None = None, *, deadline: Deadline
    ) -> Privilege:
        """Look which way there is.  Raises CommandFailed, LinkLost, DeadlineExceeded."""
        done = connection.run(LOOK, "", deadline=deadline, check=True)
        uid, user, sudo = (*done.stdout.decode("utf-8", "replace").splitlines(), "", "", "")[:3]
        return cls(connection, user, uid == "0", sudo or None, ask)

    def run_as_root(
        self, words: Sequence[str], deadline: Deadline, *, stdin: bytes = b""
    ) -> Completed | NotPermitted:
        """Run a program as root to its end.

        words: a program (a path, or a name that is looked for where only root installs) and its
        arguments.  A program that is not there ends with exit status 127.
        Raises LinkLost, DeadlineExceeded, CommandFailed.
        """
        words = tuple(words)
        if self.is_root:
            return self._run(words, (), stdin, deadline)
        if self.sudo is None:
            reason = f"{self.user} is not root, and there is no sudo"
            return NotPermitted(words, reason, self.sudoers(words))
        done = self._run(words, (self.sudo, "-n", "--"), stdin, deadline)
        # First without: a program that needs no password must not find one in its input.
        if isinstance(done, NotPermitted) and done.sudoers and self._ask(deadline):
            return self._run_by_password(words, stdin, deadline)
        return done

    def sudoers(self, words: Sequence[str]) -> str:
        """The line that permits just these words, as sudoers(5) has it."""
        program, *arguments = words
        program = program if program.startswith("/") else f"/usr/bin/{program}"
        permitted = " ".join(map(_escaped, (program, *arguments))) + ("" if arguments else ' ""')
        if not all(word.isprintable() and word for word in arguments):
            permitted = "ALL"  # such words cannot be written down there
        return f"{self.user} ALL=(root) NOPASSWD: {permitted}"

    def _run(
        self, words: tuple[str, ...], before: tuple[str, ...], stdin: bytes, deadline: Deadline
    ) -> Completed | NotPermitted:
        mark = _new_mark()
        arguments = (mark, str(len(before)), *before, *words)
        done = self.connection.run(RUN, *arguments, stdin=stdin, deadline=deadline)
        return self._judged(words, mark, done)

    def _run_by_password(
        self, words: tuple[str, ...], stdin: bytes, deadline: Deadline
    ) -> Completed | NotPermitted:
        """sudo ignores what it remembers (`-k`), so it asks; and it asked before we answer."""
        mark, prompt = _new_mark(), _new_mark()
        assert self.sudo is not None
        assert self._password is not None
        before = (self.sudo, "-k", "-S", "-p", prompt, "--")
        arguments = (mark, str(len(before)), *before, *words)
        with self.connection.start(RUN, *arguments, stdin=True, deadline=deadline) as process:
            with contextlib.suppress(CommandFailed):  # it ended early: its status tells
                if _asks(process, prompt, deadline):
                    process.write(self._password.encode() + b"\n", deadline=deadline)
                    process.write(stdin, deadline=deadline)
                process.close_stdin()
            stdout = bytearray()
            while data := process.read(deadline=deadline):
                stdout += data
            done = replace(process.wait(deadline=deadline), stdout=bytes(stdout))
        return self._judged(words, mark, _without(prompt, done))

    def _judged(
        self, words: tuple[str, ...], mark: str, done: Completed
    ) -> Completed | NotPermitted:
        """Was it the program that ended, or a refusal to start it?"""
        program, refused, stderr = words[0], None, []
        for line in done.stderr.decode("utf-8", "surrogateescape").splitlines(keepends=True):
            said = line.rstrip("\n").partition(mark)
            if not said[1]:
                stderr.append(line)
            elif said[2].startswith("program "):
                program = said[2][len("program ") :]
            elif said[2].startswith("refused "):
                refused = said[2][len("refused ") :]
        if refused is not None:
            return NotPermitted(words, refused)
        done = replace(done, stderr="".join(stderr).encode("utf-8", "surrogateescape"))
        if not self.is_root and done.exit_status == 1 and (why := _sudo_refused(done)):
            return NotPermitted(words, why, self.sudoers((program, *words[1:])))
        return done

    def _ask(self, deadline: Deadline) -> bool:
        """A password that sudo takes is known after this."""
        if self._asked or self.ask is None:
            return self._password is not None
        self._asked = True
        for _ in range(_TRIES):
            began_at_s = time.monotonic()
            answer = self.ask(f"{self.user}@{self.connection.name}")
            deadline = deadline.extended(time.monotonic() - began_at_s)
            if answer is None:
                return False
            if self._takes(answer, deadline):
                self._password = answer
                return True
        return False

    def _takes(self, password: str, deadline: Deadline) -> bool:
        assert self.sudo is not None
        prompt = _new_mark()
        words = [self.sudo, "-k", "-S", "-p", prompt, "-v"]
        with self.connection.start(words, stdin=True, deadline=deadline) as process:
            if not _asks(process, prompt, deadline):
                return False
            process.write(password.encode() + b"\n", deadline=deadline)
            process.close_stdin()
            return process.wait(deadline=deadline).ok


def _asks(process: Process, prompt: str, deadline: Deadline) -> bool:
    """Whether sudo asks for the password; False once it ended or kept silent for PROMPT_S."""
    wait = deadline.sooner(PROMPT_S)
    while prompt.encode() not in process.stderr:
        if process.has_ended or wait.expired:
            return prompt.encode() in process.stderr
        time.sleep(_TICK_S)
    return True


def _without(prompt: str, done: Completed) -> Completed:
    return replace(done, stderr=done.stderr.replace(prompt.encode(), b""))


def _sudo_refused(done: Completed) -> str | None:
    """Why sudo started nothing, in its own words; None if they are not sudo's."""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1].strip() if lines else ""
    ours = re.match(r"sudo(-rs)?: |Sorry, user |\S+ is not (in the sudoers|allowed)", last)
    return None if done.stdout or ours is None else last[:200]


def _escaped(word: str) -> str:
    """sudoers(5): what would end a word, join a list or match more than itself gets a backslash."""
    # The reader takes one backslash of two away, and what compares then takes the other.
    return re.sub(r"([,:=#\s*?\[\]^])", r"\\\1", word.replace("\\", r"\\\\"))


def _new_mark() -> str:
    return f"halfbyte-{secrets.token_hex(8)}:"
