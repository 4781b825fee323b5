"""What a bad link does to frames: when each arrives, or that it does not.  No sockets here."""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.lab.packets import Segment, reset_to_receiver, reset_to_sender, segment

UP, DOWN = 0, 1  # from this machine to the board, and back


@dataclass(frozen=True)
class Quality:
    """Of both directions alike.  rate_kbit 0: unlimited.

    queue_ms: what waits longer than that for its turn at the rate is dropped, as routers do.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_kbit: float = 0.0
    queue_ms: float = 500.0

    def __post_init__(self) -> None:
        amounts = dataclasses.asdict(self)
        if any(amount < 0 for amount in amounts.values()) or self.loss > 1:
            raise ValueError(f"no link is like that: {amounts}")


@dataclass
class Counted:
    """Bytes and frames of one direction since the link came up."""

    bytes: int = 0
    frames: int = 0
    lost: int = 0


class Wire:
    """A link between two ends.  Times are seconds of one clock, given by the caller."""

    def __init__(self, seed: int = 1) -> None:
        self.quality = Quality()
        self.counted = (Counted(), Counted())
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._turn = 0
        self._free_at = [0.0, 0.0]
        self._last_due = [0.0, 0.0]
        self._cut_until = 0.0
        self._cut_after: int | None = None
        self._reset_after: int | None = None
        self._flows: dict[frozenset[tuple[bytes, int]], dict[int, Segment]] = {}
        self._doomed: set[frozenset[tuple[bytes, int]]] = set()

    def cut(self, now: float, *, seconds: float = float("inf")) -> None:
        """Nothing gets through any more, and nobody is told; what is under way is lost too."""
        self._cut_until = now + seconds
        self._under_way.clear()

    def cut_after(self, up_bytes: int) -> None:
        """`cut` once so many more bytes went up."""
        self._cut_after = self.counted[UP].bytes + up_bytes

    def reset_after(self, up_bytes: int) -> None:
        """`reset` once so many more bytes went up."""
        self._reset_after = self.counted[UP].bytes + up_bytes

    def heal(self) -> None:
        """Frames get through again; nothing is pending."""
        self._cut_until = 0.0
        self._cut_after = self._reset_after = None

    def is_cut(self, now: float) -> bool:
        """Nothing gets through."""
        return now < self._cut_until

    def reset(self, now: float) -> None:
        """Both ends of every connection get a TCP reset; new connections are let through."""
        for flow, seen in self._flows.items():
            self._doomed.add(flow)
            for direction, last in seen.items():
                self._put(now, direction, reset_to_receiver(last))
                if 1 - direction not in seen:
                    self._put(now, 1 - direction, reset_to_sender(last))
        self._flows.clear()

    def offer(self, now: float, direction: int, frame: bytes) -> None:
        """A frame enters the link."""
        counted = self.counted[direction]
        counted.bytes += len(frame)
        counted.frames += 1
        if direction == UP:
            self._triggers(now)
        quality = self.quality
        if self.is_cut(now) or self._random.random() < quality.loss:
            counted.lost += 1
            return
        if self._is_reset(now, direction, frame):
            return
        due = now
        if quality.rate_kbit:
            due = max(now, self._free_at[direction])
            if (due - now) * 1000 > quality.queue_ms:
                counted.lost += 1
                return
            due += len(frame) * 8 / (quality.rate_kbit * 1000)
            self._free_at[direction] = due
        wander = self._random.uniform(-1, 1) * quality.jitter_ms
        due += max(0.0, quality.delay_ms + wander) / 1000
        self._put(due, direction, frame)

    def due(self, now: float) -> Iterator[tuple[int, bytes]]:
        """Direction and frame of what arrives by now."""
        while self._under_way and self._under_way[0][0] <= now:
            _, _, direction, frame = heapq.heappop(self._under_way)
            yield direction, frame

    def next_due(self) -> float | None:
        """When something arrives next."""
        return self._under_way[0][0] if self._under_way else None

    def _triggers(self, now: float) -> None:
        up = self.counted[UP].bytes
        if self._cut_after is not None and up >= self._cut_after:
            self._cut_after = None
            self.cut(now)
        if self._reset_after is not None and up >= self._reset_after:
            self._reset_after = None
            self.reset(now)

    def _is_reset(self, now: float, direction: int, frame: bytes) -> bool:
        """Keep track of connections; a segment of a doomed one is answered with a reset."""
        seen = segment(frame)
        if seen is None:
            return False
        if seen.opens:
            self._doomed.discard(seen.flow)
        if seen.flow in self._doomed:
            if not seen.resets:
                self._put(now, 1 - direction, reset_to_sender(seen))
            return True
        if seen.resets:
            self._flows.pop(seen.flow, None)
        else:
            self._flows.setdefault(seen.flow, {})[direction] = seen
        return False

    def _put(self, due: float, direction: int, frame: bytes) -> None:
        due = max(due, self._last_due[direction])  # frames do not overtake each other
        self._last_due[direction] = due
        self._turn += 1
        heapq.heappush(self._under_way, (due, self._turn, direction, frame))
