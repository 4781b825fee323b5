"""What a board was set to around its runs, in words and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolchain.report import text
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
        if row.before is None or row.after is None or row.before == row.after or _moves(row):
            continue
        changed = f"{name(row)} was {row.before} before and is {row.after} after"
        if told.profile is None:
            yield Doubt("settings-changed", f"Somebody changed a setting meanwhile: {changed}.")
        else:
            yield Doubt("settings-not-put-back", f"A setting was not put back: {changed}.")


def _listed(rows: Sequence[SettingMeta]) -> str:
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return ", ".join(map(name, rows[:3])) + more


def in_force(told: BoardSettings | None) -> dict[tuple[str, str], str]:
    """What was in force while it ran, by key and place; not the duty cycle of a fan that was left
    to itself, which follows the heat.
    """
    found: dict[tuple[str, str], str] = {}
    for row in () if told is None else told.settings:
        if row.during is not None and not _moves(row):
            place = row.key.removesuffix(f".{row.where}"), row.where  # cpu.governor.policy4
            found[place] = f"{found[place]}, {row.during}" if place in found else row.during
    return found


def differences(every: Sequence[BoardSettings | None]) -> Iterator[str]:
    """Settings in force that were not the same wherever somebody looked.

    As "cpu.governor of policy0: performance and schedutil".
    """
    seen = [in_force(told) for told in every if told is not None]
    for place in dict.fromkeys(place for one in seen for place in one):
        values = list(dict.fromkeys(one.get(place, "unknown") for one in seen))
        if len(values) > 1:
            key, where = place
            yield f"{name(SettingMeta(key, where))}: {text.listed(values)}"


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


def _moves(row: SettingMeta) -> bool:
    """Whether it is a fan's duty cycle that nobody set: its own control moves it all the time."""
    return row.key == "fan.pwm" and row.wanted is None


def _put(row: SettingMeta) -> str:
    now = row.during if row.during is not None else "unknown"
    if row.during != row.wanted:
        return f"{name(row)} {now}, not {row.wanted}"
    if row.before == row.during:
        return f"{name(row)} {now}"
    return f"{name(row)} {now} (before: {row.before})"
