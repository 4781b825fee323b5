"""int8 filters -> entropy-coded bytes; the form is told in `targets.agent.unpack_entropy`.

Units of a filter, its channels or its kernels, are put into classes of like codes by alternating
two steps, as k-means does, with code lengths for distances (Chou, Lookabaugh and Gray,
"Entropy-constrained vector quantization", 1989): each class gets the code lengths that suit its
units, each unit the class whose code makes it shortest, its own class's number included.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.unpack_entropy import BYTES, CHANNELS, ESCAPE, KERNELS, NIBBLES, ZEROS
from toolchain.tflite.packing import pack_int4

CLASSES_OF_CHANNELS: Final = (1, 2, 4, 8, 16, 24)
CLASSES_OF_KERNELS: Final = (8, 16)
"""Numbers of classes that are tried."""
ROUNDS: Final = 6
WORTHWHILE: Final = 0.96
"""Kernels take longer to put back in place than channels, by a third: only for so much less."""
FEW_ESCAPES: Final = 0.05
"""Share of codes beyond a nibble up to which pairs are read in less time than single codes."""
LEAST_KERNELS: Final = 1024
SAMPLE: Final = 1 << 14
"""Kernels that classes are fitted to; the others join the nearest."""
_TABLE_BITS: Final = 600
"""About what the table of a Huffman code takes."""

Int8Array = NDArray[np.int8]
FloatArray = NDArray[np.float64]
Classes = NDArray[np.intp]


def encode(codes: Int8Array) -> bytes:
    """The smallest form found.  codes: int8 [O, H, W, I].

    Inverse: `targets.agent.unpack_entropy.decode`.
    """
    channels = np.ascontiguousarray(codes).reshape(len(codes), -1)
    best = bytes([CHANNELS]) + _deflated(_sorted(channels, classify(channels)))
    size = codes.shape[1] * codes.shape[2]
    if not 1 < size < 256 or codes.size < LEAST_KERNELS * size:
        return best
    by_input = codes.reshape(len(codes), size, -1).transpose(0, 2, 1)
    kernels = np.ascontiguousarray(by_input).reshape(-1, size)
    for number in CLASSES_OF_KERNELS:
        parts = _sorted(kernels, classify_kernels(kernels, number))
        other = bytes([KERNELS, size]) + _deflated(parts)
        if len(other) < len(best) * (WORTHWHILE if best[0] == CHANNELS else 1):
            best = other
    return best


def classify(channels: Int8Array) -> Classes:
    """Class of each channel, 0 to some number, by rising spread: int [O].

    channels: int8 [O, N].
    """
    places = np.arange(len(channels))[:, np.newaxis] * 256 + (channels.view(np.uint8) ^ 0x80)
    tallied = np.bincount(places.ravel(), minlength=256 * len(channels))
    counts = tallied.reshape(-1, 256).astype(np.float64)
    numbers = [n for n in CLASSES_OF_CHANNELS if n == 1 or n < len(channels)]
    tried = [_classes_of_channels(counts, number) for number in numbers]
    return min(tried, key=lambda classes: _bits(counts, classes))


def classify_kernels(kernels: Int8Array, number: int) -> Classes:
    """At most so many classes, as `classify`.  kernels: int8 [U, H * W].

    Fitted to an even sample, for there may be half a million of them.
    """
    sample = kernels[:: max(1, len(kernels) // SAMPLE)]
    energy = (sample.astype(np.float32) ** 2).sum(axis=1)
    classes = np.argsort(np.argsort(energy, kind="stable")) * number // len(sample)
    for _ in range(ROUNDS):
        sums = np.stack([_count(sample[classes == k]) for k in range(classes.max() + 1)])
        lengths, own = _lengths(sums), _lengths(np.bincount(classes)[np.newaxis])[0]
        moved = _nearest(sample, lengths, own)
        if (moved == classes).mean() > 0.999:
            break
        classes = np.unique(moved, return_inverse=True)[1].reshape(-1)
    found = np.unique(_nearest(kernels, lengths, own), return_inverse=True)[1].reshape(-1)
    sums = np.stack([_count(kernels[found == k]) for k in range(found.max() + 1)])
    return _by_spread(sums, found)


def _nearest(units: Int8Array, lengths: FloatArray, own: FloatArray) -> Classes:
    """The class in which each unit takes the fewest bits."""
    places = units.view(np.uint8) ^ 0x80
    bits = [table.astype(np.float32)[places].sum(axis=1) for table in lengths]
    return np.asarray(np.argmin(np.stack(bits) + own[:, np.newaxis], axis=0))


def _count(units: Int8Array) -> Classes:
    """How often each code from -128 on occurs: int [256]."""
    return np.bincount((units.view(np.uint8) ^ 0x80).ravel(), minlength=256)


def _classes_of_channels(counts: FloatArray, number: int) -> Classes:
    """counts: float [O, 256], of each code in each channel."""
    order = np.argsort(counts @ _SQUARES, kind="stable")
    classes = np.argsort(order) * number // len(counts)
    for _ in range(ROUNDS if number > 1 else 0):
        moved = np.argmin(counts @ _lengths(_sums(counts, classes)).T, axis=1)
        if (moved == classes).all():
            break
        classes = np.unique(moved, return_inverse=True)[1].reshape(-1)
    return _by_spread(_sums(counts, classes), classes)


_SQUARES: Final = (np.arange(256) - 128.0) ** 2


def _by_spread(sums: NDArray[np.generic], classes: Classes) -> Classes:
    """Classes numbered by rising mean square of their codes: neighbours then share tables."""
    values = sums.astype(np.float64)
    order = np.argsort(values @ _SQUARES / values.sum(axis=1), kind="stable")
    return np.asarray(np.argsort(order)[classes])


def _sums(counts: FloatArray, classes: Classes) -> FloatArray:
    """How often each code occurs in each class: float64 [classes, 256]."""
    members: FloatArray = np.equal.outer(np.arange(classes.max() + 1), classes).astype(np.float64)
    return members @ counts


def _lengths(sums: NDArray[np.generic]) -> FloatArray:
    """-log2 of shares, row by row; what was not seen is dear, not impossible."""
    likely = sums.astype(np.float64) + 1 / 64
    return np.asarray(-np.log2(likely / likely.sum(axis=1, keepdims=True)))


def _bits(counts: FloatArray, classes: Classes) -> float:
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


def _sorted(units: Int8Array, classes: Classes) -> list[bytes]:
    """What is deflated: the head, then each class."""
    order = np.argsort(classes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(classes))[:-1])
    packed = [_packed(units[chosen].ravel()) for chosen in members]
    escapes = b"".join(escaped for _, escaped, _ in packed)
    head = classes.astype(np.uint8).tobytes() + bytes(kind for kind, _, _ in packed)
    return [head, struct.pack("<I", len(escapes)) + escapes, *(part for _, _, part in packed)]


def _packed(codes: Int8Array) -> tuple[int, bytes, bytes]:
    """Kind, escapes and bytes of one class, whichever kind is smaller."""
    if not codes.any():
        return ZEROS, b"", b""
    plain = codes.tobytes()
    small = (codes > ESCAPE) & (codes < -ESCAPE)
    if small.mean() < 1 - FEW_ESCAPES:
        return BYTES, b"", plain
    pairs = pack_int4(np.where(small, codes, ESCAPE).astype(np.int8))
    escapes = codes[~small].tobytes()
    if len(_deflated([pairs])) + len(_deflated([escapes])) < len(_deflated([plain])):
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
    done = [deflater.compress(part) + deflater.flush(zlib.Z_BLOCK) for part in parts if part]
    return b"".join(done) + deflater.flush()
