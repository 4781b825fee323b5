"""What `lint` and `verify` share: a model, its float reference, some pictures."""

from __future__ import annotations

from pathlib import Path

import click

from toolchain.cli.paths import existing_file

model_argument = click.argument("model", type=existing_file())

limit_option = click.option(
    "--limit",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="At most that many of the pictures, evenly spread over them.",
)

threads_option = click.option("--threads", type=click.IntRange(1, 64), default=2, show_default=True)


def pictures(images: Path | None, limit: int) -> tuple[Path, ...]:
    """The pictures at a path.  Raises DataError where there are none."""
    from toolchain.errors import DataError
    from toolchain.evaluate.pictures import SUFFIXES, find_pictures

    if images is None:
        return ()
    found = (images,) if images.is_file() else find_pictures(images)
    if not found:
        raise DataError(f"no picture in {images}", hint=f"Pictures end in {', '.join(SUFFIXES)}.")
    if limit < len(found):
        found = tuple(found[place * len(found) // limit] for place in range(limit))
    return found
