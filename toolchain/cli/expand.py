"""`halfbyte expand`: packed models as ordinary ones, for any runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import json_option
from toolchain.cli.paths import existing_file, new_file


@click.command()
@click.argument("model", type=existing_file())
@click.option(
    "-o",
    "--out",
    type=new_file(),
    help="The file to write.  [default: MODEL-expanded.tflite beside it]",
)
@json_option
def expand(model: Path, out: Path | None, as_json: bool) -> None:
    """Turn MODEL, packed or INT4, into an ordinary .tflite for any runtime.

    With packed models halfbyte's own commands do so by themselves, on the board. An example that
    runs the file without halfbyte, run_without_halfbyte.py, is put beside it.

    \b
    Example:
      halfbyte expand models/yolov5s-seg-480x640-w4e-a8.tflite -o yolov5s.tflite
    """
    from toolchain import example
    from toolchain.tflite.expanding import expand_file

    result = expand_file(model, out or model.with_name(f"{model.stem}-expanded.tflite"))
    example.place(result.path.parent)
    console.show(result, as_json=as_json, text=_text)


def _text(result: Any) -> str:
    return console.printable(
        f"{result.filters} filters expanded: {result.packed_bytes / 1e6:.2f} MB became "
        f"{result.file_bytes / 1e6:.2f} MB in {result.path}"
    )
