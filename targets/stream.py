"""Lines from the agent become records; what cannot be one is an error, never a guess."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from targets.agent.wire import MAX_LINE_BYTES, Envelope, WireError, decode
from targets.errors import StreamBroken

log = logging.getLogger(__name__)
MAX_NOISE_BYTES = 256 * 1024
LINE_LIMIT_BYTES = MAX_LINE_BYTES + 1  # what a line and its newline may have


@dataclass
class Stream:
    """One agent's output as it is read.

    marker: the random word on the line before the first record; it may be glued to the end of
    what something else printed; None: the first line is a record.  noise: what came before it,
    mentioned once in the log.  records: the next record's number, not 0 where a stream goes on.
    cut: the last line had no end, so the agent or the link broke off while it was written.
    """

    marker: str | None
    noise: str = ""
    started: bool = False
    cut: bool = False
    records: int = 0

    def read(self, lines: Iterable[bytes]) -> Iterator[Envelope]:
        """The records in order; those of a type that this version does not know are left out.

        lines: each with its newline; one without is the last one of a stream that was cut, or
        too long.  Raises StreamBroken.
        """
        rest = iter(lines)
        if self.marker is not None:
            self._skip_noise(rest, self.marker)
        for line in rest:
            if not line.endswith(b"\n"):
                if len(line) >= LINE_LIMIT_BYTES:
                    raise self._broken(f"a record of more than {MAX_LINE_BYTES} bytes")
                self.cut = True
                return
            try:
                envelope = decode(line[:-1])
            except WireError as error:
                raise self._broken(str(error)) from error
            self.records += 1
            if envelope is None:
                continue
            if envelope.seq != self.records - 1:
                raise self._broken(f"record {envelope.seq} came where {self.records - 1} was due")
            yield envelope

    def _skip_noise(self, lines: Iterator[bytes], after: str) -> None:
        marker, noise = after.encode("ascii"), bytearray()
        for line in lines:
            if line.endswith(b"\n") and line.rstrip(b"\r\n").endswith(marker):
                self.started = True
                noise += line.rstrip(b"\r\n")[: -len(marker)]
                break
            noise += line
            if len(noise) > MAX_NOISE_BYTES:
                raise StreamBroken(
                    f"The board printed {len(noise)} bytes and the agent has not begun.",
                    hint="Look at the start-up files of the login shell there.",
                )
        self.noise = noise.decode("utf-8", "replace").strip()
        if self.noise:
            log.warning("the board printed %r before the first record", self.noise[:200])

    def _broken(self, why: str) -> StreamBroken:
        return StreamBroken(
            f"After {self.records} records the board's stream broke: {why}.",
            hint="What came before is kept. If it happens again, check the board's agent by "
            "`halfbyte target check`.",
        )
