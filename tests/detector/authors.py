"""YOLOv7 and YOLOv5 as torch modules under the authors' class names, written for the tests.

They run what the authors' classes run, batch norms, branches and implicit vectors unfolded, so
they are both the writer of checkpoints in the authors' form and the reference for what is read.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolchain.detector.layouts import Row, rows_of

NORM_EPS = 1e-3


class Conv(nn.Module):
    def __init__(self, inputs, outputs, size=1, stride=1, act=None, norm=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm2d(outputs, eps=NORM_EPS)
        self.act = nn.SiLU() if act is None else act

    def forward(self, x):
        x = self.conv(x)
        return self.act(self.bn(x) if hasattr(self, "bn") else x)


class RepConv(nn.Module):
    def __init__(self, inputs, outputs, act=None):
        super().__init__()
        branch = lambda size: nn.Sequential(  # noqa: E731
            nn.Conv2d(inputs, outputs, size, 1, size // 2, bias=False),
            nn.BatchNorm2d(outputs, eps=NORM_EPS),
        )
        self.rbr_identity = nn.BatchNorm2d(inputs, eps=NORM_EPS) if inputs == outputs else None
        self.rbr_dense, self.rbr_1x1 = branch(3), branch(1)
        self.act = nn.SiLU() if act is None else act

    def forward(self, x):
        same = 0 if self.rbr_identity is None else self.rbr_identity(x)
        return self.act(self.rbr_dense(x) + self.rbr_1x1(x) + same)


class Focus(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = Conv(4 * inputs, outputs, 3)

    def forward(self, x):
        rows_columns = [(0, 0), (1, 0), (0, 1), (1, 1)]
        return self.conv(torch.cat([x[..., r::2, c::2] for r, c in rows_columns], 1))


class Bottleneck(nn.Module):
    def __init__(self, channels, shortcut=True):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.add = shortcut

    def forward(self, x):
        inner = self.cv2(self.cv1(x))
        return x + inner if self.add else inner


class C3(nn.Module):
    def __init__(self, inputs, outputs, count=1, shortcut=True):
        super().__init__()
        half = outputs // 2
        self.cv1, self.cv2, self.cv3 = (
            Conv(inputs, half),
            Conv(inputs, half),
            Conv(outputs, outputs),
        )
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(count)))

    def forward(self, x):
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class SPP(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        half = inputs // 2
        self.cv1, self.cv2 = Conv(inputs, half), Conv(4 * half, outputs)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))

    def forward(self, x):
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))


class SPPF(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        half = inputs // 2
        self.cv1, self.cv2 = Conv(inputs, half), Conv(4 * half, outputs)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(self.m(pooled[-1]))
        return self.cv2(torch.cat(pooled, 1))


class SPPCSPC(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        sizes = [1, 1, 3, 1, 1, 3, 1]
        widths = [inputs, inputs, outputs, outputs, 4 * outputs, outputs, 2 * outputs]
        for index, (size, width) in enumerate(zip(sizes, widths, strict=True), 1):
            setattr(self, f"cv{index}", Conv(width, outputs, size))
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))

    def forward(self, x):
        deep = self.cv4(self.cv3(self.cv1(x)))
        deep = self.cv6(self.cv5(torch.cat([deep, *(pool(deep) for pool in self.m)], 1)))
        return self.cv7(torch.cat([deep, self.cv2(x)], 1))


class MP(nn.Module):
    def __init__(self):
        super().__init__()
        self.m = nn.MaxPool2d(2, 2)

    def forward(self, x):
        return self.m(x)


class SP(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.m = nn.MaxPool2d(size, 1, size // 2)

    def forward(self, x):
        return self.m(x)


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.d = 1

    def forward(self, x):
        return torch.cat(x, self.d)


class ReOrg(nn.Module):
    def forward(self, x):
        return torch.cat([x[..., r::2, c::2] for c in (0, 1) for r in (0, 1)], 1)


class ImplicitA(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.implicit = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.02)

    def forward(self, x):
        return self.implicit + x


class ImplicitM(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.implicit = nn.Parameter(1 + torch.randn(1, channels, 1, 1) * 0.02)

    def forward(self, x):
        return self.implicit * x


class Proto(nn.Module):
    def forward(self, x):  # the mask branch: kept in files, never run here
        raise NotImplementedError


class Detect(nn.Module):
    """Gives the raw output of each level, [N, anchors * (5 + classes), H, W]."""

    def __init__(self, classes, anchors, widths, strides):
        super().__init__()
        self.nc, self.no = classes, classes + 5
        self.nl, self.na = len(anchors), len(anchors[0]) // 2
        self.stride = torch.tensor(strides, dtype=torch.float32)
        pixels = torch.tensor(anchors, dtype=torch.float32).view(self.nl, -1, 2)
        self.register_buffer("anchors", pixels / self.stride.view(-1, 1, 1))
        self.grid = [torch.zeros(1)] * self.nl
        self.m = nn.ModuleList(nn.Conv2d(width, self.no * self.na, 1) for width in widths)

    def forward(self, x):
        return [conv(level) for conv, level in zip(self.m, x, strict=True)]


class IDetect(Detect):
    def __init__(self, classes, anchors, widths, strides):
        super().__init__(classes, anchors, widths, strides)
        self.ia = nn.ModuleList(ImplicitA(width) for width in widths)
        self.im = nn.ModuleList(ImplicitM(self.no * self.na) for _ in widths)
        pixels = self.anchors * self.stride.view(-1, 1, 1)
        self.register_buffer("anchor_grid", pixels.view(self.nl, 1, -1, 1, 1, 2))

    def forward(self, x):
        return [
            multiply(conv(add(level)))
            for add, conv, multiply, level in zip(self.ia, self.m, self.im, x, strict=True)
        ]

    def fuseforward(self, x):
        return super().forward(x)


class IAuxDetect(IDetect):
    pass


class Segment(Detect):
    pass


class ISegment(IDetect):
    def forward(self, x):
        return [conv(add(level)) for add, conv, level in zip(self.ia, self.m, x, strict=True)]


class Model(nn.Module):
    def __init__(self, layers: Sequence[nn.Module], sources: Sequence[Any], names: list[str]):
        super().__init__()
        for index, (layer, source) in enumerate(zip(layers, sources, strict=True)):
            layer.i, layer.f = index, source
            layer.type = f"{type(layer).__module__}.{type(layer).__name__}"
        self.model = nn.Sequential(*layers)
        self.names, self.nc = names, len(names)
        self.yaml = {"nc": len(names), "backbone": [], "head": []}
        self.stride = layers[-1].stride

    def forward(self, x):
        made = []
        for layer in self.model:
            f = layer.f
            steps = [f] if isinstance(f, int) else f
            read = [x if step == -1 else made[step] for step in steps]
            x = layer(read[0] if isinstance(f, int) else read)
            made.append(x)
        return x


class SegmentationModel(Model):
    pass


_MODULES = {
    "models.common": (
        Conv, RepConv, Focus, Bottleneck, C3, SPP, SPPF, SPPCSPC, MP, SP, Concat, ReOrg,
        ImplicitA, ImplicitM,
    ),
    "models.yolo": (Detect, IDetect, IAuxDetect, Segment, ISegment, Model, SegmentationModel),
}  # fmt: skip
for _name, _classes in _MODULES.items():
    for _class in _classes:
        _class.__module__ = _name
Proto.__module__ = "models.common"


@contextlib.contextmanager
def as_the_authors() -> Iterator[None]:
    """`models.common` and `models.yolo` can be imported, as pickle asks of a class it writes."""
    made = {name: types.ModuleType(name) for name in ("models", *_MODULES)}
    for name, classes in _MODULES.items():
        for cls in (*classes, Proto):
            setattr(made[name], cls.__name__, cls)
    before = {name: sys.modules.get(name) for name in made}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save(path: Path, content: Any, **how: Any) -> Path:
    """torch.save, with the authors' names for the classes."""
    with as_the_authors():
        torch.save(content, path, **how)
    return path


def load(path: Path) -> Any:
    """torch.load without restrictions: for files whose hash is pinned, and our own, only."""
    with as_the_authors():
        return torch.load(path, map_location="cpu", weights_only=False)


ANCHORS = [
    [12, 16, 19, 36, 40, 28],
    [36, 75, 76, 55, 72, 146],
    [142, 110, 192, 243, 459, 401],
]


def build(
    family: str,
    *,
    width: float = 1.0,
    depth: int = 1,
    names: Sequence[str] = ("a", "b", "c"),
    anchors: Sequence[Sequence[float]] = ANCHORS,
    head: type[Detect] | None = None,
    seed: int = 0,
) -> Model:
    """A model of a family with random weights and batch norms that are no identity.

    width: of all channels, to keep tests small.  depth: bottlenecks in each C3.
    """
    torch.manual_seed(seed)
    rows = rows_of(family)
    widths: list[int] = []
    layers: list[nn.Module] = []
    outputs = iter(_CHANNELS[family])
    act = nn.LeakyReLU(0.1) if family == "yolov7-tiny" else None
    for index, row in enumerate(rows[:-1]):
        read = [widths[step] if index else 3 for step in row.sources]
        layer, channels = _layer(row, read, outputs, width, depth, act, first=index == 0)
        layers.append(layer)
        widths.append(channels)
    cls = head or (Detect if family == "yolov5" else IDetect)
    read = [widths[step] for step in rows[-1].sources]
    layers.append(cls(len(names), anchors, read, [8, 16, 32][: len(anchors)]))
    sources = [row.sources[0] if len(row.sources) == 1 else [*row.sources] for row in rows]
    return shaken(Model(layers, sources, list(names))).eval()


def small(
    head: type[Detect] = Detect,
    *,
    names: Sequence[str] = ("a", "b", "c"),
    anchors: Sequence[Sequence[float]] = ANCHORS,
    levels: int = 3,
    first: nn.Module | None = None,
) -> Model:
    """Seven layers of YOLOv5's first form with a head: files of some 100 kB."""
    torch.manual_seed(1)
    layers: list[nn.Module] = [first or Focus(3, 8), Conv(8, 16, 3, 2), C3(16, 16), SPP(16, 16)]
    layers += [Conv(16, 16, 3, 2) for _ in range(levels)]
    sources = [-1] * len(layers) + [[*range(4, 4 + levels)]]
    strides = [8 << level for level in range(levels)]
    layers.append(head(len(names), anchors, [16] * levels, strides))
    return shaken(Model(layers, sources, list(names))).eval()


def _layer(
    row: Row, read: list[int], outputs: Iterator[int], width: float, depth: int, act: Any,
    *, first: bool,
) -> tuple[nn.Module, int]:  # fmt: skip
    plain = {"cat": Concat, "mp": MP, "up": lambda: nn.Upsample(scale_factor=2, mode="nearest")}
    if row.kind in plain:
        return plain[row.kind](), sum(read)
    if row.kind == "sp":
        return SP(row.size), read[0]
    size, channels = next(outputs)
    channels = max(8, round(channels * width / 8) * 8)
    match row.kind:
        case "c":
            size = 6 if first and size == 6 else size
            return Conv(read[0], channels, size, row.stride, act), channels
        case "rep":
            return RepConv(read[0], channels), channels
        case "c3" | "c3-":
            return C3(read[0], channels, depth, shortcut=row.kind == "c3"), channels
        case "sppf":
            return SPPF(read[0], channels), channels
        case "sppcspc":
            return SPPCSPC(read[0], channels), channels
    raise AssertionError(row)


def shaken(model: nn.Module) -> nn.Module:
    """Batch norms as after training: every statistic away from 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.requires_grad_(requires_grad=False)


def _elan(narrow: int, deep: int, out: int, count: int) -> list[tuple[int, int]]:
    return [(1, narrow)] * 2 + [(3, deep)] * count + [(1, out)]


def _down(channels: int) -> list[tuple[int, int]]:
    return [(1, channels), (1, channels), (3, channels)]


_CHANNELS = {
    "yolov7": [
        (3, 32), (3, 64), (3, 64), (3, 128),
        *_elan(64, 64, 256, 4), *_down(128), *_elan(128, 128, 512, 4), *_down(256),
        *_elan(256, 256, 1024, 4), *_down(512), *_elan(256, 256, 1024, 4),
        (0, 512), (1, 256), (1, 256), *_elan(256, 128, 256, 4),
        (1, 128), (1, 128), *_elan(128, 64, 128, 4),
        *_down(128), *_elan(256, 128, 256, 4), *_down(256), *_elan(512, 256, 512, 4),
        (3, 256), (3, 512), (3, 1024),
    ],
    "yolov7x": [
        (3, 40), (3, 80), (3, 80), (3, 160),
        *_elan(64, 64, 320, 6), *_down(160), *_elan(128, 128, 640, 6), *_down(320),
        *_elan(256, 256, 1280, 6), *_down(640), *_elan(256, 256, 1280, 6),
        (0, 640), (1, 320), (1, 320), *_elan(256, 256, 320, 6),
        (1, 160), (1, 160), *_elan(128, 128, 160, 6),
        *_down(160), *_elan(256, 256, 320, 6), *_down(320), *_elan(512, 512, 640, 6),
        (3, 320), (3, 640), (3, 1280),
    ],
    "yolov7-tiny": [
        (3, 32), (3, 64), *_elan(32, 32, 64, 2), *_elan(64, 64, 128, 2),
        *_elan(128, 128, 256, 2), *_elan(256, 256, 512, 2),
        (1, 256), (1, 256), (1, 256), (1, 256),
        (1, 128), (1, 128), *_elan(64, 64, 128, 2), (1, 64), (1, 64), *_elan(32, 32, 64, 2),
        (3, 128), *_elan(64, 64, 128, 2), (3, 256), *_elan(128, 128, 256, 2),
        (3, 128), (3, 256), (3, 512),
    ],
    "yolov5": [
        (6, 64), (3, 128), (0, 128), (3, 256), (0, 256), (3, 512), (0, 512), (3, 1024),
        (0, 1024), (0, 1024), (1, 512), (0, 512), (1, 256), (0, 256), (3, 256), (0, 512),
        (3, 512), (0, 1024),
    ],
}  # fmt: skip
