"""Memory given back to the system that nobody reads again.

A runtime maps the file, and XNNPACK packs a copy of every filter; the mapped pages then count as
ours and are not read again.  Dropping them costs nothing but a page fault where one is: they stay
in the page cache for as long as the kernel likes, and the file has what they held.
"""

from __future__ import annotations

import logging
import os
from typing import Iterable, Iterator, Tuple

_log = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # malloc.h
_MADV_DONTNEED = 4  # asm-generic/mman-common.h; the same on all of Linux but Alpha


def share_heap() -> None:
    """All threads allocate from one heap from now on, where the C library is glibc.

    Each thread's own would keep some megabytes when the thread is gone.
    """
    _glibc("mallopt", _M_ARENA_MAX, 1)


def trim() -> None:
    """Give back what was freed but kept for later allocations, where the C library is glibc."""
    _glibc("malloc_trim", 0)


def drop(*paths: str) -> int:
    """Drop the pages of files that this process has mapped for reading; bytes of address space.

    Only maps that cannot be written to are touched: what they hold is in the file.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    dropped = 0
    for start, end in _maps(paths):
        size = ctypes.c_size_t(end - start)
        if libc.madvise(ctypes.c_void_p(start), size, _MADV_DONTNEED) == 0:
            dropped += end - start
        else:
            _log.info("pages cannot be dropped: %s", os.strerror(ctypes.get_errno()))
    return dropped


def _glibc(name: str, *numbers: int) -> None:
    import ctypes  # slow to import, and few runs need it

    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        # As wide as a register: right for parameters of type int and of type size_t.
        function(*(ctypes.c_ssize_t(number) for number in numbers))


def _maps(paths: Iterable[str]) -> Iterator[Tuple[int, int]]:
    """(start, end) of each read-only map of these files: address, permissions, ..., path."""
    wanted = {os.fsencode(os.path.realpath(path)) for path in paths if path}
    try:
        with open("/proc/self/maps", "rb") as stream:
            lines = stream.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split(None, 5)
        if len(words) == 6 and words[5] in wanted and words[1].startswith(b"r--"):
            start, end = words[0].split(b"-")
            yield int(start, 16), int(end, 16)
