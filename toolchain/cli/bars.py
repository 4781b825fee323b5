"""Progress on a terminal: one line for each stage under way, those that ended above them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Task as Shown
from rich.text import Text

from targets.progress import Task
from toolchain.cli.console import printable


class Bars:
    """Stages may nest; all that are open share one display.  Safe for several threads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._display: Progress | None = None

    @contextlib.contextmanager
    def task(self, label: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
        """A line with the time it has taken; it stays when it is done."""
        with self._lock:
            display = self._display = self._display or self._opened()
            task_id = display.add_task(
                printable(label), total=total, detail="", unit=unit, counted=total is not None
            )
        if self._console.is_dumb_terminal:  # nothing moves there
            self._console.print(f"{printable(label)} ...", markup=False)
        try:
            yield _BarTask(display, task_id)
            if total is None:
                display.update(task_id, total=1, completed=1)
        finally:
            self._close(display, task_id)

    def _opened(self) -> Progress:
        display = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Amount(),
            TimeElapsedColumn(),
            _Left(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self._console,
            transient=True,
        )
        display.start()
        return display

    def _close(self, display: Progress, task_id: TaskID) -> None:
        with self._lock:
            display.stop_task(task_id)
            ended = display.make_tasks_table([t for t in display.tasks if t.id == task_id])
            display.remove_task(task_id)
            if not display.tasks:
                display.stop()
                self._display = None
            self._console.print(ended)


class _BarTask:
    def __init__(self, display: Progress, task_id: TaskID) -> None:
        self._display, self._id = display, task_id

    def advance(self, amount: float = 1) -> None:
        self._display.advance(self._id, amount)

    def note(self, text: str) -> None:
        self._display.update(self._id, detail=printable(text))


class _Amount(ProgressColumn):
    """How much is done, of how much, how fast; nothing where nobody counts."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes: tuple[Any, ...] = (DownloadColumn(), TransferSpeedColumn())

    def render(self, task: Shown) -> Text:
        """For stages in bytes as downloads are shown."""
        unit = task.fields["unit"]
        if not task.fields["counted"]:
            known = task.completed and not task.finished and unit != "B"
            return Text(f"{task.completed:.0f} {unit}" if known else "")
        if unit == "B":
            return Text(" ").join(column.render(task) for column in self._bytes)
        speed = task.finished_speed or task.speed
        words = [f"{task.completed:.0f}/{task.total:.0f}", unit, f"{speed:.1f}/s" if speed else ""]
        return Text(" ".join(filter(None, words)))


class _Left(ProgressColumn):
    """Time that is left, where the total says."""

    max_refresh = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._time = TimeRemainingColumn()

    def render(self, task: Shown) -> Text:
        """Nothing for a stage without a total, or one that is done."""
        if task.total is None or task.finished:
            return Text("")
        return Text("left ") + self._time.render(task)
