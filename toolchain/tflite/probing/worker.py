"""The process that runs models and measures; see `client`.

    python -m toolchain.tflite.probing.worker < request.json

Answers with JSON lines: {"done": n} as it goes, then {"observed": {...}}, {"refused": "why"} by the
runtime, or {"unfit": "why"} where no picture goes in.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.agent import boxes
from targets.agent.faults import Fault, ModelRefused
from targets.agent.frames import FrameUnreadable, read_picture
from targets.agent.heads import Head
from targets.agent.inputs import InputMismatch
from targets.agent.letterbox import Placement
from targets.agent.pictures import PictureInput
from targets.agent.runtime import Model, find_runtime
from toolchain.tflite.flatbuffer import parse
from toolchain.tflite.probing.cutting import batches, probe, size_bytes
from toolchain.tflite.probing.request import CONFIDENCE, Asked, Observed, Request
from toolchain.tflite.probing.tallies import Tally
from toolchain.tflite.view import View

MEMORY_LIMIT_BYTES: Final = 8 << 30
Tell = Callable[[dict[str, Any]], None]


class Run:
    """One request being answered."""

    def __init__(self, asked: Request, tell: Tell) -> None:
        self._asked, self._tell, self._done = asked, tell, 0
        self._pictures: list[NDArray[np.uint8]] = []
        self._left_out: list[tuple[str, str]] = []
        for path in asked.images:
            try:
                self._pictures.append(read_picture(path))
            except FrameUnreadable as error:
                self._left_out.append((Path(path).name, str(error)))

    def observed(self) -> Observed:
        """Raises Fault, InputMismatch, RuntimeError, ValueError: what the runtime says."""
        asked = self._asked
        boxes_found = self._boxes(asked.model, asked.head)
        reference = self._boxes(asked.against, asked.against_head) if asked.against else None
        tallies, count = self._tallies()
        codes = {tensor: tally.codes() for tensor, tally in tallies.items()}
        differences = {tensor: tally.difference() for tensor, tally in tallies.items()}
        return Observed(
            images=len(self._pictures),
            left_out=tuple(self._left_out),
            codes={tensor: found for tensor, found in codes.items() if found},
            differences={tensor: found for tensor, found in differences.items() if found},
            boxes=boxes_found,
            boxes_against=reference,
            batches=count,
        )

    def _boxes(self, path: str, head: Head | None) -> int | None:
        """Boxes above CONFIDENCE that the whole model finds; it runs once without a head too."""
        model, pictures = _opened(Path(path), self._asked.threads)
        total = 0
        for pixels in self._pictures[: None if head else 1]:
            tensor, placement = pictures.fit(pixels)
            model.run((tensor,))
            total += 0 if head is None else _count(model, head, placement)
            self._step()
        return None if head is None else total

    def _tallies(self) -> tuple[dict[int, Tally], int]:
        asked = self._asked
        view = View(parse(Path(asked.model).read_bytes()))
        other = View(parse(Path(asked.against).read_bytes())) if asked.against else None
        tallies = {one.tensor: Tally(view.tensors[one.tensor], one.reader) for one in asked.tensors}
        sizes = [_size(one, view, other) for one in asked.tensors]
        chosen = batches(sizes, asked.memory_bytes)
        with tempfile.TemporaryDirectory(prefix="halfbyte-") as folder:
            for places in chosen:
                batch = [asked.tensors[place] for place in places]
                self._batch(batch, view, other, tallies, Path(folder))
        return tallies, len(chosen)

    def _batch(
        self,
        batch: list[Asked],
        view: View,
        other: View | None,
        tallies: dict[int, Tally],
        folder: Path,
    ) -> None:
        threads = self._asked.threads
        ours = _Probe(view, [one.tensor for one in batch], threads, folder / "model.tflite")
        paired = [one.reference for one in batch if one.reference is not None]
        theirs = None
        if other is not None and paired:
            theirs = _Probe(other, paired, threads, folder / "against.tflite")
        for pixels in self._pictures:
            ours.run(pixels)
            if theirs is not None:
                theirs.run(pixels)
            for one in batch:
                reference = None
                if theirs is not None and one.reference is not None:
                    reference = theirs.values(one.reference)
                tallies[one.tensor].add(ours.values(one.tensor), reference)
            self._step()

    def _step(self) -> None:
        self._done += 1
        self._tell({"done": self._done})


class _Probe:
    """A probe in the interpreter: a file of its own, which is mapped and not held twice."""

    def __init__(self, view: View, tensors: list[int], threads: int, path: Path) -> None:
        self._places = {tensor: place for place, tensor in enumerate(dict.fromkeys(tensors))}
        path.write_bytes(probe(view, list(self._places)))
        self._model, self._pictures = _opened(path, threads)

    def run(self, pixels: NDArray[np.uint8]) -> None:
        tensor, _ = self._pictures.fit(pixels)
        self._model.run((tensor,))

    def values(self, tensor: int) -> NDArray[Any]:
        return self._model.output(self._places[tensor])


def _opened(path: Path, threads: int) -> tuple[Model, PictureInput]:
    """Raises ModelRefused, naming the file; InputMismatch."""
    try:
        model = Model(str(path), threads=threads, runtime=find_runtime())
    except Fault as error:
        raise ModelRefused(f"{path.name}: {error}") from error
    return model, PictureInput(model.inputs)


def _size(one: Asked, view: View, other: View | None) -> int:
    size = size_bytes(view, one.tensor)
    if other is not None and one.reference is not None:
        size += size_bytes(other, one.reference)
    return size


def _count(model: Model, head: Head, placement: Placement) -> int:
    return len(boxes.detect(model.results(), head, placement, confidence=CONFIDENCE))


def _answer(asked: Request, tell: Tell) -> dict[str, Any]:
    try:
        return {"observed": Run(asked, tell).observed().to_json()}
    except InputMismatch as error:
        return {"unfit": str(error)}
    except (Fault, RuntimeError, ValueError) as error:
        return {"refused": f"{error}"[:1000] or type(error).__name__}


def main() -> int:
    """Standard output is the answer; whatever else prints to it lands on standard error."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(line: dict[str, Any]) -> None:
        wire.write(json.dumps(line) + "\n")
        wire.flush()

    tell(_answer(Request.from_json(json.load(sys.stdin)), tell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
