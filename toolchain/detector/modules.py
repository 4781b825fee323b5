"""The authors' building blocks, one function a class: from a module to layers of ours.

Source of each class's arithmetic: models/common.py of YOLOv7 (WongKinYiu) and of YOLOv5.
"""

from __future__ import annotations

from collections.abc import Callable

from toolchain.detector.convolutions import bare_conv, conv, focus, rep_conv
from toolchain.detector.graph import GraphBuilder
from toolchain.detector.nodes import (
    SUPPORTED,
    class_name,
    expect_parts,
    expect_setting,
    parts,
    whole,
)
from toolchain.detector.tree import Module, printable
from toolchain.errors import CheckpointError, UnsupportedFamily

Source = str | list[str]
MAX_DEPTH = 12


def add_module(graph: GraphBuilder, module: Module, path: str, source: Source) -> str:
    """Append what a module of the authors' does; the name of the layer with its result.

    Raises UnsupportedFamily (by the class's name), CheckpointError, NotFinite.
    """
    if path.count(".") > MAX_DEPTH:
        raise CheckpointError(f"{path} is nested too deeply.")
    if class_name(module) == "Concat":
        return _concat(graph, module, path, source)
    build = _BUILDERS.get(class_name(module))
    if build is None:
        raise UnsupportedFamily(
            f"{path} is a {printable(module.kind)}, which no supported family has.", hint=SUPPORTED
        )
    if isinstance(source, list):
        raise CheckpointError(f"{path} ({printable(module.kind)}) reads several layers.")
    return build(graph, module, path, source)


def _bottleneck(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    found = expect_parts(module, path, {"cv1", "cv2"}, set())
    inner = _chain(graph, found, path, source, ("cv1", "cv2"))
    return graph.add(f"{path}.add", source, inner) if module.fields.get("add") is True else inner


def _c3(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    found = expect_parts(module, path, {"cv1", "cv2", "cv3", "m"}, set())
    deep = _chain(graph, found, path, source, ("cv1", "m"))
    side = add_module(graph, found["cv2"], f"{path}.cv2", source)
    joined = graph.concatenate(f"{path}.concat", [deep, side])
    return add_module(graph, found["cv3"], f"{path}.cv3", joined)


def _spp(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    found = expect_parts(module, path, {"cv1", "cv2", "m"}, set())
    narrow = add_module(graph, found["cv1"], f"{path}.cv1", source)
    joined = graph.concatenate(f"{path}.concat", [narrow, *_pools(graph, found["m"], path, narrow)])
    return add_module(graph, found["cv2"], f"{path}.cv2", joined)


def _sppf(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    found = expect_parts(module, path, {"cv1", "cv2", "m"}, set())
    pooled = [add_module(graph, found["cv1"], f"{path}.cv1", source)]
    for index in range(3):
        pooled.append(_max_pool(graph, found["m"], f"{path}.m.{index}", pooled[-1]))
    joined = graph.concatenate(f"{path}.concat", pooled)
    return add_module(graph, found["cv2"], f"{path}.cv2", joined)


def _sppcspc(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    found = expect_parts(module, path, {*(f"cv{index}" for index in range(1, 8)), "m"}, set())
    deep = _chain(graph, found, path, source, ("cv1", "cv3", "cv4"))
    joined = graph.concatenate(f"{path}.concat", [deep, *_pools(graph, found["m"], path, deep)])
    deep = _chain(graph, found, path, joined, ("cv5", "cv6"))
    side = add_module(graph, found["cv2"], f"{path}.cv2", source)
    joined = graph.concatenate(f"{path}.concat.1", [deep, side])
    return add_module(graph, found["cv7"], f"{path}.cv7", joined)


def _pools(graph: GraphBuilder, module: Module, path: str, source: str) -> list[str]:
    return [
        add_module(graph, pool, f"{path}.m.{index}", source)
        for index, pool in parts(module).items()
    ]


def _max_pool(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    expect_setting(module, path, "dilation", 1)
    expect_setting(module, path, "ceil_mode", 0)
    expect_setting(module, path, "return_indices", 0)
    size, stride, padding = (
        whole(module, path, name) for name in ("kernel_size", "stride", "padding")
    )
    return graph.max_pool(path, source, size=size, stride=stride, padding=padding)


def _pool_inside(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    inner = expect_parts(module, path, {"m"}, set())["m"]
    return add_module(graph, inner, f"{path}.m", source)


def _upsample(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    expect_setting(module, path, "mode", "nearest")
    expect_setting(module, path, "size", None)
    return graph.upsample(path, source, whole(module, path, "scale_factor"))


def _concat(graph: GraphBuilder, module: Module, path: str, source: Source) -> str:
    expect_setting(module, path, "d", 1)
    return graph.concatenate(path, [source] if isinstance(source, str) else source)


def _sequence(graph: GraphBuilder, module: Module, path: str, source: str) -> str:
    return _chain(graph, parts(module), path, source, tuple(parts(module)))


def _identity(graph: GraphBuilder, module: Module, path: str, source: str) -> str:  # noqa: ARG001
    return source


def _chain(
    graph: GraphBuilder,
    found: dict[str, Module],
    path: str,
    source: str,
    names: tuple[str, ...],
) -> str:
    for name in names:
        source = add_module(graph, found[name], f"{path}.{name}", source)
    return source


_BUILDERS: dict[str, Callable[[GraphBuilder, Module, str, str], str]] = {
    "Conv": conv,
    "Conv2d": bare_conv,
    "RepConv": rep_conv,
    "Focus": focus,
    "Bottleneck": _bottleneck,
    "C3": _c3,
    "SPP": _spp,
    "SPPF": _sppf,
    "SPPCSPC": _sppcspc,
    "MP": _pool_inside,
    "SP": _pool_inside,
    "MaxPool2d": _max_pool,
    "Upsample": _upsample,
    "Sequential": _sequence,
    "Identity": _identity,
}
