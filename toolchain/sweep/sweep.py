"""The whole of `halfbyte sweep`: measured, put together, drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from targets.errors import CheckFailed, HalfbyteError
from targets.files import write_whole
from targets.progress import SILENT, Progress
from targets.target import Target
from toolchain.evaluate.truth import Dataset
from toolchain.measuring import Measuring, Trust
from toolchain.subject import Subject
from toolchain.sweep import written
from toolchain.sweep.conduct import conduct
from toolchain.sweep.grid import Asked, LeftOut
from toolchain.sweep.picture import picture
from toolchain.sweep.results import Results, results


@dataclasses.dataclass(frozen=True)
class Swept:
    """files: sweep.json, sweep.csv and, where there is a speed and an accuracy, sweep.svg.

    faults: what cut runs short, first those of single runs.
    """

    folder: Path
    results: Results
    left_out: tuple[LeftOut, ...]
    files: tuple[Path, ...]
    faults: tuple[HalfbyteError, ...]


def sweep(
    subjects: Sequence[Subject],
    target: Target,
    dataset: Dataset,
    measuring: Measuring,
    asked: Asked,
    out: Path,
    *,
    command: Sequence[str] = (),
    trust: Trust | None = None,
    progress: Progress = SILENT,
) -> Swept:
    """Models by threads by power modes on one target; what `out` has whole is not measured again.

    Raises CheckFailed where no combination could be measured, LabelsDisagree, RunFolderError, and
    errors of the connection and the board before the first figure.
    """
    from toolchain.evaluate.classes import match_classes

    for subject in subjects:
        if subject.head is not None:
            match_classes(subject.meta.names, dataset)
    done = conduct(
        subjects,
        target,
        dataset,
        measuring,
        asked,
        out,
        command=command,
        trust=trust,
        progress=progress,
    )
    found = results(out, done.measured, progress=progress)
    if found is None:
        if done.faults:
            raise done.faults[0]
        reasons = list(dict.fromkeys(one.reason for one in done.left_out))
        raise CheckFailed(
            f"no combination could be measured: {'; '.join(reasons)}",
            hint="`halfbyte target check` shows CPUs and power mode of the board.",
        )
    files = {
        "sweep.json": written.to_json(found, done.left_out, command),
        "sweep.csv": written.to_csv(found),
        "sweep.svg": picture(found),
    }
    paths = []
    for name, content in files.items():
        if content is not None:
            write_whole(out / name, content.encode("utf-8", "replace"))
            paths.append(out / name)
    return Swept(out, found, done.left_out, tuple(paths), done.faults)
