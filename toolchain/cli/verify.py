"""`halfbyte verify`: a quantized model beside its float reference, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.checks import limit_option, model_argument, pictures, threads_option
from toolchain.cli.options import accept_new_option, json_option, targets_of
from toolchain.cli.paths import existing, existing_file, new_folder


@click.command()
@model_argument
@click.option(
    "--against",
    type=existing_file(),
    required=True,
    help="The float .tflite that MODEL was made from.",
)
@click.option("--images", type=existing(), required=True, help="Real pictures.")
@limit_option
@click.option("--target", "target_name", help="Compare this machine with that target too.")
@click.option(
    "--limit-db",
    type=float,
    help="A layer diverges below this SQNR.  [default: 12, with weights of fewer than 8 bits 3]",
)
@click.option(
    "--drop-db",
    type=click.FloatRange(0),
    help="And where it loses at least that much against the worst of its inputs.  [default: 3]",
)
@click.option(
    "--steps",
    type=click.IntRange(0),
    help="Host and target may differ by that many steps of a tensor's scale.  [default: 32]",
)
@click.option(
    "--memory",
    "memory_mb",
    type=click.IntRange(1),
    help="MB of activations looked at at once.  [default: 512; on a target a quarter of what is "
    "free, 256 at most]",
)
@threads_option
@click.option("--all", "every", is_flag=True, help="Show all tensors, not only layers' outputs.")
@click.option(
    "--out",
    type=new_folder(),
    default=Path("verification"),
    show_default=True,
    help="Folder for the result as JSON and as a picture.",
)
@accept_new_option
@json_option
def verify(
    model: Path,
    against: Path,
    images: Path,
    limit: int,
    target_name: str | None,
    limit_db: float | None,
    drop_db: float | None,
    steps: int | None,
    memory_mb: int | None,
    threads: int,
    every: bool,
    out: Path,
    accept_new: bool,
    as_json: bool,
) -> int:
    """Compare MODEL with its float reference, tensor by tensor, on real pictures.

    Names the first layer that diverges: SQNR below --limit-db and at least --drop-db below the
    worst of its inputs'.  With --target the same file also runs there, and the largest difference
    from this machine is told layer by layer.

    \b
    Exit code: 0 no layer diverges, 8 one does, or host and target differ by more than --steps.

    \b
    Examples:
      halfbyte verify models/best-640x640-w8c-a8.tflite \\
          --against models/best-640x640-float32.tflite --images val/
      halfbyte verify models/best-640x640-w8c-a8.tflite --target garage-pi --limit 2 \\
          --against models/best-640x640-float32.tflite --images val/
    """
    from toolchain import checking
    from toolchain.cli.trust import trust

    result = checking.verify(
        checking.Asked(
            model=model,
            against=against,
            images=pictures(images, limit),
            target=None if target_name is None else targets_of([target_name])[0],
            limit_db=limit_db,
            drop_db=drop_db,
            bound_steps=steps,
            memory_bytes=None if memory_mb is None else memory_mb * 1_000_000,
            threads=threads,
        ),
        out,
        trust=trust(accept_new=accept_new),
        progress=console.progress(),
    )
    shown: Any = checking.to_json(result) if as_json else result
    console.show(shown, as_json=as_json, text=lambda found: _drawn(found, every=every))
    return 0 if result.passed else 8


def _drawn(result: Any, *, every: bool) -> Any:
    from rich.console import Group

    parts: list[Any] = [_table(result, every=every)]
    parts += [console.plain_text(line) for line in _sentences(result)]
    return Group(*parts)


def _table(result: Any, *, every: bool) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "layer", "operator"):
        table.add_column(column, justify="right" if not column else "left")
    for column in ("SQNR dB", "lost dB", "mean shift"):
        table.add_column(column, justify="right")
    if result.board is not None:
        table.add_column(f"{result.board.target}: steps", justify="right")
        table.add_column("differ", justify="right")
    there = {} if result.board is None else {b.tensor: b for b in result.board.layers}
    outputs = set(result.outputs)
    for layer in result.host.layers:
        if every or layer.has_weights or layer.diverges or layer.tensor in outputs:
            table.add_row(*_row(layer, there, every=every), style=_style(layer, result))
    return table


def _row(layer: Any, there: dict[str, Any], *, every: bool) -> list[Any]:
    name = layer.tensor if every else layer.layer
    cells = [
        str(layer.operator),
        console.plain_text(name if len(name) <= 48 else "…" + name[-47:]),
        layer.kind + ("" if layer.reader == "value" else f" ({layer.reader})"),
        "exact" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
        f"{layer.drop_db:.1f}" if layer.drop_db else "",
        f"{100 * layer.mean_shift:+.1f} %",
    ]
    if there:
        board = there.get(layer.tensor)
        cells += [str(board.max_steps), f"{board.differing:.1%}"] if board else ["", ""]
    return cells


def _style(layer: Any, result: Any) -> str:
    if layer is result.host.first:
        return "bold red"
    return "yellow" if layer.diverges else ""


def _sentences(result: Any) -> list[str]:
    host, board = result.host, result.board
    rule = f"SQNR below {host.rule.limit_db:g} dB and {host.rule.drop_db:g} dB lost"
    first = host.first
    lines = [f"{len(host.layers)} tensors beside {host.against} on {host.images} pictures"]
    lines += [f"left out {name}: {reason}" for name, reason in host.left_out]
    if host.unmatched:
        lines.append(f"{host.unmatched} tensors have no counterpart of the same name there")
    if first is None:
        lowest = host.lowest
        level = "exact" if lowest.sqnr_db is None else f"{lowest.sqnr_db:.1f} dB"
        lines.append(f"no layer diverges ({rule}); the lowest is {lowest.layer} with {level}")
    else:
        before = "exact" if first.input_sqnr_db is None else f"{first.input_sqnr_db:.1f} dB"
        lines.append(
            f"the first layer that diverges is {first.layer} (operator {first.operator}): "
            f"{first.sqnr_db:.1f} dB, its inputs {before} ({rule})"
        )
    if board is not None:
        lines.append(_board_sentence(board))
    return [*lines, *(f"wrote {path}" for path in result.files)]


def _board_sentence(board: Any) -> str:
    worst, first = board.worst, board.first
    words = f"{board.target} ({board.runtime or 'runtime unknown'}) against this machine: "
    if worst.max_steps == 0:
        return words + "the same codes everywhere"
    words += f"at most {worst.max_steps} steps, at {worst.layer}; "
    if first is None:
        return words + f"the bound is {board.bound_steps}"
    return words + f"first more than {board.bound_steps} at {first.layer} ({first.max_steps})"
