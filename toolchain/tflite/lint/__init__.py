"""Lint of any .tflite model, ours or not: what is wrong with its quantization, by name.

lint(path)                                        from the file alone
lint(path, images=photos, against=float_model)    and on real pictures, beside the float model
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from targets.agent.heads import Head
from targets.progress import SILENT, Progress
from toolchain.errors import DoesNotRun, ModelError, UnsupportedModel
from toolchain.tflite import flatbuffer
from toolchain.tflite.layout import understand
from toolchain.tflite.lint import detections, observed, outputs, scales, structure, weights
from toolchain.tflite.lint.findings import Finding, Lint, ordered, to_json
from toolchain.tflite.lint.making import found
from toolchain.tflite.plain import plain_bytes, plain_file
from toolchain.tflite.probing.client import observe
from toolchain.tflite.probing.cutting import needed_nodes
from toolchain.tflite.probing.matching import counterparts
from toolchain.tflite.probing.readers import reader_of
from toolchain.tflite.probing.request import Asked, Request
from toolchain.tflite.view import View

__all__ = ["Finding", "Lint", "lint", "to_json"]

_PICTURES = (
    "saturated and collapsed ranges, constant channels, boxes",
    "give pictures (--images DIR)",
)
_FLOAT = "boxes and channels beside the float model: give it (--against FLOAT)"
_BOXES = "boxes: the outputs of this model are not understood"


def lint(
    path: Path,
    *,
    images: Sequence[Path] = (),
    against: Path | None = None,
    threads: int = 2,
    progress: Progress = SILENT,
) -> Lint:
    """All findings about the model at `path`.

    images: real pictures, letterboxed as on the board; none: only the file is looked at.  Packed
    and INT4 models are looked at, and run, as the ordinary ones that they expand to.
    against: the float model that it was made from.
    Raises MalformedModel, DataError, OSError.
    """
    data = path.read_bytes()
    stored = _view(path, data)
    plain = plain_bytes(data, path.name)
    view = stored if plain is data else _view(path, plain)
    reference = None if against is None else _view(against, against.read_bytes())
    head = understand(path)
    findings = [*structure.checks(stored), *_static(view, head, reference)]
    base = Lint(
        model=path.name,
        model_sha256=hashlib.sha256(data).hexdigest(),
        findings=(),
        against=None if against is None else against.name,
        unchecked=_unchecked(images, against, head),
    )
    if images:
        twins = {} if reference is None else counterparts(view, reference)
        asked = Request(
            model=str(path),
            images=tuple(str(image) for image in images),
            tensors=_asked(view, head, twins),
            against=None if against is None else str(against),
            head=head,
            against_head=None if against is None else understand(against),
            threads=threads,
        )
        try:
            with plain_file(path, data) as runs:
                asked = dataclasses.replace(asked, model=str(runs))
                seen = observe(asked, label=f"running {path.name}", progress=progress)
        except DoesNotRun as error:
            findings.append(_refused(view, error))
        except UnsupportedModel as error:
            base = dataclasses.replace(base, unchecked=(f"{_PICTURES[0]}: {error.message}",))
        else:
            findings += observed.checks(view, seen, outputs.logits(view, head))
            findings += detections.checks(view, seen)
            base = dataclasses.replace(
                base,
                images=seen.images,
                left_out=seen.left_out,
                boxes=seen.boxes,
                boxes_against=seen.boxes_against,
            )
    return dataclasses.replace(base, findings=ordered(findings))


def _static(view: View, head: Head | None, reference: View | None) -> Iterator[Finding]:
    yield from scales.checks(view)
    yield from weights.checks(view, reference)
    yield from outputs.checks(view, head)


def _asked(view: View, head: Head | None, twins: Mapping[int, int]) -> tuple[Asked, ...]:
    logits = outputs.logits(view, head)
    made = (tensor for node in needed_nodes(view, view.outputs) for tensor in node.outputs)
    return tuple(
        Asked(tensor, reader_of(view, tensor, logits), twins.get(tensor))
        for tensor in made
        if view.tensors[tensor].quantized
    )


def _view(path: Path, data: bytes) -> View:
    try:
        return View(flatbuffer.parse(data))
    except ModelError as error:
        raise type(error)(f"{path.name}: {error.message}", hint=error.hint) from error


def _unchecked(images: Sequence[Path], against: Path | None, head: Head | None) -> tuple[str, ...]:
    if not images:
        return (": ".join(_PICTURES),)
    return tuple([_FLOAT] * (against is None) + [_BOXES] * (head is None))


def _refused(view: View, error: DoesNotRun) -> Finding:
    return found(
        view,
        "does-not-run",
        "error",
        "the model",
        error.message,
        measure="runs",
        value=0,
        limit=1,
    )
