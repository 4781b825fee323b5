"""A quantized model beside its float reference, layer by layer, on real pictures.

found = verify(model, float_model, photos)
found.first          the first layer that diverges, or None
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from targets.progress import SILENT, Progress
from toolchain.errors import ModelError, NotFinite, UnsupportedModel
from toolchain.tflite import flatbuffer
from toolchain.tflite.layerwise.results import (
    LOWEST_DB,
    Layer,
    Rule,
    Verification,
    depth,
    to_json,
)
from toolchain.tflite.lint.outputs import logits
from toolchain.tflite.metadata import extract
from toolchain.tflite.plain import plain_bytes, plain_file
from toolchain.tflite.probing.client import observe
from toolchain.tflite.probing.matching import counterparts
from toolchain.tflite.probing.readers import reader_of
from toolchain.tflite.probing.request import Asked, Request
from toolchain.tflite.probing.tallies import Difference
from toolchain.tflite.view import Node, View

__all__ = ["Layer", "Rule", "Verification", "default_rule", "to_json", "verify"]

DROP_DB: Final = 3.0  # the noise doubles
LIMIT_DB: Final = 12.0
LIMIT_OF_FEW_BITS_DB: Final = 3.0
MEMORY_BYTES: Final = 512 << 20
_CONVERTERS: Final = ("QUANTIZE", "DEQUANTIZE", "CAST")


def verify(
    path: Path,
    against: Path,
    images: Sequence[Path],
    *,
    rule: Rule | None = None,
    threads: int = 2,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress = SILENT,
) -> Verification:
    """Compare all activations that both models have.  Exact sums over all values.

    memory_bytes: the most that activations looked at together may take.
    Raises MalformedModel, UnsupportedModel (no tensor in common), DoesNotRun, NotFinite (the float
    model gives NaN), DataError (no picture), OSError.
    """
    data, reference = path.read_bytes(), against.read_bytes()
    view, other = view_of(path, plain_bytes(data, path.name)), view_of(against, reference)
    twins = counterparts(view, other)
    if not twins:
        raise UnsupportedModel(
            f"{path.name} and {against.name} have no tensor of the same name and shape",
            hint="Give the float model that this one was made from.",
        )
    scores = scores_of(view)
    asked = tuple(
        Asked(tensor, reader_of(view, tensor, scores), twin) for tensor, twin in twins.items()
    )
    with plain_file(path, data) as runs:
        request = Request(
            model=str(runs),
            images=tuple(str(image) for image in images),
            tensors=asked,
            against=str(against),
            threads=threads,
            memory_bytes=memory_bytes,
        )
        seen = observe(request, label=f"comparing {path.name}", progress=progress)
    _check_finite(view, seen.differences, against.name)
    rule = rule or default_rule(view_of(path, data))
    return Verification(
        model=path.name,
        model_sha256=hashlib.sha256(data).hexdigest(),
        against=against.name,
        against_sha256=hashlib.sha256(reference).hexdigest(),
        images=seen.images,
        rule=rule,
        layers=tuple(_layers(view, seen.differences, scores, rule)),
        unmatched=_unmatched(view, seen.differences),
        batches=seen.batches,
        left_out=seen.left_out,
    )


def default_rule(view: View) -> Rule:
    """By the bits of the weights: at 4 bits every layer is noisier than a bad one at 8."""
    facts = extract(view.model)
    named = re.match(r"w(\d)", facts.recipe if facts else "")
    stored = [view.tensors[node.inputs[1]].element.bits or 8 for node in view.weighted]
    bits = min([8, *stored, *([int(named[1])] if named else [])])
    return Rule(LIMIT_OF_FEW_BITS_DB if bits < 8 else LIMIT_DB, DROP_DB)


def scores_of(view: View) -> frozenset[int]:
    """Outputs that are scores before their sigmoid, as the model's own metadata says."""
    facts = extract(view.model)
    return logits(view, facts.head if facts else None)


def view_of(path: Path, data: bytes) -> View:
    """The model's bytes as a view; errors name the file.  Raises MalformedModel."""
    try:
        return View(flatbuffer.parse(data))
    except ModelError as error:
        raise type(error)(f"{path.name}: {error.message}", hint=error.hint) from error


def _unmatched(view: View, differences: Mapping[int, Difference]) -> int:
    """Tensors that the float model lacks, but for those that only change a type."""
    made = [tensor for tensor in view.activations if tensor in view.producers]
    return sum(
        tensor not in differences and view.producers[tensor].kind not in _CONVERTERS
        for tensor in made
    )


def _layers(
    view: View, differences: Mapping[int, Difference], scores: Collection[int], rule: Rule
) -> Iterator[Layer]:
    known = {tensor: _decibels(found) for tensor, found in differences.items()}
    worst = _worst_inputs(view, known)
    for tensor, found in differences.items():
        node = view.producers[tensor]
        own, before = known[tensor], worst[node.index]
        drop = None if own is None or before is None else max(0.0, before - own)
        lost = depth(before) - depth(own) >= rule.drop_db if own is not None else False
        yield Layer(
            operator=node.index,
            kind=node.kind,
            layer=view.layer(node),
            tensor=view.name(tensor),
            reader=reader_of(view, tensor, scores),
            values=found.values,
            sqnr_db=own,
            input_sqnr_db=before,
            drop_db=drop,
            mean_shift=found.mean_shift,
            diverges=own is not None and own < rule.limit_db and lost,
            has_weights=node in view.weighted,
        )


def _decibels(found: Difference) -> float | None:
    return None if found.sqnr_db is None else max(LOWEST_DB, found.sqnr_db)


def _worst_inputs(view: View, known: Mapping[int, float | None]) -> dict[int, float | None]:
    """By operator: the least SQNR of what it reads, through tensors that have no counterpart."""
    of_tensor: dict[int, float | None] = dict(known)
    worst: dict[int, float | None] = {}

    def least(node: Node) -> float | None:
        return min((of_tensor.get(tensor) for tensor in node.data), key=depth, default=None)

    for node in view.nodes:
        worst[node.index] = least(node)
        for tensor in node.outputs:
            of_tensor.setdefault(tensor, worst[node.index])
    return worst


def _check_finite(view: View, differences: Mapping[int, Difference], name: str) -> None:
    for tensor, found in differences.items():
        if not found.finite:
            raise NotFinite(
                f"{name}: tensor {view.name(tensor)} holds NaN or infinity on these pictures",
                hint="The float model is damaged; convert it again from the checkpoint.",
            )
