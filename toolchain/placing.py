"""What was made, out of the cache: the model, its plan and the plan's picture where they belong."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from targets.files import replaced, write_whole


def place(path: Path, to: Path) -> Path:
    """A copy of `path` at `to`, whole or absent; what is done to it leaves the cache alone."""
    with path.open("rb") as source, replaced(to) as out:
        shutil.copyfileobj(source, out, 1 << 20)
    return to


def place_plan(record: Path, model: Path, *, keep: Path | None = None) -> tuple[Path, Path]:
    """The plan that a record tells, and its picture, beside the model: their paths.

    keep: a file that is not written over, whatever its name.
    """
    from toolchain.quantize import layertable, planfile, plantext
    from toolchain.report import plan_picture

    table = dataclasses.replace(layertable.read(record), source=model.name)
    plan, picture = model.with_suffix(planfile.SUFFIX), model.with_suffix(".plan.svg")
    if keep is None or keep.resolve() != plan.resolve():
        write_whole(plan, plantext.plan_text(table).encode())
    write_whole(picture, plan_picture.picture(table).encode())
    return plan, picture
