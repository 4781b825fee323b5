"""Run the float model over pictures and take statistics of its activations.

The runtime gives out only the tensors that are outputs, and reuses the memory of all others.
So a copy of the model is run whose activations are outputs too: it stays with the fast kernels,
which the interpreter's own switch for keeping all tensors does not.

Memory: the activations of one picture, and 640 KiB of counts a tensor.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.agent.frames import FrameUnreadable, letterbox, read_picture
from targets.agent.inputs import pack
from targets.progress import SILENT, Progress
from toolchain.errors import EmptyCalibration, NotFinite
from toolchain.quantize.calibration import Calibration, Statistics
from toolchain.quantize.graph import FloatGraph, check_weights
from toolchain.quantize.histogram import BINS, count
from toolchain.tflite.flatbuffer import parse, serialize
from toolchain.tflite.quietly import quietly

SAMPLE: Final = 1 << 17
"""Values of one tensor that one picture adds to its histogram, at most."""

_log = logging.getLogger(__name__)


def calibrate(
    float_model: Path, images: Sequence[Path], *, threads: int = 2, progress: Progress = SILENT
) -> Calibration:
    """Statistics of every activation that quantization has to choose a range for.

    float_model: a float32 .tflite that takes one picture [1, h, w, 3] of RGB in 0..1.
    images: pictures, letterboxed as the board does it; unreadable ones are left out and named.
    The same inputs give the same statistics.  Raises EmptyCalibration, NotFinite (a weight, or an
    activation: naming tensor and image), UnsupportedModel, MalformedModel.
    """
    data = float_model.read_bytes()
    graph = FloatGraph(parse(data))
    check_weights(graph)
    watched = watched_tensors(graph)
    names = unique_names(graph, watched)
    probe = Probe(graph, watched, threads=threads)
    tallies = {tensor: _Tally(graph.shape(tensor)[-1]) for tensor in watched}
    used: list[str] = []
    left_out: list[tuple[str, str]] = []
    with progress.task("calibrate", total=len(images), unit="images") as task:
        for path in images:
            try:
                picture = read_picture(path)
            except FrameUnreadable as error:
                _log.warning("%s is left out of calibration: %s", path.name, error)
                left_out.append((path.name, str(error)))
                task.advance()
                continue
            pixels = letterbox(picture, probe.imgsz).pixels
            for tensor, values in probe.run(pack(pixels, "float32")):
                try:
                    tallies[tensor].add(values, seed=(len(used), tensor))
                except FloatingPointError as error:
                    raise NotFinite(
                        f"{path.name} makes {error} in tensor {names[tensor]}",
                        hint="Run the float model on this picture; its weights may be damaged.",
                    ) from error
            used.append(path.name)
            task.advance()
    if not used:
        raise _empty(left_out)
    return Calibration(
        model_sha256=hashlib.sha256(data).hexdigest(),
        images=tuple(used),
        left_out=tuple(left_out),
        tensors={names[tensor]: tallies[tensor].statistics() for tensor in watched},
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelStatistics:
    """The channels of one tensor: float64 [C] each.

    low, high: extremes of a picture, on average, taken for a range that clips little.
    mean_square: over all positions.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean_square: NDArray[np.float64]

    def peak(self) -> NDArray[np.float64]:
        """The largest magnitude of a picture, on average: float64 [C]."""
        return np.maximum(self.high, -self.low)

    def rms(self) -> NDArray[np.float64]:
        """Root mean squares: float64 [C]."""
        return np.sqrt(self.mean_square)


def channel_statistics(
    graph: FloatGraph,
    tensors: Sequence[int],
    images: Sequence[Path],
    *,
    threads: int = 2,
    progress: Progress = SILENT,
) -> dict[int, ChannelStatistics]:
    """Of each of `tensors`, over the pictures that can be read.

    Raises EmptyCalibration, NotFinite (an activation), UnsupportedModel.
    """
    probe = Probe(graph, tensors, threads=threads)
    sums = {tensor: np.zeros((3, graph.shape(tensor)[-1])) for tensor in tensors}
    left_out: list[tuple[str, str]] = []
    with progress.task("channels", total=len(images), unit="images") as task:
        for path in images:
            task.advance()
            try:
                picture = read_picture(path)
            except FrameUnreadable as error:  # calibration tells the user of it
                left_out.append((path.name, str(error)))
                continue
            pixels = letterbox(picture, probe.imgsz).pixels
            for tensor, values in probe.run(pack(pixels, "float32")):
                rows = values.reshape(-1, values.shape[-1])
                squares = np.einsum("pc,pc->c", rows, rows, dtype=np.float64) / len(rows)
                sums[tensor] += rows.min(axis=0), rows.max(axis=0), squares
    used = len(images) - len(left_out)
    if not used:
        raise _empty(left_out)
    for tensor, found in sums.items():
        if not np.isfinite(found).all():
            raise NotFinite(
                f"tensor {graph.name(tensor)} is NaN or infinite on some picture",
                hint="Run the float model on its pictures; its weights may be damaged.",
            )
    return {tensor: ChannelStatistics(*(found / used)) for tensor, found in sums.items()}


def watched_tensors(graph: FloatGraph) -> tuple[int, ...]:
    """Activations whose values are new (not copies, not fixed), and inputs of convolutions."""
    made = [op.output for op in graph.operations if not op.rule.copies and op.rule.output is None]
    read = [op.data[0] for op in graph.convolutions]
    return tuple(dict.fromkeys([*graph.inputs, *made, *read]))


def unique_names(graph: FloatGraph, tensors: Sequence[int]) -> dict[int, str]:
    """Each tensor's name, with its index where another has the same."""
    names = [graph.name(tensor) for tensor in tensors]
    return {
        tensor: name if names.count(name) == 1 else f"{name} #{tensor}"
        for tensor, name in zip(tensors, names, strict=True)
    }


class Probe:
    """A float model that gives out chosen activations."""

    def __init__(self, graph: FloatGraph, tensors: Sequence[int], *, threads: int) -> None:
        """Raises UnsupportedModel."""
        self.imgsz = graph.imgsz
        self._tensors = tuple(tensors)
        self._interpreter = _interpreter(_with_outputs(graph, tensors), threads)

    def run(self, picture: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(tensor, its values) for each chosen one, copied one at a time.

        picture: float32 [1, h, w, 3], RGB in 0..1.
        """
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], picture)
        self._interpreter.invoke()
        for tensor in self._tensors:
            yield tensor, self._interpreter.get_tensor(tensor)


def _with_outputs(graph: FloatGraph, tensors: Sequence[int]) -> bytes:
    model = copy.copy(graph.model)
    subgraph = copy.copy(model.subgraphs[0])
    added = [tensor for tensor in tensors if tensor not in (*graph.outputs, *graph.inputs)]
    subgraph.outputs = np.array([*graph.outputs, *added], np.int32)
    model.subgraphs = [subgraph]
    model.signatureDefs = None
    return serialize(model)


def _interpreter(model: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with quietly():
        interpreter = Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


class _Tally:
    """Running statistics of one tensor."""

    def __init__(self, channels: int) -> None:
        self._low: list[np.float32] = []
        self._high: list[np.float32] = []
        self._sum = np.zeros(channels)
        self._sum_of_squares = np.zeros(channels)
        self._positions = 0
        self._counts = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.float32], *, seed: tuple[int, int]) -> None:
        """One picture's values.  Raises FloatingPointError where they are not finite."""
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise FloatingPointError("NaN" if np.isnan(low) else "infinity")
        self._low.append(low)
        self._high.append(high)
        sample = _sampled(values.reshape(-1, values.shape[-1]), seed)
        self._sum += sample.sum(axis=0, dtype=np.float64)
        self._sum_of_squares += np.einsum("pc,pc->c", sample, sample, dtype=np.float64)
        self._positions += len(sample)
        self._counts += count(sample)

    def statistics(self) -> Statistics:
        return Statistics(
            low=np.array(self._low, np.float32),
            high=np.array(self._high, np.float32),
            mean=self._sum / self._positions,
            mean_square=self._sum_of_squares / self._positions,
            counts=self._counts,
        )


def _sampled(rows: NDArray[np.float32], seed: tuple[int, int]) -> NDArray[np.float32]:
    """At most SAMPLE values as whole rows (all channels of a position): [positions, channels]."""
    wanted = max(1, SAMPLE // rows.shape[1])
    if len(rows) <= wanted:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), wanted, replace=False, shuffle=False)
    return rows[np.sort(chosen)]


def _empty(left_out: list[tuple[str, str]]) -> EmptyCalibration:
    if not left_out:
        message = "no calibration images"
    else:
        name, reason = left_out[0]
        message = f"none of {len(left_out)} calibration images can be read; {name}: {reason}"
    return EmptyCalibration(message, hint="Give a folder with some 64 pictures like those in use.")
