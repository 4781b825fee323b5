"""What codes look like on real pictures: ranges and channels that say nothing."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping

from toolchain.tflite.lint import saturation
from toolchain.tflite.lint.findings import Finding
from toolchain.tflite.lint.making import found
from toolchain.tflite.lint.rules import ONE_CODE, USED_CODES, USED_CODES_USELESS
from toolchain.tflite.probing.request import Observed
from toolchain.tflite.probing.tallies import Codes
from toolchain.tflite.view import View

_PRESCRIBED = ("LOGISTIC", "SOFTMAX", "TANH")
"""Their output scale is not chosen, so few codes in use say nothing of it."""


def checks(view: View, observed: Observed, logits: Collection[int]) -> Iterator[Finding]:
    """All of the checks on codes.  logits: outputs that are scores before their sigmoid."""
    # Copies hold their sources' codes: what is wrong is told where it arises.
    made = {
        tensor: codes
        for tensor, codes in observed.codes.items()
        if not view.copied_from(view.producers[tensor])
    }
    return itertools.chain(
        collapsed(view, made),
        saturation.checks(view, made, logits),
        constant(view, made, observed),
    )


def collapsed(view: View, codes: Mapping[int, Codes]) -> Iterator[Finding]:
    """Tensors that use hardly any of their codes."""
    for index, seen in codes.items():
        tensor = view.tensors[index]
        if view.producers[index].kind in _PRESCRIBED or seen.used >= USED_CODES:
            continue
        useless = seen.used <= USED_CODES_USELESS or seen.commonest >= ONE_CODE
        yield found(
            view,
            "collapsed-range",
            "error" if useless else "warning",
            tensor,
            f"{seen.used} of its {seen.possible} codes are in use (scale {tensor.scale:.4g}), "
            f"{seen.commonest:.1%} of the values are at one code",
            measure="codes in use",
            value=seen.used,
            limit=USED_CODES,
        )


def constant(view: View, codes: Mapping[int, Codes], observed: Observed) -> Iterator[Finding]:
    """Channels that never change; a warning where the float model's do."""
    for index, seen in codes.items():
        stuck = set(seen.constant) - _inherited(view, index, codes)
        if not stuck or seen.used < USED_CODES or seen.channels < 2:
            continue
        difference = observed.differences.get(index)
        lost = sorted(stuck.intersection(difference.varies if difference else ()))
        shown = lost or sorted(stuck)
        yield found(
            view,
            "constant-channel",
            "warning" if lost else "note",
            view.tensors[index],
            f"{len(stuck)} of {seen.channels} channels hold one code on all pictures"
            + (f"; in {len(lost)} of them the float model's values vary" * bool(lost))
            + f": channel {', '.join(map(str, shown[:8]))}"
            + (" ..." if len(shown) > 8 else ""),
            measure="constant channels",
            value=len(stuck),
        )


def _inherited(view: View, tensor: int, codes: Mapping[int, Codes]) -> set[int]:
    """Channels that already stood still in what an element-wise operator reads."""
    node = view.producers[tensor]
    if node in view.weighted:
        return set()
    sources = [codes[source] for source in node.data if source in codes]
    return {
        channel
        for source in sources
        if source.channels == codes[tensor].channels
        for channel in source.constant
    }
