"""The detector as a torch module: the float reference, and what ONNX is exported from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolchain.detector.model import (
    IMAGES,
    Activation,
    Add,
    Concatenate,
    Convolution,
    Detector,
    Layer,
    MaxPool,
    Upsample,
    output_layers,
)
from toolchain.errors import INSTALL, MissingExtra

if TYPE_CHECKING:
    import torch


def to_torch(detector: Detector) -> torch.nn.Module:
    """A module in eval mode: float32 RGB [N, 3, H, W] in 0 to 1, H and W multiples of 32.

    Returns a tuple in the order of `output_names`, of raw logits: boxes [N, 4A, H/s, W/s],
    objectness [N, A, H/s, W/s], classes [N, A*C, H/s, W/s].  Raises MissingExtra without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra(
            "This needs torch, which is not installed.",
            hint=INSTALL,
        ) from error

    class Network(torch.nn.Module):  # type: ignore[misc]
        """Runs the layers in their order; each module lies under its layer's dotted name."""

        def __init__(self) -> None:
            super().__init__()
            self._order = []
            for layer in detector.layers:
                module = _module(layer, detector)
                if module is not None:
                    _place(self, layer.name, module)
                self._order.append((layer, module))

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            values = {IMAGES: images}
            for layer, module in self._order:
                match layer:
                    case Concatenate(name, sources):
                        values[name] = torch.cat([values[source] for source in sources], 1)
                    case Add(name, (first, second)):
                        values[name] = values[first] + values[second]
                    case Convolution() | MaxPool() | Upsample():
                        values[layer.name] = module(values[layer.source])
            return tuple(values[name] for name in output_layers(detector))

    return Network().eval().requires_grad_(requires_grad=False)


def _place(root: Any, name: str, module: Any) -> None:
    """By dotted name, so that parameters are called as the detector's layers are."""
    import torch

    *folders, last = name.split(".")
    for folder in folders:
        if folder not in dict(root.named_children()):
            root.add_module(folder, torch.nn.Module())
        root = root.get_submodule(folder)
    root.add_module(last, module)


def _module(layer: Layer, detector: Detector) -> Any:
    import torch

    match layer:
        case Convolution():
            return _convolution(layer, detector)
        case MaxPool(_, _, size, stride, padding):
            return torch.nn.MaxPool2d(size, stride, padding)
        case Upsample(_, _, factor):
            return torch.nn.Upsample(scale_factor=float(factor), mode="nearest")
        case _:
            return None


def _convolution(layer: Convolution, detector: Detector) -> Any:
    import torch
    from torch.nn import functional

    activations: dict[Activation, Callable[[Any], Any]] = {
        "none": lambda x: x,
        "silu": functional.silu,
        "relu": functional.relu,
        "leaky_relu": lambda x: functional.leaky_relu(x, layer.slope),
    }
    activate = activations[layer.activation]

    class ActivatedConv2d(torch.nn.Conv2d):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return activate(super().forward(x))

    held = detector.weights[layer.name]
    outputs, inputs, size, _ = held.weight.shape
    conv = torch.nn.utils.skip_init(
        ActivatedConv2d, inputs, outputs, size, layer.stride, layer.padding
    )
    conv.weight.data = torch.from_numpy(held.weight.copy())
    conv.bias.data = torch.from_numpy(held.bias.copy())
    return conv
