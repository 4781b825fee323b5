"""What a profile would change on a board, and afterwards: whether it is in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from targets.firmware.resolve import Settings, keeps
from targets.firmware.settings import kind_of
from targets.firmware.settings.kind import Row, Seen


@dataclass(frozen=True)
class Difference:
    """A row of a setting, with where the wanted value comes from."""

    row: Row
    origin: str
    needs_reboot: bool

    @property
    def changes(self) -> bool:
        """It would be changed."""
        return self.row.in_force is False


def compare(settings: Settings, seen: Seen) -> tuple[Difference, ...]:
    """One for each value on the board, in the order in which they are put in force.

    A value for one policy counts instead of the one for all of them.
    """
    found = []
    for value in settings.values:
        kind = kind_of(value.key)
        assert kind is not None
        for row in kind.rows(value.key, value.value, seen):
            if not _is_overridden(row, settings):
                found.append(Difference(row, value.origin, kind.needs_reboot))
    return tuple(found)


def unexpected(settings: Settings, seen: Seen) -> list[str]:
    """What the board is not, though it should be: sentences for people."""
    found = []
    for value in settings.expect:
        kind = kind_of(value.key)
        assert kind is not None
        assert isinstance(value.value, tuple)
        for row in kind.rows(value.key, "highest", seen):
            if row.wanted is not None and row.wanted not in value.value:
                wanted = " or ".join(value.value)
                found.append(
                    f"the highest clock of {row.where} is {row.wanted} kHz and not {wanted}: "
                    f"{value.reason}"
                )
    return found


def snapshot(settings: Settings) -> list[str]:
    """Patterns of files that putting these settings in force may change besides.

    None for what is kept: it may move meanwhile, by itself or by somebody, and is not ours to undo.
    """
    kinds = [kind_of(value.key) for value in settings.values if not keeps(value.value)]
    patterns = [pattern for kind in kinds if kind is not None for pattern in kind.snapshot]
    return list(dict.fromkeys(patterns))


def doubts(rows: Sequence[Row]) -> list[str]:
    """What is not in force though it was asked for: sentences for people."""
    found = []
    for row in rows:
        name = f"{row.key} of {row.where}" if row.where else row.key
        if row.in_force is False:
            now = "unknown" if row.now is None else row.now
            why = f" ({row.note})" if row.note else ""
            found.append(f"{name} is {now}, not {row.wanted}{why}")
    return found


def _is_overridden(row: Row, settings: Settings) -> bool:
    single = f"{row.key}.{row.where}"
    return any(value.key == single for value in settings.values)
