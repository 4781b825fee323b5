"""Deploy form to the authors' training form: the inverse of folding, with real weights in it.

Batch norm statistics, RepConv branches and implicit vectors are drawn at random; the rest is then
solved so that the whole computes what the detector computes.
"""

from __future__ import annotations

import torch
from torch import nn

from tests.detector import authors
from toolchain.detector import Detector


def training_form(detector: Detector, family: str) -> authors.Model:
    """`detector` as a model of that family, three anchors a level, three branches, IDetect."""
    anchors = [[size for anchor in level for size in anchor] for level in detector.anchors]
    model = authors.build(family, names=detector.names, anchors=anchors)
    for path, module in model.named_modules():
        if isinstance(module, authors.Conv):
            weight, bias = _held(detector, f"{path}.conv")
            _solve(module.conv, module.bn, weight, bias)
        elif isinstance(module, authors.RepConv):
            _solve_branches(module, *_held(detector, f"{path}.conv"))
    head = model.model[-1]
    path = f"model.{len(model.model) - 1}"
    for level in range(3):
        _solve_head(head, level, *joined_head(detector, path, level))
    return model


def joined_head(detector: Detector, path: str, level: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The head's convolution with its rows as the authors have them, float64."""
    held = [
        _held(detector, f"{path}.{part}.{level}") for part in ("boxes", "objectness", "classes")
    ]
    anchors = len(detector.anchors[0])
    weight = torch.cat([weight.unflatten(0, (anchors, -1)) for weight, _ in held], 1)
    bias = torch.cat([bias.unflatten(0, (anchors, -1)) for _, bias in held], 1)
    return weight.flatten(0, 1), bias.flatten()


def _held(detector: Detector, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    conv = detector.weights[name]
    return torch.tensor(conv.weight).double(), torch.tensor(conv.bias).double()


def _scale(norm: nn.BatchNorm2d) -> torch.Tensor:
    return norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()


def _solve(conv: nn.Conv2d, norm: nn.BatchNorm2d, weight: torch.Tensor, bias: torch.Tensor) -> None:
    scale = _scale(norm)
    conv.weight.copy_(weight / scale.view(-1, 1, 1, 1))
    norm.bias.copy_(bias + norm.running_mean.double() * scale)


def _solve_branches(module: authors.RepConv, weight: torch.Tensor, bias: torch.Tensor) -> None:
    small, norm = module.rbr_1x1
    scale = _scale(norm)
    weight = weight.clone()
    weight[:, :, 1:2, 1:2] -= small.weight.double() * scale.view(-1, 1, 1, 1)
    bias = bias - (norm.bias.double() - norm.running_mean.double() * scale)
    same = module.rbr_identity
    if same is not None:
        scale = _scale(same)
        weight[:, :, 1, 1] -= torch.diag(scale)
        bias = bias - (same.bias.double() - same.running_mean.double() * scale)
    _solve(*module.rbr_dense, weight, bias)


def _solve_head(
    head: authors.IDetect, level: int, weight: torch.Tensor, bias: torch.Tensor
) -> None:
    added = head.ia[level].implicit.double().flatten()
    multiplied = head.im[level].implicit.double().flatten()
    weight = weight / multiplied.view(-1, 1, 1, 1)
    head.m[level].weight.copy_(weight)
    head.m[level].bias.copy_(bias / multiplied - weight[:, :, 0, 0] @ added)
