"""Files with tensors only: the modules around them, put back by the layout of a known family.

A state dict says neither what reads what nor strides, activations or epsilons.  Those are the
same in every model of a family, so a file whose tensors fit a layout is read by it; any other is
refused, since nothing in it says how to run it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from toolchain.detector.layouts import Row, rows_of
from toolchain.detector.nodes import SUPPORTED, parts
from toolchain.detector.tree import Array, Module, listed
from toolchain.errors import NotADetector, UnsupportedFamily

NOTE = "Tensors without modules: read by the layout of the family, with its batch norm epsilon."
_LAYOUT_BY_LAYERS = {106: "yolov7", 122: "yolov7x", 78: "yolov7-tiny", 25: "yolov5"}
_EPS = 1e-3  # both repositories set it on every batch norm (initialize_weights)
_LEAKY_SLOPE = 0.1
_MAX_TENSORS = 20_000
# `module.` comes from DataParallel; the model's own layers are `model.0.`, `model.1.`, ...
_KEY = re.compile(r"(?:^|\.)model\.(\d{1,4})\.(.+)$")


def model_of_state(state: Mapping[Any, Any]) -> Module:
    """A model as if its modules had been in the file.  Raises NotADetector, UnsupportedFamily."""
    layers: dict[int, Module] = {}
    foreign = []
    for key, value in list(state.items())[:_MAX_TENSORS]:
        match = _KEY.search(str(key))
        if match and isinstance(value, Array):
            layer = layers.setdefault(int(match[1]), Module("", {}))
            _place(layer, match[2].split("."), value)
        elif isinstance(value, Array):
            foreign.append(str(key))
    if not layers:
        raise NotADetector(
            f"The file holds no YOLOv7 or YOLOv5 model, but {listed(foreign) or 'no tensors'}.",
            hint="Give the .pt file that the training of YOLOv7 or YOLOv5 wrote.",
        )
    count = max(layers) + 1
    layout = _LAYOUT_BY_LAYERS.get(count)
    if layout is None or foreign:
        raise UnsupportedFamily(
            f"The file holds tensors only, of a model with {count} layers that fits no family.",
            hint="Give the whole checkpoint, with its modules. " + SUPPORTED,
        )
    leaky = layout == "yolov7-tiny"
    made = {
        str(index): _dressed(layers.get(index, Module("", {})), row, leaky=leaky)
        for index, row in enumerate(rows_of(layout))
    }
    sequence = Module("torch.nn.modules.container.Sequential", {"_modules": made})
    return Module("models.yolo.Model", {"_modules": {"model": sequence}})


def _place(layer: Module, path: list[str], value: Array) -> None:
    """Put a tensor under its dotted path."""
    for name in path[:-1]:
        layer = layer.fields.setdefault("_modules", {}).setdefault(name, Module("", {}))
    layer.fields.setdefault("_parameters", {})[path[-1]] = value


def _dressed(layer: Module, row: Row, *, leaky: bool) -> Module:
    """A layer with its class and settings, from the layout."""
    layer.fields["f"] = row.sources[0] if len(row.sources) == 1 else list(row.sources)
    match row.kind:
        case "c":
            _conv(layer, row.stride, leaky=leaky)
        case "rep":
            _rep_conv(layer)
        case "c3" | "c3-":
            _csp(layer, shortcut=row.kind == "c3")
        case "sppf":
            _convs(layer, "SPPF")
            layer.fields["_modules"]["m"] = _pool(5, 1)
        case "sppcspc":
            _convs(layer, "SPPCSPC")
            layer.fields["_modules"]["m"] = _sequence([_pool(size, 1) for size in (5, 9, 13)])
        case "cat":
            _is(layer, "Concat", d=1)
        case "up":
            _is(layer, "Upsample", mode="nearest", size=None, scale_factor=2)
        case "mp":
            _is(layer, "MP", _modules={"m": _pool(2, 2)})
        case "sp":
            _is(layer, "SP", _modules={"m": _pool(row.size, 1)})
        case _:
            _head(layer)
    return layer


def _conv(layer: Module, stride: int = 1, *, leaky: bool = False) -> None:
    _is(layer, "Conv")
    found = parts(layer)
    if "conv" in found:
        _conv2d(found["conv"], stride)
    if "bn" in found:
        _is(found["bn"], "BatchNorm2d", eps=_EPS)
    act = Module("LeakyReLU", {"negative_slope": _LEAKY_SLOPE}) if leaky else Module("SiLU", {})
    layer.fields.setdefault("_modules", {})["act"] = act


def _conv2d(layer: Module, stride: int = 1) -> None:
    weight = layer.fields.get("_parameters", {}).get("weight")
    size = weight.shape[-1] if isinstance(weight, Array) and weight.shape else 1
    _is(layer, "Conv2d", stride=stride, padding=(size - 1) // 2)


def _rep_conv(layer: Module) -> None:
    _is(layer, "RepConv")
    for name, part in parts(layer).items():
        if name == "rbr_reparam":
            _conv2d(part)
        elif name == "rbr_identity":
            _is(part, "BatchNorm2d", eps=_EPS)
        else:
            _is(part, "Sequential")
            for inner in parts(part).values():
                is_norm = "running_mean" in inner.fields.get("_parameters", {})
                _is(inner, "BatchNorm2d", eps=_EPS) if is_norm else _conv2d(inner)
    layer.fields.setdefault("_modules", {})["act"] = Module("SiLU", {})


def _csp(layer: Module, *, shortcut: bool) -> None:
    _convs(layer, "C3")
    sequence = parts(layer).get("m")
    if sequence is not None:
        _is(sequence, "Sequential")
        for block in parts(sequence).values():
            _convs(block, "Bottleneck")
            block.fields["add"] = shortcut


def _convs(layer: Module, kind: str) -> None:
    _is(layer, kind, _modules=layer.fields.get("_modules", {}))
    for name, part in parts(layer).items():
        if name.startswith("cv"):
            _conv(part)


def _head(layer: Module) -> None:
    found = parts(layer)
    kind = "Segment" if "proto" in found else "Detect"
    _is(layer, "I" + kind if "ia" in found else kind)
    for conv in parts(found["m"]).values() if "m" in found else ():
        _conv2d(conv)


def _pool(size: int, stride: int) -> Module:
    padding = size // 2 if stride == 1 else 0
    return Module("MaxPool2d", {"kernel_size": size, "stride": stride, "padding": padding})


def _sequence(layers: list[Module]) -> Module:
    return Module("ModuleList", {"_modules": {str(i): layer for i, layer in enumerate(layers)}})


def _is(layer: Module, kind: str, **fields: Any) -> None:
    layer.kind = kind
    layer.fields.update(fields)
