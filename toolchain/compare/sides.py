"""What is compared: the models of run folders, each with all the runs that repeat it."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from targets.agent import wire
from targets.errors import InputError
from toolchain.evaluate.truth import Dataset
from toolchain.recorded import Recorded, Run
from toolchain.repeats import counted, grouped
from toolchain.report.figures import Doubt, RunFigures
from toolchain.report.summarise import summarise
from toolchain.report.text import clean, name_of
from toolchain.report.timeline import starts
from toolchain.runs import RunFolder


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One model on one target.

    runs: asked the same of the same model, the first whole one first.  figures, doubts: as a report
    of the folder has them.  dataset: None where it ran without pictures.  others: of other folders,
    whose runs are among `runs`.
    """

    folder: Path
    runs: tuple[Run, ...]
    figures: RunFigures
    doubts: tuple[Doubt, ...]
    dataset: Dataset | None
    others: tuple[Side, ...] = ()

    @property
    def run(self) -> Run:
        """The run that speaks for all in what does not change from run to run."""
        return self.runs[0]

    @property
    def key(self) -> str:
        """What the run is called in its folder."""
        return self.run.key

    @property
    def name(self) -> str:
        """For people: weights, recipe, target."""
        figures = self.figures
        words = [name_of(figures), f"on {clean(figures.target.name)}"]
        if figures.model.recipe is not None:
            words.insert(0, clean(figures.model.weights))
        return " ".join(words)


@dataclasses.dataclass(frozen=True)
class Named:
    """FOLDER, or FOLDER:RUNKEY, as given."""

    folder: Path
    key: str | None = None


def named(text: str) -> Named:
    """A path as it is where there is one of that name; else what follows the last colon is a key.

    Raises InputError where neither is there.
    """
    if Path(text).exists():
        return Named(Path(text))
    folder, colon, key = text.rpartition(":")
    if colon and key and Path(folder).exists():
        return Named(Path(folder), key)
    raise InputError(
        f"there is no run folder {text}",
        hint="Name the folder that was given as --out, or FOLDER:RUN; `halfbyte runs list` "
        "shows those that are known.",
    )


def sides(wanted: Named) -> list[Side]:
    """Every model of a folder, in the order in which they ran, or the one named.

    Raises RunFolderError; InputError: no run, or no such key.
    """
    recorded = RunFolder.open(wanted.folder).load()
    groups = [counted(group) for group in grouped(recorded.runs)]
    if not groups:
        raise InputError(
            f"{wanted.folder} holds no run: it was stopped before the first began",
            hint="Run the command in it again, or name another folder.",
        )
    if wanted.key is not None:
        groups = [_chosen(groups, wanted.key, wanted.folder)]
    return _of_groups(wanted.folder, recorded, groups)


def one_side(wanted: Named) -> Side:
    """The only model there, or the one named.  Raises InputError where there are several."""
    found = sides(wanted)
    if len(found) > 1:
        raise InputError(
            f"{wanted.folder} holds several models",
            hint=f"Name one: {', '.join(f'{wanted.folder}:{side.key}' for side in found[:4])}.",
        )
    return found[0]


def more(side: Side, others: Sequence[Side]) -> Side:
    """The same with the runs of other folders, of the same model.  Raises InputError: another."""
    for other in others:
        if other.run.meta.model.sha256 != side.run.meta.model.sha256:
            raise InputError(
                f"{other.folder} holds {other.name}, which is another file than {side.name} of "
                f"{side.folder}",
                hint="Only runs of the same model file repeat each other.",
            )
    runs = (*side.runs, *(run for other in others for run in other.runs))
    return dataclasses.replace(side, runs=runs, others=tuple(others))


def boot_of(run: Run, kind: type[Any]) -> tuple[str | None, int]:
    """The boot in which records of this kind were told, and when the first start that told some
    began there (the board's monotonic clock).  None: several boots, or it is not known.
    """
    told = [part for part in starts(run.records) if any(isinstance(e.record, kind) for e in part)]
    boots = {_boot(part) for part in told}
    return (boots.pop() if len(boots) == 1 else None), (told[0][0].monotonic_ns if told else 0)


def _boot(start: Sequence[wire.Envelope]) -> str | None:
    hello = next((e.record for e in start if isinstance(e.record, wire.Hello)), None)
    return start[0].boot if hello is None or hello.boot_id is None else hello.boot_id


def _chosen(groups: list[list[Run]], key: str, folder: Path) -> list[Run]:
    """By its key, or by its recipe where only one model has it."""
    for group in groups:
        if any(run.key == key for run in group):
            return group
    named_so = [g for g in groups if key in (g[0].meta.model.recipe, g[0].key.partition("@")[0])]
    if len(named_so) == 1:
        return named_so[0]
    keys = [run.key for group in groups for run in group]
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.3) or keys[:5]
    raise InputError(
        f"{folder} holds no run {key}" if not named_so else f"several runs in {folder} are {key}",
        hint=f"It holds {', '.join(near)}.",
    )


def _of_groups(folder: Path, recorded: Recorded, groups: list[list[Run]]) -> list[Side]:
    """Figures as a report has them."""
    report = summarise(recorded)
    figures = {run.key: run for run in report.runs}
    return [
        Side(
            folder,
            tuple(group),
            figures[group[0].key],
            tuple(d for d in report.doubts if not d.runs or group[0].key in d.runs),
            recorded.dataset,
        )
        for group in groups
    ]
