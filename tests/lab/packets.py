"""TCP inside Ethernet frames: which connection a segment is of, and a reset that ends it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ETHERNET = 14
_RST, _SYN, _FIN, _ACK = 4, 2, 1, 16


@dataclass(frozen=True)
class Segment:
    """One TCP segment over IPv4.  Addresses and MACs are bytes as in the frame."""

    macs: tuple[bytes, bytes]  # of the receiver, of the sender
    source: tuple[bytes, int]
    target: tuple[bytes, int]
    number: int
    acknowledged: int
    flags: int
    payload_bytes: int

    @property
    def flow(self) -> frozenset[tuple[bytes, int]]:
        """The connection, whoever speaks."""
        return frozenset((self.source, self.target))

    @property
    def opens(self) -> bool:
        """A new connection."""
        return bool(self.flags & _SYN)

    @property
    def resets(self) -> bool:
        """It ends one already."""
        return bool(self.flags & _RST)

    @property
    def next_number(self) -> int:
        """What the receiver expects after it (RFC 9293: SYN and FIN count as one byte)."""
        counted = self.payload_bytes + bool(self.flags & _SYN) + bool(self.flags & _FIN)
        return (self.number + counted) % (1 << 32)


def segment(frame: bytes) -> Segment | None:
    """The TCP segment in `frame`; None for anything else."""
    if len(frame) < _ETHERNET + 40 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    header = _ETHERNET + (frame[14] & 0xF) * 4
    total = struct.unpack_from(">H", frame, 16)[0]
    if len(frame) < header + 20:
        return None
    source_port, target_port, number, acknowledged, offset, flags = struct.unpack_from(
        ">HHIIBB", frame, header
    )
    return Segment(
        macs=(frame[:6], frame[6:12]),
        source=(frame[26:30], source_port),
        target=(frame[30:34], target_port),
        number=number,
        acknowledged=acknowledged,
        flags=flags,
        payload_bytes=max(0, total - (header - _ETHERNET) - (offset >> 4) * 4),
    )


def reset_to_sender(seen: Segment) -> bytes:
    """What a host without that connection answers: the number is the one acknowledged."""
    return _frame(seen.macs[1], seen.macs[0], seen.target, seen.source, seen.acknowledged)


def reset_to_receiver(seen: Segment) -> bytes:
    """As if the sender had ended it right after this segment."""
    return _frame(seen.macs[0], seen.macs[1], seen.source, seen.target, seen.next_number)


def _frame(
    to: bytes, by: bytes, source: tuple[bytes, int], target: tuple[bytes, int], number: int
) -> bytes:
    tcp = struct.pack(">HHIIBBHHH", source[1], target[1], number, 0, 5 << 4, _RST, 0, 0, 0)
    pseudo = source[0] + target[0] + struct.pack(">BBH", 0, 6, len(tcp))
    tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source[0] + target[0]
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return to + by + b"\x08\x00" + ip + tcp


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that holds a right one."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
