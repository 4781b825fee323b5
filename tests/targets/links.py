"""A TCP link that a test can slow down, freeze or cut, in front of any server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator


class Link:
    """Forwards 127.0.0.1:`port` to a server's port."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._silent: list[socket.socket] = []
        self._cut_after_up: int | None = None
        self._abandon_after_up: int | None = None
        self._bytes_per_s: float | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self.up_bytes = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, up_bytes: int | None) -> None:
        """Reset the connection once so many bytes went up in all; the next one is let through."""
        self._cut_after_up = up_bytes

    def abandon_after(self, up_bytes: int) -> None:
        """`abandon` once so many bytes went up in all."""
        self._abandon_after_up = up_bytes

    def slow_down(self, bytes_per_s: float) -> None:
        """Let no more through, upwards."""
        self._bytes_per_s = bytes_per_s

    def freeze(self) -> None:
        """Forward nothing more, and say nothing: a cable that was pulled."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset every connection."""
        reset = struct.pack("ii", 1, 0)
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        self._sockets.clear()

    def abandon(self) -> None:
        """Reset the host's end of every connection; the board hears nothing, not even an end."""
        self._silent += self._sockets[1::2]
        self._sockets = self._sockets[0::2]
        self.cut()

    def close(self) -> None:
        self._sockets += self._silent
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # a waiting accept would take one more
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [client, server]
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16 * 1024):
                self._flowing.wait()
                if up and self._bytes_per_s:
                    time.sleep(len(data) / self._bytes_per_s)
                sink.sendall(data)
                if up:
                    self.up_bytes += len(data)
                    if self._cut_after_up is not None and self.up_bytes > self._cut_after_up:
                        self._cut_after_up = None
                        self.cut()
                    if self._abandon_after_up and self.up_bytes > self._abandon_after_up:
                        self._abandon_after_up = None
                        self.abandon()
                        return
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def link_to(port: int) -> Iterator[Link]:
    link = Link(port)
    try:
        yield link
    finally:
        link.close()
