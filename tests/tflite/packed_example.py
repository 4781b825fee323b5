"""The worked example of docs/packed-format.md; run as a module it prints that part again.

python -m tests.tflite.packed_example [--write]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from targets.agent import expand
from targets.agent.expand_model import Expansion, Model
from toolchain.quantize import coded
from toolchain.tflite.compose import Graph
from toolchain.tflite.elements import INT8, INT32
from toolchain.tflite.packed import pack

PAGE = Path(__file__).parents[2] / "docs" / "packed-format.md"
BEGIN, END = "<!-- example: begin -->\n", "<!-- example: end -->\n"
CODES = np.array([[1, -2, 3], [-4, 5, -8]], np.int8).reshape(2, 1, 1, 3)
SCALES = np.array([0.5, 0.25], np.float32)
INPUT_SCALE = 0.125


def packed() -> bytes:
    """A 1x1 convolution of 3 channels to 2, its six weights as nibbles."""
    graph = Graph()
    x = graph.tensor("x", (1, 1, 1, 3), INT8, scale=INPUT_SCALE)
    zeros = np.zeros(2, np.int64)
    w = graph.constant("w", CODES, INT8, scale=SCALES, zero_point=zeros)
    bias = np.array([7, -7], np.int32)
    b = graph.constant("b", bias, INT32, scale=SCALES * INPUT_SCALE, zero_point=zeros)
    y = graph.tensor("y", (1, 1, 1, 2), INT8, scale=0.5)
    options = schema.Conv2DOptionsT(
        padding=schema.Padding.VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
    )
    graph.operator("CONV_2D", [x, w, b], [y], options, version=3)
    return pack(graph.model([x], [y]), {w: coded.Nibbles(CODES)})


def dump(data: bytes) -> str:
    """Offset, 16 bytes in hexadecimal, and what of them is text."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {row.hex(' '):47}  {text}")
    return "\n".join(lines)


def places(data: bytes, expansion: Expansion) -> Iterator[tuple[int, bytes, str]]:
    """(byte, bytes, meaning) of what expanding reads of the example, in the file's order."""
    model = Model(data)
    model.open()
    graph = model.graphs[0]
    operator, tensors = model.operators[0][0], model.tensors[0]
    (output,), (codes,) = operator.integers(2), operator.integers(1)
    bias = tensors[model.operators[0][1].integers(1)[2]]
    found: list[tuple[int, int, str]] = []

    def vector(table: Any, slot: int, size: int, meaning: str) -> None:
        start, count = table.span(slot, size)
        found.append((start, count * size, meaning))

    def length(table: Any, slot: int, meaning: str) -> None:
        found.append((table.span(slot, 4)[0] - 4, 4, meaning))

    def field(table: Any, slot: int, size: int, meaning: str) -> None:
        found.append((table.place(slot, size), size, meaning))

    length(model.root, 1, "operator codes: two, `HalfbyteExpand` the last")
    length(model.root, 4, "buffers")
    field(graph, 3, 4, "distance to the operators")
    length(graph, 0, "tensors: five, the codes the last")
    length(graph, 3, "operators: two, the one that expands first")
    vector(operator, 5, 1, "options: version 1, codec 2 (nibbles), kind 0 (int8), group size 0")
    field(tensors[output], 2, 4, "buffer of tensor `w`: none")
    vector(tensors[output], 0, 4, "shape of tensor `w`: 2 x 1 x 1 x 3")
    field(tensors[codes], 2, 4, "buffer of tensor `codes`")
    buffer = model.buffer_of(tensors[codes])
    field(buffer, 0, 4, "distance to that buffer's bytes")
    vector(buffer, 0, 1, "six codes: 1, -2, 3, -4, 5, -8")
    quantization = bias.table(4)
    assert quantization is not None
    field(quantization, 2, 4, "distance to the scales of bias `b`, of which there are none")
    for at, size, meaning in sorted(found):
        yield at, data[at : at + size], meaning


def patched(expansion: Expansion) -> Iterator[tuple[int, bytes, bytes]]:
    """(byte, what is there, what expanding writes there), in the file's order."""
    for at, content in sorted(expansion.patches):
        yield at, bytes(expansion.data[at : at + len(content)]), content


def added(expansion: Expansion, plain: bytes) -> Iterator[tuple[int, bytes, str]]:
    """(byte, bytes, meaning) of what lies behind the kept bytes."""
    for at, content in sorted(expansion.added):
        if len(content) > 4:
            yield at, content, "2 scales of the bias: 0.125 x 0.5 and 0.125 x 0.25"
        else:
            yield at, content, "length of the filter"
    for item in expansion.filters:
        yield item.at, plain[item.at : item.at + item.size_bytes], "the filter, int8"


def markdown() -> str:
    """The part of the document."""
    data = packed()
    expansion = expand.read(data)
    assert expansion is not None
    ((_, kept),) = expansion.kept
    lines = [f"{len(data)} bytes:", "", "```", dump(data), "```", ""]
    lines += ["| byte | there | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| {at:04x} | `{there.hex(' ')}` | {m} |" for at, there, m in places(data, expansion)
    ]
    lines += ["", f"Expanding keeps the first {kept} bytes, and writes in them:", ""]
    lines += ["| byte | there | becomes |", "| --- | --- | --- |"]
    lines += [
        f"| {at:04x} | `{old.hex(' ')}` | `{new.hex(' ')}` |" for at, old, new in patched(expansion)
    ]
    lines += ["", f"Behind them, up to byte {expansion.total_bytes:x}:", ""]
    lines += ["| byte | bytes | meaning |", "| --- | --- | --- |"]
    plain = expand.to_bytes(expansion)
    lines += [f"| {at:04x} | `{new.hex(' ')}` | {m} |" for at, new, m in added(expansion, plain)]
    return "\n".join(lines) + "\n"


def part_of(page: str) -> tuple[str, str, str]:
    """The document before the example, the example, and what follows."""
    before, rest = page.split(BEGIN)
    part, after = rest.split(END)
    return before, part, after


if __name__ == "__main__":
    if "--write" in sys.argv:
        before, _, after = part_of(PAGE.read_text())
        PAGE.write_text(before + BEGIN + markdown() + END + after)
    else:
        print(markdown(), end="")
