"""Outputs in which scores have too few steps left, where it is known which outputs hold scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from targets.agent.heads import Head
from toolchain.tflite.lint.findings import Finding
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import SCORE_STEP, SCORE_STEP_USELESS, TINY
from toolchain.tflite.view import Tensor, View


def checks(view: View, head: Head | None) -> Iterator[Finding]:
    """head: how the outputs become boxes; None: not known, nothing is said."""
    if head is None:
        return
    named = _named(view)
    if head.layout == "levels":
        for level in head.levels:
            for name in dict.fromkeys((level.objectness, level.classes)):
                if name in named:
                    shared = name == level.boxes
                    yield from _scores(view, named[name], steepest=0.25, shared=shared)
    elif head.output in named:
        yield from _scores(view, named[head.output], steepest=1.0, shared=True)


def logits(view: View, head: Head | None) -> frozenset[int]:
    """Outputs that hold nothing but scores before their sigmoid."""
    if head is None or head.layout != "levels":
        return frozenset()
    named = _named(view)
    return frozenset(
        named[name].index
        for level in head.levels
        for name in (level.objectness, level.classes)
        if name in named and name != level.boxes
    )


def _named(view: View) -> dict[str, Tensor]:
    """Output tensors by their own names and those of the signature."""
    named = {view.name(index): view.tensors[index] for index in view.outputs}
    called = {name: view.tensors[index] for index, name in view.signature_names.items()}
    return {**called, **named}


def _scores(view: View, output: Tensor, *, steepest: float, shared: bool) -> Iterator[Finding]:
    """steepest: how far a score moves at most when the output moves by 1."""
    tensor = _where_rounded(view, output)
    if tensor is None or tensor.scale < TINY:
        return
    step = tensor.scale * steepest
    if step < SCORE_STEP:
        return
    useless = step >= SCORE_STEP_USELESS
    with_boxes = " together with boxes" if shared else ""
    yield found(
        view,
        "shared-scale" if shared else "coarse-scores",
        "error" if useless else "warning",
        tensor,
        f"it holds scores{with_boxes} at scale {tensor.scale:.4g}: one step moves a score by up to "
        f"{min(step, 1):.2g}" + ("; every score rounds to 0 or 1" * useless),
        measure="score step",
        value=step,
        limit=SCORE_STEP,
    )


def _where_rounded(view: View, tensor: Tensor) -> Tensor | None:
    """The quantized tensor that an output's values come from; None where there is none."""
    for _ in range(16):
        if tensor.quantized:
            return tensor
        node = view.producers.get(tensor.index)
        if node is None:
            return None
        sources: Sequence[int] = view.copied_from(node)
        if node.kind in ("DEQUANTIZE", "QUANTIZE"):
            sources = node.inputs
        if len(sources) != 1:
            return None
        tensor = view.tensors[sources[0]]
    return None
