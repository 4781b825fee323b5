"""SIGTERM, SIGINT and SIGHUP end a run after the inference at hand, with a record that says so."""

from __future__ import annotations

import signal
from typing import Any, Optional

from .faults import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopping:
    """name: of the signal that came ("SIGTERM"); None while nobody asked to stop."""

    def __init__(self) -> None:
        self.name: Optional[str] = None
        self._patient = False
        for number in SIGNALS:
            signal.signal(number, self._came)

    def be_patient(self) -> None:
        """From here on a signal is only noted; before, it ends whatever waits for the host."""
        self._patient = True

    def _came(self, number: int, frame: Any) -> None:
        del frame
        self.name = signal.Signals(number).name
        if not self._patient:
            raise Interrupted(self.name)
