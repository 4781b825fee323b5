"""int8 filters -> entropy-coded bytes; the form is told in `targets.agent.unpack_entropy`.

Channels are put into classes of like codes by alternating two steps, as k-means does, with code
lengths for distances (Chou, Lookabaugh and Gray, "Entropy-constrained vector quantization", 1989):
each class gets the code lengths that suit its channels, each channel the class whose code makes
it shortest.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.unpack_entropy import BYTES, ESCAPE, NIBBLES, VERSION
from toolchain.tflite.packing import pack_int4

CLASSES: Final = (1, 2, 4, 8, 16, 24)
"""Numbers of classes that are tried."""
ROUNDS: Final = 12
_TABLE_BITS: Final = 600
"""About what the table of a Huffman code takes."""

Int8Array = NDArray[np.int8]
FloatArray = NDArray[np.float64]


def encode(codes: Int8Array) -> bytes:
    """The smallest form found.  codes: int8 [O, ...].

    Inverse: `targets.agent.unpack_entropy.decode`.
    """
    flat = np.ascontiguousarray(codes).reshape(len(codes), -1)
    classes = classify(flat)
    order = np.argsort(classes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(classes))[:-1])
    kinds, escapes, parts = [], [], []
    for chosen in members:
        kind, escaped, part = _packed(flat[chosen].ravel())
        kinds.append(kind)
        escapes.append(escaped)
        parts.append(part)
    escaping = b"".join(escapes)
    head = classes.astype(np.uint8).tobytes() + bytes(kinds)
    head += struct.pack("<I", len(escaping)) + escaping
    return bytes([VERSION]) + _deflated([head, *parts])


def classify(flat: Int8Array) -> NDArray[np.intp]:
    """Class of each channel, 0 to some number: int [O].  flat: int8 [O, N]."""
    places = np.arange(len(flat))[:, np.newaxis] * 256 + (flat.view(np.uint8) ^ 0x80)
    counts = np.bincount(places.ravel(), minlength=256 * len(flat)).reshape(-1, 256)
    tried = [_classes(counts, number) for number in CLASSES if number == 1 or number < len(flat)]
    return min(tried, key=lambda classes: _bits(counts, classes))


def _classes(counts: NDArray[np.intp], number: int) -> NDArray[np.intp]:
    """At most so many classes, by falling spread of their codes."""
    spread = counts @ (np.arange(256) - 128.0) ** 2
    classes = np.argsort(np.argsort(spread, kind="stable"), kind="stable") * number // len(counts)
    for _ in range(ROUNDS if number > 1 else 0):
        lengths = -np.log2(_shares(_sums(counts, classes)))
        moved = np.argmin(counts @ lengths.T, axis=1)
        if (moved == classes).all():
            break
        classes = np.unique(moved, return_inverse=True)[1].reshape(-1)
    sums = _sums(counts, classes)
    by_spread = np.argsort(sums @ (np.arange(256) - 128.0) ** 2 / sums.sum(axis=1), kind="stable")
    return np.asarray(np.argsort(by_spread)[classes])


def _sums(counts: NDArray[np.intp], classes: NDArray[np.intp]) -> FloatArray:
    """How often each code occurs in each class: float64 [classes, 256]."""
    sums = np.zeros((classes.max() + 1, 256))
    np.add.at(sums, classes, counts)
    return sums


def _shares(sums: FloatArray) -> FloatArray:
    unseen = 1 / 64  # a code that a class lacks is dear, not impossible
    return np.asarray((sums + unseen) / (sums + unseen).sum(axis=1, keepdims=True))


def _bits(counts: NDArray[np.intp], classes: NDArray[np.intp]) -> float:
    """About what the codes take: entropy, tables, and the classes themselves."""
    sums = _sums(counts, classes)
    own = np.bincount(classes)
    return _entropy_bits(sums) + _TABLE_BITS * len(sums) + _entropy_bits(own[np.newaxis])


def _entropy_bits(counts: NDArray[np.generic]) -> float:
    """Sum over rows of n log2 n - sum n_v log2 n_v."""
    values = counts.astype(np.float64)
    totals = values.sum(axis=1)
    logs = np.log2(values, out=np.zeros_like(values), where=values > 0)
    return float((totals * np.log2(totals)).sum() - (values * logs).sum())


def _packed(codes: Int8Array) -> tuple[int, bytes, bytes]:
    """Kind, escapes and bytes of one class, whichever kind is smaller."""
    plain = codes.tobytes()
    small = (codes > ESCAPE) & (codes < -ESCAPE)
    if small.mean() < 0.9:
        return BYTES, b"", plain
    pairs = pack_int4(np.where(small, codes, ESCAPE).astype(np.int8))
    escapes = codes[~small].tobytes()
    if len(_deflated([pairs])) + len(escapes) < len(_deflated([plain])):
        return NIBBLES, escapes, pairs
    return BYTES, b"", plain


def _deflated(parts: list[bytes]) -> bytes:
    """Raw DEFLATE with Huffman codes alone, each part in blocks of its own.

    Matches of longer runs do not occur in weights; looking for them would only dilute the literals.
    """
    deflater = zlib.compressobj(
        level=9,
        wbits=-zlib.MAX_WBITS,
        memLevel=zlib.DEF_MEM_LEVEL + 1,  # 32,768 codes share a table
        strategy=zlib.Z_HUFFMAN_ONLY,
    )
    done = [deflater.compress(part) + deflater.flush(zlib.Z_BLOCK) for part in parts]
    return b"".join(done) + deflater.flush()
