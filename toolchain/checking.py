"""A quantized model checked against its float reference here, and against a board if asked to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.files import write_whole
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.tflite import layerwise

if TYPE_CHECKING:
    from toolchain.boardcheck import BoardCheck
    from toolchain.measuring import Trust


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to compare.  target None: host only.

    limit_db, drop_db None: `layerwise.default_rule`.  bound_steps, memory_bytes None: the defaults
    of `layerwise` and `boardcheck`.
    """

    model: Path
    against: Path
    images: tuple[Path, ...]
    target: Target | None = None
    limit_db: float | None = None
    drop_db: float | None = None
    bound_steps: int | None = None
    memory_bytes: int | None = None
    threads: int = 2


@dataclasses.dataclass(frozen=True)
class Checked:
    """The comparisons.  outputs: names of the model's outputs.  files: what was written."""

    host: layerwise.Verification
    board: BoardCheck | None
    outputs: tuple[str, ...]
    files: tuple[Path, ...] = ()

    @property
    def passed(self) -> bool:
        """No layer diverges, and the board stays within its bound."""
        return self.host.first is None and (self.board is None or self.board.first is None)


def verify(
    asked: Asked, out: Path, *, trust: Trust | None = None, progress: Progress = SILENT
) -> Checked:
    """Compare, and write `verification.json` and `layers.svg` into `out`.

    Raises the errors of `layerwise.verify` and `boardcheck.check`.
    """
    view = layerwise.view_of(asked.model, asked.model.read_bytes())
    host = layerwise.verify(
        asked.model,
        asked.against,
        asked.images,
        rule=_rule(asked, layerwise.default_rule(view)),
        threads=asked.threads,
        memory_bytes=asked.memory_bytes or layerwise.MEMORY_BYTES,
        progress=progress,
    )
    board = None
    if asked.target is not None:
        from toolchain import boardcheck

        board = boardcheck.check(
            asked.model,
            asked.target,
            asked.images,
            bound_steps=(
                boardcheck.BOUND_STEPS if asked.bound_steps is None else asked.bound_steps
            ),
            memory_bytes=asked.memory_bytes,
            trust=trust,
            progress=progress,
        )
    found = Checked(host, board, tuple(view.name(tensor) for tensor in view.outputs))
    return dataclasses.replace(found, files=_written(found, out))


def to_json(found: Checked) -> dict[str, Any]:
    """`layerwise.to_json` with "board": None, or the fields of `BoardCheck` and its `first`."""
    document = layerwise.to_json(found.host)
    board = found.board
    if board is not None:
        first = None if board.first is None else board.first.tensor
        document["board"] = {"first": first, **dataclasses.asdict(board)}
    return {"board": None, **document, "passed": found.passed}


def _rule(asked: Asked, default: layerwise.Rule) -> layerwise.Rule:
    return layerwise.Rule(
        default.limit_db if asked.limit_db is None else asked.limit_db,
        default.drop_db if asked.drop_db is None else asked.drop_db,
    )


def _written(found: Checked, out: Path) -> tuple[Path, ...]:
    from toolchain.report import depth

    data = json.dumps(to_json(found), indent=1, allow_nan=False).encode() + b"\n"
    paths = out / "verification.json", out / "layers.svg"
    for path, content in zip(paths, (data, depth.picture(found.host).encode()), strict=True):
        write_whole(path, content)
    return paths
