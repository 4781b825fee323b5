"""Models, agent and environment onto targets, without a run."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.deadline import Deadline
from targets.errors import HalfbyteError
from targets.items import Item
from targets.progress import SILENT, Progress
from targets.target import Target

if TYPE_CHECKING:
    from toolchain.measuring import Trust

DEPLOY_S: Final = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Deployed:
    """What was put on a target.  paths: of the models, there."""

    target: str
    environment: str
    paths: tuple[str, ...]
    bytes_sent: int
    files_sent: int
    files_present: int


def deploy(
    models: Sequence[Path],
    targets: Sequence[Target],
    *,
    wheelhouse: Path | None = None,
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> tuple[list[Deployed], list[HalfbyteError]]:
    """The environment, the agent and models onto targets, side by side; what is there stays.

    What was put where, in the order of `targets`, and what went wrong with the others.
    Raises MalformedModel; of a single target, its error.
    """
    from targets import zipapp
    from targets.places import cache_dir
    from toolchain import fleet
    from toolchain.tflite.facts import facts

    for path in models:
        facts(path)  # a damaged model is told before anything is sent
    agent = zipapp.build(cache_dir())
    items = [Item.of_file(path) for path in (agent.path, *models)]
    done: dict[str, Deployed] = {}

    def on(target: Target, stopping: threading.Event) -> list[HalfbyteError]:
        if not stopping.is_set():
            done[target.name] = _onto(target, items, wheelhouse, trust, progress)
        return []

    faults = fleet.over(targets, on)
    return [done[target.name] for target in targets if target.name in done], faults


def _onto(
    target: Target,
    items: Sequence[Item],
    wheelhouse: Path | None,
    trust: Trust | None,
    progress: Progress,
) -> Deployed:
    from targets import transfer
    from toolchain import measuring as steps

    with steps.ready(target, trust=trust, wheelhouse=wheelhouse, progress=progress) as board:
        sent = transfer.send(
            board.connection,
            items,
            store=board.python.store,
            deadline=Deadline.after(DEPLOY_S),
            progress=progress,
        )
    return Deployed(
        target=target.name,
        environment=str(board.python),
        paths=tuple(board.python.store.path(item.sha256) for item in items[1:]),
        bytes_sent=sent.bytes_sent + board.python.sent_bytes,
        files_sent=sent.files_sent,
        files_present=sent.files_present,
    )
