"""Entropy-coded int8 filters -> their codes (docs/packed-format.md).

A filter is cut into units, its channels or its kernels, and units with like codes lie together,
because Huffman tables are made for what lies together.  The first byte is CHANNELS or KERNELS; the
second, for kernels alone, is H * W, the codes of one.  The rest is raw DEFLATE (RFC 1951) of

    classes     uint8 [units]: of each unit; units lie sorted by class, else in order
    kinds       uint8 [number of classes]: BYTES, NIBBLES or ZEROS
    escapes     uint32 number of them, then int8 each
    codes       class by class: int8 each; or pairs of them in a byte, as TFLite packs INT4; or none

A packed -8 stands for the next escape.  Where most codes are small a Huffman code for pairs comes
nearer to their entropy, and is read in half the time.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .flat import Malformed
from .unpack_int4 import unpack_int4

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Int8Array = NDArray[np.int8]

CHANNELS, KERNELS = 1, 2
BYTES, NIBBLES, ZEROS = 0, 1, 2
ESCAPE = -8

_INPUT_BYTES = 1 << 16
_OUTPUT_BYTES = 1 << 17


def check(stored: Any, rows: int, row: int) -> None:
    """Whether these bytes may hold so many codes; those of zeros take none.  Raises Malformed."""
    if len(stored) < 3:
        raise Malformed(f"{len(stored)} bytes for {rows * row} entropy-coded values")
    if stored[0] not in (CHANNELS, KERNELS):
        raise Malformed(f"entropy coder {stored[0]} is not known to this version")
    if stored[0] == KERNELS and (not stored[1] or row % stored[1]):
        raise Malformed(f"kernels of {stored[1]} values in channels of {row}")


def decode(stored: Any, out: Int8Array) -> None:
    """Fill `out`, int8 [rows, row], from bytes that passed `check`.  Raises Malformed.

    Inverse: `toolchain.tflite.packed_entropy.encode`.
    """
    if stored[0] == CHANNELS:
        _fill(_Inflated(stored[1:]), out)
        return
    rows, size = len(out), stored[1]
    kernels = np.empty((out.size // size, size), np.int8)
    _fill(_Inflated(stored[2:]), kernels)
    # [O, I, H * W], in which kernels are whole, to TFLite's [O, H * W, I]
    out.reshape(rows, size, -1)[...] = kernels.reshape(rows, -1, size).transpose(0, 2, 1)


def _fill(stream: _Inflated, units: Int8Array) -> None:
    """All units, int8 [number, codes of one], contiguous."""
    count, size = units.shape
    classes = np.frombuffer(stream.take(count), np.uint8)
    kinds = stream.take(int(classes.max()) + 1)
    if any(kind not in (BYTES, NIBBLES, ZEROS) for kind in kinds):
        raise Malformed("entropy-coded values of an unknown kind")
    escaped = int(np.frombuffer(stream.take(4), "<u4")[0])
    if escaped > units.size:
        raise Malformed(f"{escaped} escapes among {units.size} values")
    escapes = np.frombuffer(stream.take(escaped), np.int8)
    step = 2 * max(1, _OUTPUT_BYTES // (2 * size))  # an even number of units is whole bytes
    whole = units.reshape(-1).view(f"V{size}")  # units as single items are moved faster
    for number, kind in enumerate(kinds):
        members = np.flatnonzero(classes == number)
        for start in range(0, len(members), step):
            chosen = members[start : start + step]
            codes = _codes(stream, kind, len(chosen) * size)
            if kind == NIBBLES:
                places = np.flatnonzero(codes == ESCAPE)
                if len(places) > len(escapes):
                    raise Malformed("entropy-coded values with too few escapes")
                codes[places], escapes = escapes[: len(places)], escapes[len(places) :]
            whole[chosen] = codes.view(whole.dtype)
    if len(escapes) or not stream.is_at_end():
        raise Malformed("entropy-coded values with something behind them")


def _codes(stream: _Inflated, kind: int, count: int) -> Int8Array:
    if kind == ZEROS:
        return np.zeros(count, np.int8)
    if kind == BYTES:
        return np.frombuffer(stream.take(count), np.int8)
    return unpack_int4(stream.take((count + 1) // 2), count)


class _Inflated:
    """The bytes of a raw DEFLATE stream, some at a time, in little memory."""

    def __init__(self, stored: Any) -> None:
        self._stored, self._at = stored, 0
        self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def take(self, count: int) -> bytes:
        """The next bytes, exactly so many.  Raises Malformed."""
        pieces = []
        while count:
            piece = self._next(count)
            if not piece and (self._inflater.eof or self._is_used_up()):
                raise Malformed("entropy-coded values end early")
            pieces.append(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def is_at_end(self) -> bool:
        """Whether the stream ended properly, and where the stored bytes do."""
        while not self._is_used_up() and not self._inflater.eof:
            if self._next(1):
                return False
        return self._inflater.eof and not self._inflater.unused_data and self._is_used_up()

    def _next(self, limit: int) -> bytes:
        given: Any = self._inflater.unconsumed_tail
        if not given:
            given = self._stored[self._at : self._at + _INPUT_BYTES]
            self._at += len(given)
        try:
            return self._inflater.decompress(given, limit)
        except zlib.error as error:
            raise Malformed(f"entropy-coded values: {error}") from None

    def _is_used_up(self) -> bool:
        return self._at >= len(self._stored) and not self._inflater.unconsumed_tail
