"""Which model is compared with which."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from targets.errors import InputError
from toolchain.compare.sides import Named, Side, more, one_side, sides
from toolchain.compare.verdicts import Pair, judge
from toolchain.report.scored import comparable


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """All pairs.  alone: names of models that had nothing to be compared with."""

    pairs: tuple[Pair, ...]
    alone: tuple[str, ...] = ()

    @property
    def different(self) -> bool:
        """Whether some figure of some pair really differs."""
        return any(pair.different for pair in self.pairs)


def compare(
    a: Named, b: Named, more_a: Sequence[Named] = (), more_b: Sequence[Named] = ()
) -> Comparison:
    """Models of two folders, each with the one that it is another run or another form of.

    One model on either side: those two.  Else those of the same weights and recipe.
    more_a, more_b: runs that repeat those of `a` and `b`, which then are one model each.

    Raises RunFolderError; InputError: no model of one is in the other.
    """
    if more_a or more_b:
        ours, theirs = (
            more(one_side(first), [one_side(other) for other in others])
            for first, others in ((a, more_a), (b, more_b))
        )
        return Comparison((judge(ours, theirs),))
    return _compared(sides(a), sides(b))


def within(folder: Named) -> Comparison:
    """Every model of a folder with the float model on the same target, or else with the first.

    Raises RunFolderError; InputError: there is only one.
    """
    found = sides(Named(folder.folder))
    if folder.key is not None:
        chosen = one_side(folder).key
        picked = [side for side in found if side.key == chosen]
    else:
        picked = found
    pairs = []
    for side in picked:
        other = _reference(side, found)
        if other is not None:
            pairs.append(judge(other, side))
    if not pairs:
        raise InputError(
            f"{folder.folder} holds one model: there is nothing to compare it with",
            hint="Name two run folders, or two models as FOLDER:RUN.",
        )
    return Comparison(tuple(pairs))


def _compared(ours: Sequence[Side], theirs: Sequence[Side]) -> Comparison:
    if len(ours) == len(theirs) == 1:
        return Comparison((judge(ours[0], theirs[0]),))
    left = list(theirs)
    pairs, alone = [], []
    for side in ours:
        alike = [other for other in left if _kind(other) == _kind(side)]
        here = [other for other in alike if _target(other) == _target(side)]
        other = next(iter(here or alike), None)
        if other is None:
            alone.append(f"A: {side.name}")
        else:
            left.remove(other)
            pairs.append(judge(side, other))
    if not pairs:
        keys = ", ".join(f"{side.folder}:{side.key}" for side in (ours[0], theirs[0]))
        raise InputError(
            "no model is in both folders",
            hint=f"Name one of each as FOLDER:RUN, such as {keys}.",
        )
    alone += [f"B: {side.name}" for side in left]
    return Comparison(tuple(pairs), tuple(alone))


def _kind(side: Side) -> tuple[object, ...]:
    model = side.run.meta.model
    return model.weights, model.recipe or model.sha256, model.imgsz


def _target(side: Side) -> str:
    return side.run.meta.target.name


def _reference(side: Side, every: Sequence[Side]) -> Side | None:
    """The float model where there is one; without any the first of the folder."""
    alike = [other for other in every if comparable(other.run) == comparable(side.run)]
    floats = [other for other in alike if other.figures.is_float] or alike[:1] or [every[0]]
    return floats[0] if floats[0] is not side else None
