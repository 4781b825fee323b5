"""The detector as a torch module: the float reference, and what ONNX is exported from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolchain.detector.model import (
    IMAGES,
    Add,
    Concatenate,
    Convolution,
    Detector,
    Layer,
    MaxPool,
    Upsample,
    output_layers,
)
from toolchain.errors import MissingExtra

if TYPE_CHECKING:
    import torch


def to_torch(detector: Detector) -> torch.nn.Module:
    """A module in eval mode: float32 RGB [N, 3, H, W] in 0 to 1, H and W multiples of 32.

    Returns a tuple in the order of `output_names`, of raw logits: boxes [N, 4A, H/s, W/s],
    objectness [N, A, H/s, W/s], classes [N, C*A, H/s, W/s].  Weights are shared with the detector
    where torch allows, so do not train it.  Raises MissingExtra without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra(
            "This needs torch, which is not installed.",
            hint="Install the group that makes models: pip install 'halfbyte[convert]'.",
        ) from error

    class Network(torch.nn.Module):  # type: ignore[misc]
        """Runs the layers in their order; each has its module under the layer's dotted name."""

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
    """Under its dotted name, so that parameters and exported nodes are called by it."""
    import torch

    *folders, last = name.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, torch.nn.Module())
        root = root._modules[folder]
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

    held = detector.weights[layer.name]
    outputs, inputs, size, _ = held.weight.shape
    conv = torch.nn.utils.skip_init(
        torch.nn.Conv2d, inputs, outputs, size, layer.stride, layer.padding
    )
    conv.weight.data = torch.from_numpy(held.weight.copy())
    conv.bias.data = torch.from_numpy(held.bias.copy())
    activation = {
        "silu": torch.nn.SiLU,
        "relu": torch.nn.ReLU,
        "leaky_relu": lambda: torch.nn.LeakyReLU(layer.slope),
    }.get(layer.activation)
    return conv if activation is None else torch.nn.Sequential(conv, activation())
