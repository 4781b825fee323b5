"""What `halfbyte firmware` shows: tables of settings, what is in force, how it goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolchain.cli import console

if TYPE_CHECKING:
    from targets.firmware.apply import Applied
    from targets.firmware.diff import Difference
    from targets.firmware.resolve import Settings
    from targets.firmware.restore import Restored


def refusal(refused: Any) -> dict[str, Any] | None:
    """Why root was not to be had, for JSON."""
    if refused is None:
        return None
    return {"reason": refused.reason, "sudoers": refused.sudoers, "hint": refused.hint}


def boards(rows: list[dict[str, Any]]) -> Any:
    """Boards, and the profiles of each."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("board", "title", "profiles"):
        table.add_column(column)
    for row in rows:
        words = (row["board"], row["title"], ", ".join(row["profiles"]))
        table.add_row(*map(console.plain_text, words))
    return table


def settings(found: Settings) -> str:
    """Each value with its reason and source."""
    lines = [f"{found.title}, profile {found.profile}: {found.about}"]
    for value in (*found.values, *found.expect):
        shown = ", ".join(value.value) if isinstance(value.value, tuple) else str(value.value)
        kind = "expected: " if value in found.expect else ""
        lines += ["", f"{kind}{value.key} = {shown}   ({value.unit})", f"  from {value.origin}"]
        if value.reason:
            lines.append(f"  why: {value.reason}")
        if value.source is not None:
            lines.append(f"  source: {value.source}")
    return console.printable("\n".join(lines))


def differences(result: dict[str, Any]) -> Any:
    """What a profile would change."""
    from rich.console import Group

    lines = [f"{result['target']} is a {result['board']}; profile {result['profile']}:"]
    if result["held"] is not None:
        lines.append(f"settings for {result['held'].label} are in force now")
    notes = [f"note: {doubt}" for doubt in result["doubts"]]
    if result["not_permitted"] is not None:
        notes += _how_to_permit(result["not_permitted"])
    if result["boot_changed"]:
        lines.append("its config.txt has lines of ours")
    if result["boot_diff"]:
        notes = [*result["boot_diff"].splitlines(), *notes]
    parts = [console.plain_text("\n".join(lines)), _rows(result["differences"])]
    return Group(*parts, *([console.plain_text("\n".join(notes))] if notes else []))


def _rows(differences: tuple[Difference, ...]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("setting", "of", "now", "wanted", "from"):
        table.add_column(column)
    for item in differences:
        row = item.row
        wanted = "stays" if row.wanted is None else "is so" if row.in_force else row.wanted
        if item.needs_reboot and item.changes:
            wanted += " (at the next start, with --reboot)"
        words = (row.key, row.where, row.now or "-", row.note or wanted, item.origin)
        table.add_row(*map(console.plain_text, words))
    return table


def applied(name: str, done: Applied, hold: str) -> Any:
    """What is in force now, and how it goes back."""
    from rich.console import Group

    lines = [f"doubt: {doubt}" for doubt in done.doubts]
    if done.not_permitted is not None:
        lines += _how_to_permit(refusal(done.not_permitted) or {})
    if done.held:
        lines.append(f"back as it was: `halfbyte firmware restore {name}`, or in {hold} by itself")
        lines.append(f"what it was: {done.kept_at}")
    else:
        lines.append("nothing was changed")
    return Group(_rows(done.after), console.plain_text("\n".join(lines)))


def restored(name: str, done: Restored) -> str:
    """How it went back."""
    if not done.why:
        return f"{name}: nothing was held"
    if not done.restarted:
        return f"{name}: {done.count} settings are as they were"
    lines = [f"{name} was restarted meanwhile, which undid its settings"]
    lines += [f"  {path} was {was} before, and is {now} since" for path, was, now in done.differs]
    return console.printable("\n".join(lines))


def _how_to_permit(refused: dict[str, Any]) -> list[str]:
    return [f"not permitted: {refused['reason']}", f"  try: {refused['hint']}"]
