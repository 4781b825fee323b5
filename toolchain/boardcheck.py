"""The same quantized model on this machine and on a board, layer by layer.

Kernels differ by processor, so the same file gives other codes: by a step here and there in most
layers, by more at the outputs.  What is told is how much, and where it first is more than it
should be.  Probes (models whose inner activations are outputs) run through the ordinary session,
in batches that fit the board's memory, and are taken from the board again afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets import session, zipapp
from targets.agent.probing import values_of
from targets.agent.records import Probed
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.errors import HalfbyteError, StreamBroken
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain import bundle, onhost
from toolchain.errors import UnsupportedModel
from toolchain.measuring import Board, Trust, ready
from toolchain.tflite.layerwise import view_of
from toolchain.tflite.plain import plain_bytes
from toolchain.tflite.probing.cutting import batches, probe, size_bytes
from toolchain.tflite.view import View

VALUES: Final = 16_384
"""Of one tensor and picture, at most: what crosses the link."""

BOUND_STEPS: Final = 32
"""Of XNNPACK's kernels and those of tflite-runtime 2.14, 28 steps were seen in YOLOv5s, and 1.3 on
average."""

MOST_MEMORY_BYTES: Final = 256 << 20
SHARE_OF_FREE_MEMORY: Final = 4
RUN_S: Final = 6 * 3600.0
ALONE_S: Final = 120.0
_REMOVE_S: Final = 60.0


@dataclasses.dataclass(frozen=True)
class LayerSteps:
    """One activation on both machines, over all pictures, in steps of its scale.

    values: how many were compared (a sample).  differing: share of them that differ at all.
    judged: whether it is held to the bound; the gates of SiLU are not, since a sigmoid makes many
    steps of one.
    """

    operator: int
    kind: str
    layer: str
    tensor: str
    values: int
    max_steps: int
    mean_steps: float
    differing: float
    judged: bool = True


@dataclasses.dataclass(frozen=True)
class BoardCheck:
    """Host against board.  layers: in the order of execution.  runtime: the board's.

    memory_bytes: the most that activations given out at once took there.  batches: of probes.
    """

    target: str
    runtime: str | None
    images: int
    bound_steps: int
    memory_bytes: int
    batches: int
    layers: tuple[LayerSteps, ...]

    @property
    def first(self) -> LayerSteps | None:
        """The first layer beyond the bound."""
        beyond = (layer for layer in self.layers if layer.max_steps > self.bound_steps)
        return next((layer for layer in beyond if layer.judged), None)

    @property
    def worst(self) -> LayerSteps:
        """The layer with the largest difference, among those that are judged."""
        return max(self.layers, key=lambda layer: (layer.judged, layer.max_steps))


@dataclasses.dataclass(frozen=True)
class Probes:
    """Where probes run: `run` gives the records of one bundle."""

    run: Callable[[bundle.Bundle], Iterator[Envelope]]
    threads: int = 1


def check(
    path: Path,
    target: Target,
    images: Sequence[Path],
    *,
    bound_steps: int = BOUND_STEPS,
    memory_bytes: int | None = None,
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> BoardCheck:
    """Compare the quantized model at `path` on this machine and on `target`.

    memory_bytes: of activations at once; None: a quarter of what the board has free.
    Raises UnsupportedModel (nothing is quantized), the errors of a target, RunIncomplete.
    """
    view = view_of(path, plain_bytes(path.read_bytes(), path.name))
    with ready(target, trust=trust, progress=progress) as board:
        found = _facts(board)
        memory_bytes = memory_bytes or _fitting(found.mem_available_bytes)
        there = Probes(lambda job: _on_board(board, job, progress), target.threads or board.cpus)
        here = Probes(onhost.run, 2)
        chosen = plan_batches(view, memory_bytes)
        with progress.task(f"comparing with {target.name}", len(chosen), "probes") as task:
            layers: list[LayerSteps] = []
            for batch in chosen:
                layers += compare(view, batch, images, here, there)
                task.advance()
    return BoardCheck(
        target=target.name,
        runtime=found.runtime,
        images=len(images),
        bound_steps=bound_steps,
        memory_bytes=memory_bytes,
        batches=len(chosen),
        layers=tuple(layers),
    )


def plan_batches(view: View, memory_bytes: int) -> list[list[int]]:
    """Quantized activations in the order of execution, cut where the memory ends.

    Raises UnsupportedModel.
    """
    tensors = [
        tensor
        for tensor in view.activations
        if tensor not in view.inputs and view.tensors[tensor].quantized
    ]
    if not tensors:
        raise UnsupportedModel(
            "this model has no quantized activations: there are no steps to compare by",
            hint="Leave --target out to compare it with the float model on this machine.",
        )
    sizes = [size_bytes(view, tensor) for tensor in tensors]
    return [[tensors[place] for place in batch] for batch in batches(sizes, memory_bytes)]


def compare(
    view: View, batch: Sequence[int], images: Sequence[Path], here: Probes, there: Probes
) -> Iterator[LayerSteps]:
    """The tensors of one batch in two places.  Raises StreamBroken where they do not fit."""
    with tempfile.TemporaryDirectory(prefix="halfbyte-") as folder:
        path = Path(folder) / "probe.tflite"
        path.write_bytes(probe(view, batch))
        one, other = (_samples(place, path, images) for place in (here, there))
    for position, tensor in enumerate(batch):
        node = view.producers[tensor]
        steps = np.concatenate(
            [_steps(one, other, image, position) for image in range(len(images))]
        )
        yield LayerSteps(
            operator=node.index,
            kind=node.kind,
            layer=view.layer(node),
            tensor=view.name(tensor),
            values=len(steps),
            max_steps=int(steps.max(initial=0)),
            mean_steps=float(steps.mean()) if len(steps) else 0.0,
            differing=float((steps > 0).mean()) if len(steps) else 0.0,
            judged=node.kind != "LOGISTIC" or tensor in view.outputs,
        )


Samples = dict[tuple[int, int], NDArray[Any]]
"""By number of the picture and place of the output."""


def _samples(place: Probes, path: Path, images: Sequence[Path]) -> Samples:
    job = bundle.bundle(
        path,
        zipapp.build(cache_dir()),
        pictures=[(str(index), image) for index, image in enumerate(images)],
        settings=bundle.Settings(
            threads=place.threads, warmup=0, timed_runs=0, probe_values=VALUES
        ),
    )
    found: Samples = {}
    for record in (envelope.record for envelope in place.run(job)):
        if isinstance(record, Probed):
            try:
                found[record.index, record.output] = values_of(record)
            except ValueError as error:
                raise _broken(str(error)) from error
    return found


def _steps(one: Samples, other: Samples, image: int, position: int) -> NDArray[np.int64]:
    """Absolute differences; empty for a picture that neither place could read."""
    first, second = one.get((image, position)), other.get((image, position))
    if first is None and second is None:
        return np.zeros(0, np.int64)
    if (
        first is None
        or second is None
        or (first.shape, first.dtype) != (second.shape, second.dtype)
    ):
        raise _broken("the probe has other outputs there than here")
    return np.asarray(np.abs(first.astype(np.int64) - second.astype(np.int64)))


def _on_board(board: Board, job: bundle.Bundle, progress: Progress) -> Iterator[Envelope]:
    try:
        yield from session.run(
            board.connection,
            board.python,
            job,
            deadline=Deadline.after(RUN_S),
            patience=session.Patience(linger_s=ALONE_S),
            progress=progress,
        )
    finally:
        # Nobody runs a probe again: it would only take room.
        with contextlib.suppress(HalfbyteError):
            path = board.python.store.path(job.model.sha256)
            board.connection.run(["rm", "-f", "--", path], deadline=Deadline.after(_REMOVE_S))


def _facts(board: Board) -> Any:
    from targets.items import Item

    agent = zipapp.build(cache_dir())
    item = Item.of_file(agent.path, sha256=agent.sha256)
    return session.facts(board.connection, board.python, item, deadline=Deadline.after(5 * 60))


def _fitting(available_bytes: int | None) -> int:
    free = MOST_MEMORY_BYTES if available_bytes is None else available_bytes // SHARE_OF_FREE_MEMORY
    return max(1, min(free, MOST_MEMORY_BYTES))


def _broken(why: str) -> StreamBroken:
    return StreamBroken(
        f"What the board says of a probe cannot be used: {why}",
        hint="Run again; if it happens again, the board's runtime or memory is at fault.",
    )
