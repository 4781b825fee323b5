"""The process that is a link: frames between a TAP device here and the board, as `Wire` decides.

    python -m tests.lab.relay DEVICE HOST_ADDRESS CONTROL namespace PID BOARD_ADDRESS
    python -m tests.lab.relay DEVICE HOST_ADDRESS CONTROL socket OURS QEMUS

The board's end is a TAP device `eth0` in the network namespace of process PID, or a pair of Unix
sockets to QEMU, a frame a datagram.  `tests.lab.link.Link` steers it through the socket CONTROL,
one JSON object a datagram.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.impairment import DOWN, UP, Quality, Wire

_TUNSETIFF, _TAP, _NO_PACKET_INFO = 0x400454CA, 0x0002, 0x1000
_MOST_FRAMES = 64  # at a time, so that control is not kept waiting
_FRAME_BYTES = 65536


@dataclasses.dataclass(frozen=True)
class End:
    """One end of the link."""

    descriptor: int
    send: Callable[[bytes], object]


def tap(name: str) -> End:
    """A TAP device in the network namespace of now; it goes when this process does."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH", name.encode(), _TAP | _NO_PACKET_INFO)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return End(descriptor, lambda frame: os.write(descriptor, frame))


def tap_in(pid: int, address: str) -> End:
    """The board's `eth0`, up and with its address."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with open(f"/proc/{pid}/ns/net") as its:  # noqa: PTH123
            _enter(its.fileno())
            end = tap("eth0")
            for words in (
                ["link", "set", "lo", "up"],
                ["addr", "add", f"{address}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
            ):
                subprocess.run(["ip", *words], check=True)
        _enter(own)
    finally:
        os.close(own)
    return end


def _enter(namespace: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def datagrams(ours: Path, theirs: Path) -> End:
    """QEMU's `-netdev dgram` at the other end; until it is there, frames are lost."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    ours.unlink(missing_ok=True)
    sock.bind(str(ours))
    return End(sock.detach(), _to(sock, theirs))


def _to(sock: socket.socket, theirs: Path) -> Callable[[bytes], object]:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    return lambda frame: sender.sendto(frame, str(theirs))


class Relay:
    """Two ends, a wire, and who steers it."""

    def __init__(self, host: End, board: End, control: socket.socket) -> None:
        self._ends = {UP: board, DOWN: host}  # where a direction leads
        self._control = control
        self._wire = Wire()
        self._selector = selectors.DefaultSelector()
        self._selector.register(host.descriptor, selectors.EVENT_READ, UP)
        self._selector.register(board.descriptor, selectors.EVENT_READ, DOWN)
        self._selector.register(control, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Until a signal ends it."""
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._obey()
                else:
                    self._take(key.fd, key.data)
            for direction, frame in self._wire.due(time.monotonic()):
                # A full queue or an absent end loses frames, as a real one does.
                with contextlib.suppress(OSError):
                    self._ends[direction].send(frame)

    def _patience(self) -> float | None:
        due = self._wire.next_due()
        return None if due is None else max(0.0, due - time.monotonic())

    def _take(self, descriptor: int, direction: int) -> None:
        for _ in range(_MOST_FRAMES):
            try:
                frame = os.read(descriptor, _FRAME_BYTES)
            except OSError:
                return
            self._wire.offer(time.monotonic(), direction, frame)

    def _obey(self) -> None:
        data, sender = self._control.recvfrom(65536)
        try:
            answer: dict[str, Any] = {"ok": self._do(**json.loads(data))}
        except (ValueError, TypeError, KeyError) as error:
            answer = {"error": str(error)}
        with contextlib.suppress(OSError):
            self._control.sendto(json.dumps(answer).encode(), sender)

    def _do(self, do: str, **how: Any) -> dict[str, Any]:
        wire, now = self._wire, time.monotonic()
        if do == "quality":
            wire.quality = Quality(**how)
        elif do == "cut":
            wire.cut(now, **how)
        elif do == "reset":
            wire.reset(now)
        elif do in ("cut_after", "reset_after", "heal"):
            getattr(wire, do)(**how)
        elif do != "state":
            raise ValueError(f"a link cannot {do!r}")
        return {
            "quality": dataclasses.asdict(wire.quality),
            "cut": wire.is_cut(now),
            "up": dataclasses.asdict(wire.counted[UP]),
            "down": dataclasses.asdict(wire.counted[DOWN]),
        }


def main(arguments: list[str]) -> None:
    """One link, until SIGTERM."""
    device, address, control_path, kind, *where = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    host = tap(device)
    subprocess.run(["ip", "addr", "add", f"{address}/24", "dev", device], check=True)
    subprocess.run(["ip", "link", "set", device, "up"], check=True)
    if kind == "namespace":
        board = tap_in(int(where[0]), where[1])
    else:
        board = datagrams(Path(where[0]), Path(where[1]))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind(control_path)
    Relay(host, board, control).run()


if __name__ == "__main__":
    main(sys.argv[1:])
