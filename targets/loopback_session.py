"""One command on the loopback target, run as sshd runs it.

The user's shell gets the command with `-c`, in the home folder, in a process group of its own and
an environment of its own.  Exit status or signal is passed on; a client that goes away hangs up
on the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from signal import Signals
from typing import Any, ClassVar

import asyncssh

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PIPE_BYTES = 1024 * 1024
HANGUP_GRACE_S = 3.0
CANNOT_START = 126  # POSIX shells: found, and could not be run


class CommandSession(asyncssh.SSHServerSession):  # type: ignore[misc]
    """Bytes between an SSH channel and the three pipes of a child process."""

    running: ClassVar[set[int]] = set()  # process groups

    def __init__(self, shell: str, home: str, user: str, client: tuple[Any, ...]) -> None:
        self._shell = shell
        self._home = home
        self._environment = {
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": shell,
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "SSH_CLIENT": f"{client[0]} {client[1]} 22",
            "SSH_CONNECTION": f"{client[0]} {client[1]} 127.0.0.1 22",
        }
        self._command = ""
        self._group: int | None = None
        self._channel: Any = None
        self._input: _Input | None = None
        self._outputs: list[_Output] = []
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        self._channel = chan

    def exec_requested(self, command: str) -> bool:
        """Commands are all that there is: no login shell, no subsystem."""
        self._command = command
        return True

    def session_started(self) -> None:
        """The client may send."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Input for the command."""
        del datatype
        if self._input is None:
            self._input = _Input(self._channel)
        self._input.feed(data)

    def eof_received(self) -> bool:
        """The end of the input; the command goes on."""
        if self._input is None:
            self._input = _Input(self._channel)
        self._input.finish()
        return True

    def signal_received(self, signal: str) -> None:
        """A signal for the command's group."""
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.killpg(self._group, Signals[f"SIG{signal}"])

    def pause_writing(self) -> None:
        """The client does not keep up."""
        for output in self._outputs:
            output.pause()

    def resume_writing(self) -> None:
        """The client does keep up again."""
        for output in self._outputs:
            output.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, with or without a word."""
        del exc
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        if self._input is None:
            self._input = _Input(self._channel)
        ends = [_pipe() for _ in range(3)]
        try:
            child = await asyncio.create_subprocess_exec(
                self._shell,
                "-c",
                os.fsencode(self._command),
                stdin=ends[0][0],
                stdout=ends[1][1],
                stderr=ends[2][1],
                cwd=self._home,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:  # no home folder, no such shell: sshd would hang up too
            for end in (end for pair in ends for end in pair):
                os.close(end)
            self._channel.write_stderr(f"cannot start {self._shell}: {error}\n".encode())
            self._channel.exit(CANNOT_START)
            return
        self._group = child.pid
        self.running.add(child.pid)
        for end in (ends[0][0], ends[1][1], ends[2][1]):
            os.close(end)
        self._input.connect(ends[0][1])
        self._outputs = [
            _Output(ends[1][0], self._channel.write),
            _Output(ends[2][0], self._channel.write_stderr),
        ]
        try:
            status = await child.wait()
            # As in sshd, the session lasts until whoever holds the output has let go of it.
            for output in self._outputs:
                await output.ended.wait()
            if status < 0:
                self._channel.exit_with_signal(Signals(-status).name.removeprefix("SIG"))
            else:
                self._channel.exit(status)
        finally:
            self._input.close()
            for output in self._outputs:
                output.close()
            await self._hang_up(child)
            self.running.discard(child.pid)
            self._group = None

    async def _hang_up(self, child: asyncio.subprocess.Process) -> None:
        for sent in ("SIGHUP", "SIGKILL"):
            if child.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, Signals[sent])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), HANGUP_GRACE_S)


class _Input:
    """What came from the client and the command has not taken yet."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._waiting = bytearray()
        self._finished = False
        self._pipe: int | None = None
        self._loop = asyncio.get_running_loop()

    def connect(self, pipe: int) -> None:
        """The command is there."""
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._loop.add_writer(pipe, self._write)

    def feed(self, data: bytes) -> None:
        """More bytes; the client is held back once a pipe's worth waits."""
        if self._pipe is not None and not self._waiting:
            self._loop.add_writer(self._pipe, self._write)
        self._waiting += data
        if len(self._waiting) > PIPE_BYTES:
            self._channel.pause_reading()

    def finish(self) -> None:
        """No more bytes will come."""
        self._finished = True
        if self._pipe is not None and not self._waiting:
            self.close()

    def close(self) -> None:
        """Let go of the pipe."""
        if self._pipe is not None:
            self._loop.remove_writer(self._pipe)
            os.close(self._pipe)
            self._pipe = None

    def _write(self) -> None:
        assert self._pipe is not None
        try:
            written = os.write(self._pipe, memoryview(self._waiting)[:PIPE_BYTES])
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command has closed its input: take the rest and drop it
            written = len(self._waiting)
        del self._waiting[:written]
        if not self._waiting:
            self._loop.remove_writer(self._pipe)
            self._channel.resume_reading()  # more may come, and the end, before this returns
        if self._finished and not self._waiting:
            self.close()


class _Output:
    """One of the command's outputs, read as fast as the client takes it."""

    def __init__(self, pipe: int, write: Any) -> None:
        os.set_blocking(pipe, False)
        self.ended = asyncio.Event()
        self._pipe = pipe
        self._write = write
        self._loop = asyncio.get_running_loop()
        self.resume()

    def pause(self) -> None:
        """Stop reading."""
        if not self.ended.is_set():
            self._loop.remove_reader(self._pipe)

    def resume(self) -> None:
        """Read on."""
        if not self.ended.is_set():
            self._loop.add_reader(self._pipe, self._read)

    def close(self) -> None:
        """Let go of the pipe."""
        if not self.ended.is_set():
            self._loop.remove_reader(self._pipe)
            self.ended.set()
            os.close(self._pipe)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, PIPE_BYTES)
        except BlockingIOError:
            return
        if data:
            self._write(data)
        else:
            self.close()


def _pipe() -> tuple[int, int]:
    """A pipe, large where the system allows."""
    reader, writer = os.pipe()
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reader, writer
