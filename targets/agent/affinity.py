"""Which CPUs the agent runs on: those that the plan names, bound before the runtime is loaded.

Threads inherit it, so that all of the runtime's keep to these CPUs.
"""

from __future__ import annotations

import os
from typing import Tuple

from .faults import CpusRefused


def allowed() -> Tuple[int, ...]:
    """Numbers of the CPUs that this process may run on; empty where the system does not say."""
    try:
        return tuple(sorted(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return ()


def bind(cpus: Tuple[int, ...]) -> Tuple[int, ...]:
    """Keep to `cpus` from now on; what is in force, read back.  None named: nothing is done.

    Raises CpusRefused, also where the kernel would let a part of them be left out.
    """
    if not cpus:
        return ()
    before = allowed()
    words = ", ".join(map(str, cpus))
    try:
        os.sched_setaffinity(0, cpus)
    except (AttributeError, OSError, ValueError, OverflowError) as error:
        raise CpusRefused(f"CPUs {words}: {error}; {_told(before)}") from error
    in_force = allowed()
    if in_force != tuple(sorted(cpus)):
        raise CpusRefused(f"not all of the CPUs {words} are to be had; {_told(before)}")
    return in_force


def _told(cpus: Tuple[int, ...]) -> str:
    return f"this process may use {', '.join(map(str, cpus)) or 'nobody knows which'}"
