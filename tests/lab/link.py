"""A board's link as a test steers it: slow, long, lossy, reset, cut.

link = Link("pi-4")
with link.quality(rate_kbit=256, delay_ms=40):
    ...
link.cut_after(up_bytes=100_000)
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.places import STATE

_ANSWER_S = 5.0


class LinkError(Exception):
    """The link does not answer, or cannot do that."""


class Link:
    """The link to the board called `name`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def socket_path(self) -> Path:
        """Where its process listens."""
        return STATE / f"{self.name}.link"

    def set_quality(self, **quality: float) -> None:
        """delay_ms (one way), jitter_ms, loss (0 to 1, each way), rate_kbit, queue_ms; else 0.

        Raises LinkError.
        """
        self._tell("quality", **quality)

    @contextlib.contextmanager
    def quality(self, **quality: float) -> Iterator[None]:
        """`set_quality` for a while; then a good link again."""
        self.set_quality(**quality)
        try:
            yield
        finally:
            self.restore()

    def cut(self, seconds: float | None = None) -> None:
        """Silently: a cable pulled, for so long or until `heal`."""
        self._tell("cut", **({} if seconds is None else {"seconds": seconds}))

    def cut_after(self, up_bytes: int) -> None:
        """`cut` once so many more bytes went to the board."""
        self._tell("cut_after", up_bytes=up_bytes)

    def reset(self) -> None:
        """Both ends of every TCP connection get a reset; new ones are let through."""
        self._tell("reset")

    def reset_after(self, up_bytes: int) -> None:
        """`reset` once so many more bytes went to the board."""
        self._tell("reset_after", up_bytes=up_bytes)

    def heal(self) -> None:
        """The cable is in again, and nothing pending."""
        self._tell("heal")

    def restore(self) -> None:
        """A good link."""
        self.set_quality()
        self.heal()

    def state(self) -> dict[str, Any]:
        """`quality`, `cut`, and bytes, frames and lost frames `up` and `down` so far."""
        return self._tell("state")

    @property
    def up_bytes(self) -> int:
        """That entered it towards the board, headers and all."""
        return int(self.state()["up"]["bytes"])

    @property
    def is_cut(self) -> bool:
        """Nothing gets through now."""
        return bool(self.state()["cut"])

    def _tell(self, do: str, **how: object) -> dict[str, Any]:
        with (
            tempfile.TemporaryDirectory() as folder,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        ):
            sock.bind(os.path.join(folder, "answer"))  # noqa: PTH118
            sock.settimeout(_ANSWER_S)
            try:
                sock.sendto(json.dumps({"do": do, **how}).encode(), str(self.socket_path))
                answer = json.loads(sock.recv(65536))
            except OSError as error:
                raise LinkError(f"the link of {self.name} does not answer: {error}") from None
        if "error" in answer:
            raise LinkError(answer["error"])
        state: dict[str, Any] = answer["ok"]
        return state
