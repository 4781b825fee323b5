"""How long stages tell that they are alive; the command line decides what is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Task(Protocol):
    """One stage under way."""

    def advance(self, amount: float = 1) -> None:
        """`amount` more units are done."""

    def note(self, text: str) -> None:
        """A few words beside the bar."""


class Progress(Protocol):
    """Opens a bar for a stage; total None where it is not known."""

    def task(
        self, label: str, total: float | None = None, unit: str = ""
    ) -> AbstractContextManager[Task]:
        """Context manager around the stage.  unit "B" is shown as bytes with speed."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None:
        """Nothing to show."""

    def note(self, text: str) -> None:
        """Nothing to show."""


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def task(
        self,
        label: str,  # noqa: ARG002
        total: float | None = None,  # noqa: ARG002
        unit: str = "",  # noqa: ARG002
    ) -> Iterator[Task]:
        """A stage without a bar."""
        yield _SilentTask()


SILENT: Progress = Silent()
