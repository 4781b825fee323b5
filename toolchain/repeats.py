"""Which runs of a folder repeat each other."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.recorded import Run


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of the same model on the same target that were asked the same, whatever their keys.

    Groups in the order in which they were begun, in each the whole runs first.
    """
    groups: list[list[Run]] = []
    for run in runs:
        same = next((group for group in groups if group[0].meta == run.meta), None)
        if same is None:
            groups.append([run])
        else:
            same.append(run)
    return [sorted(group, key=lambda run: not run.whole) for group in groups]


def counted(group: Sequence[Run]) -> list[Run]:
    """Those of one group that figures are made from: the whole ones, or the first alone."""
    return [run for run in group if run.whole] or [group[0]]
