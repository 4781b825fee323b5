"""What errors are weighed by, beside the boxes and scores that a board decodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from targets.agent.decoding import Output, candidates
from targets.agent.heads import Head, Level
from toolchain.quantize.importance import what_matters

ANCHORS = ((10.0, 13.0), (30.0, 23.0))
NAMES = ("a", "b", "c")
APART = Level(8, ANCHORS, "boxes", "objectness", "classes")
JOINED = Level(8, ANCHORS, "all", "all", "all")


def logits(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"boxes": 8, "objectness": 2, "classes": 6}
    return {
        name: torch.randn(1, count, 3, 4, generator=generator) * 2 for name, count in shapes.items()
    }


def joined(parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same numbers in one tensor, for each anchor 4 boxes, objectness, classes."""
    by_anchor = [part.reshape(2, -1, 3, 4) for part in parts.values()]
    return {"all": torch.cat(by_anchor, dim=1).reshape(1, 16, 3, 4)}


def test_scores_are_those_that_a_board_reports() -> None:
    parts = logits()
    head = Head("levels", NAMES, (APART,))
    scores = what_matters(parts, head)[0]
    outputs = {name: Output(part.permute(0, 2, 3, 1).numpy()) for name, part in parts.items()}
    found = candidates(outputs, head, (24, 32), confidence=0.0, multi_label=True)
    assert scores.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(
        np.sort(found.scores), np.sort(scores.numpy().ravel()), rtol=1e-4, atol=1e-6
    )


def test_boxes_count_by_their_best_score_and_in_their_own_size() -> None:
    parts = logits()
    head = Head("levels", NAMES, (APART,))
    scores, centres, sides = what_matters(parts, head)
    best = scores.amax(dim=1, keepdim=True)
    gates = 2 * parts["boxes"].reshape(2, 4, 3, 4).sigmoid()
    size = gates[:, 2:] ** 2 * torch.tensor(ANCHORS).reshape(2, 2, 1, 1)
    torch.testing.assert_close(centres, best * gates[:, :2] * 8 / size)
    torch.testing.assert_close(sides, best * size.log())


@pytest.mark.parametrize("part", ["boxes", "objectness", "classes"])
def test_every_logit_of_a_confident_cell_matters(part: str) -> None:
    parts = {name: value.requires_grad_() for name, value in logits().items()}
    torch.cat(
        [p.flatten() for p in what_matters(parts, Head("levels", NAMES, (APART,)))]
    ).sum().backward()
    assert parts[part].grad is not None
    assert (parts[part].grad != 0).all()


def test_a_box_that_nobody_reports_may_lie_anywhere() -> None:
    parts = logits()
    parts["objectness"][:, :, 0, 0] = -30
    parts = {name: value.requires_grad_() for name, value in parts.items()}
    matter = what_matters(parts, Head("levels", NAMES, (APART,)))
    torch.cat([part.flatten() for part in matter]).sum().backward()
    gradient = parts["boxes"].grad
    assert gradient is not None
    assert gradient[:, :, 0, 0].abs().max() < 1e-9
    assert gradient[:, :, 1, 1].abs().min() > 1e-6


def test_one_tensor_for_all_is_read_as_three() -> None:
    parts = logits()
    apart = what_matters(parts, Head("levels", NAMES, (APART,)))
    together = what_matters(joined(parts), Head("levels", NAMES, (JOINED,)))
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other)


def test_with_one_class_the_score_may_be_the_objectness_alone() -> None:
    parts = logits()
    parts["classes"] = parts["classes"][:, :2]
    head = Head("levels", ("a",), (APART,), single_class_objectness=True)
    scores = what_matters(parts, head)[0]
    torch.testing.assert_close(scores, parts["objectness"].reshape(2, 1, 3, 4).sigmoid())


def test_a_box_without_a_side_is_no_infinity() -> None:
    parts = logits()
    parts["boxes"][:] = -200
    matter = what_matters(parts, Head("levels", NAMES, (APART,)))
    assert all(torch.isfinite(part).all() for part in matter)


@pytest.mark.parametrize("head", [None, Head("rows", NAMES, output="boxes")])
def test_outputs_that_are_not_understood_matter_as_they_are(head: Head | None) -> None:
    parts = logits()
    found = what_matters(parts, head)
    assert all(one is part for one, part in zip(found, parts.values(), strict=True))
