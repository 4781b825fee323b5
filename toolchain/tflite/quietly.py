"""Keeps a C library's greetings out of the user's terminal and pipes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """While the block runs, file descriptor 2 leads nowhere.

    For the runtime's "Created TensorFlow Lite XNNPACK delegate": it writes to the descriptor
    itself and has no switch.  What fails in the block is raised by Python, so nothing is lost.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
