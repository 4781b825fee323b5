"""What a board was set to around its runs, in words and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.report.figures import Doubt, RunFigures
from toolchain.runmeta import BoardSettings, SettingMeta


def doubts(told: BoardSettings | None) -> Iterator[Doubt]:
    """What was asked for and is not in force; what was not the same before and after."""
    if told is None:
        return
    for sentence in told.doubts:
        yield Doubt("settings", f"Settings: {sentence}.")
    unknown = [row for row in told.settings if row.during is not None and row.after is None]
    if told.profile is not None and unknown:
        yield Doubt(
            "settings-unknown",
            f"What {_listed(unknown)} is now is not known: nobody read it after the run.",
        )
    if told.permit:
        yield Doubt("not-permitted", told.permit, "note")
    for row in told.settings:
        if row.before is None or row.after is None or row.before == row.after:
            continue
        changed = f"{name(row)} was {row.before} before and is {row.after} after"
        if told.profile is None:
            yield Doubt("settings-changed", f"Somebody changed a setting meanwhile: {changed}.")
        else:
            yield Doubt("settings-not-put-back", f"A setting was not put back: {changed}.")


def _listed(rows: Sequence[SettingMeta]) -> str:
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return ", ".join(map(name, rows[:3])) + more


def name(row: SettingMeta) -> str:
    """Of a setting, with the place where there are several: "cpu.governor of policy4"."""
    return f"{row.key} of {row.where}" if row.where else row.key


def words(told: BoardSettings) -> str:
    """One line: what was in force."""
    if told.profile is None:
        known = [f"{name(row)} {row.during}" for row in told.settings if row.during is not None]
        return f"settings as found: {', '.join(known)}" if known else ""
    rows = [row for row in told.settings if row.wanted is not None]
    if not rows:
        return f"profile {told.profile}: this board has none of its settings"
    return f"profile {told.profile} of {told.board}: {', '.join(map(_put, rows))}"


def tables(runs: Sequence[RunFigures]) -> list[tuple[str, BoardSettings, list[SettingMeta]]]:
    """Each kind of settings once: whose they were (runs' keys left to the caller), and its rows.

    Rows that the board lacks are left out.
    """
    found: dict[BoardSettings, str] = {}
    for run in runs:
        if run.board_settings is not None:
            found.setdefault(run.board_settings, run.key)
    kept = []
    for told, key in found.items():
        rows = [r for r in told.settings if r.during is not None or r.wanted is not None]
        if rows:
            kept.append((key, told, rows))
    return kept


def _put(row: SettingMeta) -> str:
    now = row.during if row.during is not None else "unknown"
    if row.during != row.wanted:
        return f"{name(row)} {now}, not {row.wanted}"
    if row.before == row.during:
        return f"{name(row)} {now}"
    return f"{name(row)} {now} (before: {row.before})"
