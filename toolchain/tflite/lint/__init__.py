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
from toolchain.errors import DoesNotRun, ModelError
from toolchain.tflite import flatbuffer
from toolchain.tflite.layout import understand
from toolchain.tflite.lint import detections, observed, outputs, scales, structure, weights
from toolchain.tflite.lint.findings import Finding, Lint, ordered, to_json
from toolchain.tflite.lint.making import found
from toolchain.tflite.probing.client import observe
from toolchain.tflite.probing.matching import counterparts
from toolchain.tflite.probing.readers import reader_of
from toolchain.tflite.probing.request import Asked, Request
from toolchain.tflite.view import View

__all__ = ["Finding", "Lint", "lint", "to_json"]

_PICTURES = "saturated and collapsed ranges, constant channels, boxes: give pictures (--images DIR)"
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

    images: real pictures, letterboxed as on the board; none: only the file is looked at.
    against: the float model that it was made from.
    Raises MalformedModel, UnsupportedModel (the float model is none), DataError, OSError.
    """
    data = path.read_bytes()
    view = _view(path, data)
    reference = None if against is None else _view(against, against.read_bytes())
    head = understand(path)
    findings = list(_static(view, head, reference))
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
            seen = observe(asked, label=f"running {path.name}", progress=progress)
        except DoesNotRun as error:
            findings.append(_refused(view, error))
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
    yield from structure.checks(view)
    yield from outputs.checks(view, head)


def _asked(view: View, head: Head | None, twins: Mapping[int, int]) -> tuple[Asked, ...]:
    logits = outputs.logits(view, head)
    return tuple(
        Asked(tensor, reader_of(view, tensor, logits), twins.get(tensor))
        for tensor in view.activations
        if tensor not in view.inputs and view.tensors[tensor].quantized
    )


def _view(path: Path, data: bytes) -> View:
    try:
        return View(flatbuffer.parse(data))
    except ModelError as error:
        raise type(error)(f"{path.name}: {error.message}", hint=error.hint) from error


def _unchecked(images: Sequence[Path], against: Path | None, head: Head | None) -> tuple[str, ...]:
    if not images:
        return (_PICTURES,)
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
