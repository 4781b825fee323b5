"""Reading torch.nn modules that were never run: their parts, arrays and settings, checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from toolchain.detector.folding import (
    Doubles,
    checked_finite,
    checked_variance,
    fold_batch_norm,
)
from toolchain.detector.model import Activation
from toolchain.detector.tree import Array, BoundMethod, Module, printable
from toolchain.errors import CheckpointError, UnsupportedFamily

SUPPORTED = "Supported: YOLOv7, YOLOv7-tiny, YOLOv7x, YOLOv5 n to x, and models trained from them."


def class_name(module: Module) -> str:
    """The class without its module."""
    return module.kind.rpartition(".")[2]


def parts(module: Module) -> dict[str, Module]:
    """Sub-modules by name, in order; absent ones (None) left out."""
    found = module.fields.get("_modules")
    if not isinstance(found, dict):
        return {}
    return {str(name): part for name, part in found.items() if isinstance(part, Module)}


def expect_parts(module: Module, path: str, needed: set[str], maybe: set[str]) -> dict[str, Module]:
    """The parts, where they are those of the class as its authors wrote it.

    Another part would be someone's own addition, whose arithmetic we cannot know.
    """
    found = parts(module)
    if missing := needed - found.keys():
        raise CheckpointError(
            f"{path} ({printable(module.kind)}) has no {', '.join(sorted(missing))}.",
            hint="The file was changed after training; give the one that training wrote.",
        )
    if extra := found.keys() - needed - maybe:
        raise UnsupportedFamily(
            f"{path} ({printable(module.kind)}) has a part of its own: "
            f"{printable(', '.join(sorted(extra)))}.",
            hint=SUPPORTED,
        )
    return found


def array(module: Module, path: str, name: str) -> Doubles | None:
    """A parameter or buffer, widened to float64; None where the module has none of that name.

    Raises NotFinite.
    """
    for group in ("_parameters", "_buffers"):
        found = module.fields.get(group)
        value = found.get(name) if isinstance(found, dict) else None
        if isinstance(value, Array):
            return checked_finite(value.float64(), path, name)
    return None


def needed_array(module: Module, path: str, name: str) -> Doubles:
    """As `array`, where it has to be there.  Raises CheckpointError."""
    value = array(module, path, name)
    if value is None:
        raise CheckpointError(
            f"{path} ({printable(module.kind)}) has no {name}.",
            hint="The file was changed after training; give the one that training wrote.",
        )
    return value


def whole(module: Module, path: str, name: str) -> int:
    """A setting that is one number for both directions.  Raises UnsupportedFamily."""
    value = module.fields.get(name)
    values = set(value) if isinstance(value, list) and value else {value}
    number = values.pop() if len(values) == 1 else None
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if type(number) is not int:
        raise UnsupportedFamily(
            f"{path} has {name} {_short(value)}; only whole numbers, alike in height and width, "
            "are handled.",
            hint=SUPPORTED,
        )
    return number


def expect_setting(module: Module, path: str, name: str, *allowed: Any) -> None:
    """Refuse a module with an unusual setting.  Raises UnsupportedFamily."""
    value = module.fields.get(name, allowed[0])
    plain = set(map(_hashable, value)) if isinstance(value, list) else {_hashable(value)}
    if not plain <= set(allowed):
        raise UnsupportedFamily(
            f"{path} ({printable(module.kind)}) has {name} {_short(value)}.", hint=SUPPORTED
        )


def method_in_force(module: Module) -> str:
    """The name of the method that replaced `forward`; "forward" where none did."""
    replaced = module.fields.get("forward")
    return replaced.name if isinstance(replaced, BoundMethod) else "forward"


def activation_of(module: Module | None, path: str) -> tuple[Activation, float]:
    """Kind and slope.  Raises UnsupportedFamily for one that we do not emit."""
    kind = class_name(module) if module is not None else "Identity"
    if module is None or kind == "Identity":
        return "none", 0.0
    if kind == "SiLU":
        return "silu", 0.0
    if kind == "ReLU":
        return "relu", 0.0
    slope = module.fields.get("negative_slope")
    if kind == "LeakyReLU" and isinstance(slope, float) and 0 < slope < 1:
        return "leaky_relu", slope
    raise UnsupportedFamily(
        f"{path} has the activation {printable(module.kind)}.",
        hint="Handled: SiLU, ReLU, LeakyReLU, none. " + SUPPORTED,
    )


class PlainConvolution(NamedTuple):
    """weight [O, I, k, k], bias [O] if there is one; stride and padding in both directions."""

    weight: Doubles
    bias: Doubles | None
    stride: int
    padding: int


def plain_convolution(module: Module, path: str) -> PlainConvolution:
    """What a Conv2d holds.  Raises UnsupportedFamily for groups and dilation."""
    if class_name(module) != "Conv2d":
        raise UnsupportedFamily(f"{path} is a {printable(module.kind)}.", hint=SUPPORTED)
    expect_setting(module, path, "groups", 1)
    expect_setting(module, path, "dilation", 1)
    expect_setting(module, path, "padding_mode", "zeros")
    weight = needed_array(module, path, "weight")
    if weight.ndim != 4:
        raise CheckpointError(f"{path} has a filter of shape {list(weight.shape)}.")
    return PlainConvolution(
        weight,
        array(module, path, "bias"),
        whole(module, path, "stride"),
        whole(module, path, "padding"),
    )


def with_batch_norm(
    weight: Doubles, bias: Doubles | None, norm: Module | None, path: str
) -> tuple[Doubles, Doubles]:
    """Fold the batch norm after a convolution, if there is one, with its own epsilon."""
    outputs = weight.shape[0]
    if norm is None:
        if bias is None:
            raise CheckpointError(f"{path} has neither a bias nor a batch norm.")
        return weight, bias
    values = batch_norm(norm, path, outputs)
    return fold_batch_norm(weight, bias, **values)


def batch_norm(norm: Module, path: str, channels: int) -> dict[str, Any]:
    """mean, variance, gamma, beta [channels] and eps, as `fold_batch_norm` takes them."""
    if class_name(norm) != "BatchNorm2d":
        raise UnsupportedFamily(f"{path} has a {printable(norm.kind)}.", hint=SUPPORTED)
    eps = norm.fields.get("eps")
    if not isinstance(eps, float) or not 0 <= eps < 1:
        raise CheckpointError(f"{path} has a batch norm with eps {_short(eps)}.")
    arrays = {
        part: needed_array(norm, path, name)
        for part, name in (
            ("mean", "running_mean"),
            ("variance", "running_var"),
            ("gamma", "weight"),
            ("beta", "bias"),
        )
    }
    for part, values in arrays.items():
        if values.shape != (channels,):
            raise CheckpointError(
                f"{path} has {channels} channels, but the {part} of its batch norm has the "
                f"shape {list(values.shape)}."
            )
    checked_variance(arrays["variance"], eps, path)
    return {**arrays, "eps": eps}


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool, type(None))) else repr(type(value))


def _short(value: object) -> str:
    return printable(str(value), 60)
