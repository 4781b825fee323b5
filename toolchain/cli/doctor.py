"""`halfbyte doctor`: what is wrong with this machine, or with a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from toolchain.cli import console
from toolchain.cli.options import accept_new_option, json_option, targets_of


@click.command()
@click.argument("target_name", metavar="[TARGET]", required=False)
@click.option("--offline", is_flag=True, help="Leave out what needs a network.")
@accept_new_option
@json_option
def doctor(target_name: str | None, offline: bool, accept_new: bool, as_json: bool) -> int:
    """Check this machine, or a TARGET, and say what to do about what is wrong.

    \b
    Examples:
      halfbyte doctor
      halfbyte doctor loopback
    """
    if target_name is None:
        from toolchain import doctor as host

        found: Sequence[Any] = list(host.checks(network=not offline))
    else:
        found = check_target(target_name, accept_new=accept_new)
    console.show(found, as_json=as_json, text=as_text)
    return 8 if any(check.ok is False for check in found) else 0


def check_target(name: str, *, accept_new: bool) -> Sequence[Any]:
    """The checks of one target, loopback started for them if need be."""
    from targets.doctor import check
    from targets.loopback import reachable
    from toolchain.cli.trust import trust

    asked = trust(accept_new=accept_new)
    with reachable(targets_of([name])[0]) as target:
        return check(target, ask=asked.ask, accept_new=asked.accept_new)


def as_text(found: Sequence[Any]) -> Any:
    """A line for each check, and below it what to do."""
    from rich.text import Text

    text = Text()
    for check in found:
        mark, style = {True: ("ok", "green"), False: ("bad", "red"), None: ("note", "yellow")}[
            check.ok
        ]
        text.append(f"{mark:5}", style)
        text.append(console.printable(f"{check.name}: {check.detail}\n"))
        if check.hint and check.ok is not True:
            text.append(console.printable(f"       try: {check.hint}\n"))
    return text
