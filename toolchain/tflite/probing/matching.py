"""Which tensor of one model is which of another: by name, since quantizers keep names."""

from __future__ import annotations

from collections import Counter
from typing import Final

from toolchain.tflite.view import View

_REAL: Final = ("float32", "int8", "uint8", "int16")


def counterparts(view: View, reference: View) -> dict[int, int]:
    """Activations of `view` -> those of `reference` with the same name and shape.

    Names that one of the models has twice are passed over.  Outputs are called by the signature
    too, where their own names differ.  The order is that of execution in `view`.
    """
    others = _by_name(reference)
    found = {}
    for name, tensor in _by_name(view).items():
        if name in others and _alike(view, tensor, reference, others[name]):
            found[tensor] = others[name]
    ends = {reference.signature_names.get(tensor): tensor for tensor in reference.outputs}
    for tensor in view.outputs:
        called = view.signature_names.get(tensor)
        other = None if called is None else ends.get(called)
        if other is not None and tensor not in found and _alike(view, tensor, reference, other):
            found[tensor] = other
    return {tensor: found[tensor] for tensor in view.activations if tensor in found}


def _by_name(view: View) -> dict[str, int]:
    made = [tensor for tensor in view.activations if tensor not in view.inputs]
    often = Counter(view.name(tensor) for tensor in made)
    return {view.name(tensor): tensor for tensor in made if often[view.name(tensor)] == 1}


def _alike(view: View, tensor: int, reference: View, other: int) -> bool:
    one, two = view.tensors[tensor], reference.tensors[other]
    return (
        one.shape == two.shape
        and two.element.name == "float32"
        and one.element.name in _REAL
        and (one.quantized or one.element.name == "float32")
    )
