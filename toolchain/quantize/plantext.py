"""The plan of a quantization as text that `planfile` reads and people edit."""

from __future__ import annotations

import json

from toolchain.quantize.choice import of_recipe, words_of
from toolchain.quantize.layertable import LayerRow, LayerTable
from toolchain.quantize.planfile import MOST_BUDGET, SCHEMA, VERSION
from toolchain.quantize.recipe import parse


def plan_text(table: LayerTable) -> str:
    """TOML that reruns what `table`, of a record, tells.

    Each layer says its scheme and bits, and what else differs from [default].  What is known of
    it stands behind [[layer]]: shape, share of the weights and of the file, signal to noise of the
    weights, sensitivity.
    """
    usual = of_recipe(parse(table.recipe))
    default = LayerRow(
        layer="",
        shape=None,
        scheme=usual.scheme,
        bits=usual.bits,
        packed_bits=None,
        granularity=words_of(usual.granularity),
        search=usual.search,
        float_output=False,
    )
    parts = [_head(table), _default(default)]
    parts += [_layer(row, default) for row in table.layers]
    return "\n".join(parts)


def _head(table: LayerTable) -> str:
    bits = f", {table.bits_per_weight:.3f} bits per weight" if table.bits_per_weight else ""
    lines = [
        f"# How each layer of {_printable(table.source)} was quantized{bits}.",
        "# Edit it and give it back with --plan; docs/plans.md says what may stand here.",
        f"schema = {_quoted(SCHEMA)}",
        f"version = {VERSION}",
        f"recipe = {_quoted(table.recipe)}",
    ]
    if table.budget is not None:
        lines += [
            "# Bits per weight of the whole file: used where an entropy-coded layer has no bits.",
            f"budget = {min(table.budget, MOST_BUDGET):.6g}",
        ]
    lines.append(f"float_boxes = {_flag(table.float_boxes)}")
    return "\n".join(lines) + "\n"


def _default(row: LayerRow) -> str:
    lines = [
        "# Layers that are not named below, and what a layer of this scheme leaves out.",
        "[default]",
        f"scheme = {_quoted(row.scheme)}",
        *([] if row.bits is None else [_bits(row)]),
        f"granularity = {_quoted(row.granularity)}",
        f"search = {_quoted(row.search)}",
    ]
    return "\n".join(lines) + "\n"


def _layer(row: LayerRow, default: LayerRow) -> str:
    other = row.scheme != default.scheme
    lines = [
        f"[[layer]]  # {_facts(row)}",
        f"name = {_quoted(row.layer)}",
        f"scheme = {_quoted(row.scheme)}",
        _bits(row),
    ]
    if other or row.granularity != default.granularity:
        lines.append(f"granularity = {_quoted(row.granularity)}")
    if other or row.search != default.search:
        lines.append(f"search = {_quoted(row.search)}")
    if row.float_output:
        lines.append("float_output = true")
    return "\n".join(lines) + "\n"


def _facts(row: LayerRow) -> str:
    shape = " x ".join(map(str, row.shape or ()))
    words = [f"{shape:<19}", f"{_percent(row.weight_share)} of weights"]
    words.append(f"{_percent(row.file_share)} of file")
    if row.weight_sqnr_db is not None:
        words.append(f"{row.weight_sqnr_db:5.1f} dB")
    if row.sensitivity is not None:
        words.append(f"sensitivity {row.sensitivity:.1e}")
    return "  ".join(words).rstrip()


def _percent(share: float | None) -> str:
    return "    - %" if share is None else f"{100 * share:5.2f} %"


def _bits(row: LayerRow) -> str:
    bits = row.bits or 0.0
    return f"bits = {max(bits, 1e-4):.4f}" if row.scheme == "entropy" else f"bits = {bits:.0f}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
