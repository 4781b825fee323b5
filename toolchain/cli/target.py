"""`halfbyte target`: which boards there are, and whether they can be used."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from targets.target import Target
from toolchain.cli import console
from toolchain.cli.options import accept_new_option, json_option, wheelhouse_option
from toolchain.cli.paths import existing_file


@click.group()
def target() -> None:
    """Boards by name: add, list, check, provision, clean, remove.

    \b
    Examples:
      halfbyte target add pi@192.168.1.40 --name garage-pi
      halfbyte target check garage-pi
    """


@target.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every target.

    \b
    Example:
      halfbyte target list
    """
    from targets import inventory

    known = inventory.load()
    rows = [_public(item) for item in known]
    console.show(
        {"file": known.path, "targets": rows}, as_json=as_json, text=lambda v: _table(v["targets"])
    )


@target.command()
@click.argument("address")
@click.option("--name", help="What to call it.  [default: the host]")
@click.option("--key", type=existing_file())
@click.option("--board", help="What it is, where it cannot tell itself.")
@click.option("--notes", default="", help="For yourself.")
@click.option("--python", help="The interpreter on the board to start from.")
@click.option("--threads", type=click.IntRange(1, 64))
@click.option("--no-connect", is_flag=True, help="Only write it down.")
@accept_new_option
@json_option
def add(
    address: str,
    name: str | None,
    key: Path | None,
    board: str | None,
    notes: str,
    python: str | None,
    threads: int | None,
    no_connect: bool,
    accept_new: bool,
    as_json: bool,
) -> None:
    """Add the board at ADDRESS (user@host, user@host:port, or a Host of ~/.ssh/config).

    The first contact asks whether the host key is right and, if no key lets you in, for the
    password once: your public key is then installed, so that nobody is asked again.

    \b
    Examples:
      halfbyte target add pi@192.168.1.40 --name garage-pi
      halfbyte target add shed --no-connect
    """
    from targets import inventory
    from targets.addresses import parse_address
    from targets.errors import InventoryError

    where = parse_address(address)
    if where is None:
        raise InventoryError(
            f"{address!r} is no address.", hint="Give user@host or user@host:port."
        )
    new = Target(
        name or re.sub(r"[^A-Za-z0-9_-]+", "-", where.host).strip("-"),
        where.host,
        port=where.port,
        user=where.user,
        key=key,
        board=board,
        notes=notes,
        python=python,
        threads=threads,
    )
    installed = False
    if not no_connect:
        new, installed = _first_contact(new, accept_new=accept_new)
    path = inventory.add(new)
    result = {"target": _public(new), "file": path, "key_installed": installed}
    console.show(result, as_json=as_json, text=lambda _: _added(new, path, installed))


def _first_contact(new: Target, *, accept_new: bool) -> tuple[Target, bool]:
    """Reach the board; where only a password lets us in, install a key and name it."""
    from targets import keys, ssh
    from targets.deadline import Deadline
    from toolchain.cli.trust import trust

    asked = trust(accept_new=accept_new)
    used: list[str] = []

    def password(who: str) -> str | None:
        used.append(who)
        return asked.password(who) if asked.password else None

    with ssh.connect(
        new,
        deadline=Deadline.after(120),
        ask=asked.ask,
        accept_new=accept_new,
        password=password if asked.password else None,
        passphrase=asked.passphrase,
    ) as connection:
        if not used:
            return new, False
        private = new.key or keys.key_to_install()
        public = keys.public_part(private)
        assert public is not None
        keys.install_key(connection, public, deadline=Deadline.after(30))
    return dataclasses.replace(new, key=private), True


def _added(new: Target, path: Path, installed: bool) -> str:
    lines = [f"added {new.name} to {path}"]
    if installed:
        lines.append(f"your key {new.key} is installed: no password from now on")
    lines.append(f"next: halfbyte target check {new.name}")
    return "\n".join(lines)


@target.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Forget the target NAME (what lies on the board stays: `halfbyte target clean` first).

    \b
    Example:
      halfbyte target remove garage-pi
    """
    from targets import inventory

    path = inventory.remove(name)
    console.show(
        {"removed": name, "file": path},
        as_json=as_json,
        text=lambda _: f"removed {name} from {path}",
    )


@target.command()
@click.argument("name")
@accept_new_option
@json_option
def check(name: str, accept_new: bool, as_json: bool) -> int:
    """Look at the target NAME: what it is, what it has, what it lacks, and what to do.

    \b
    Example:
      halfbyte target check garage-pi
    """
    from toolchain.cli.doctor import as_text, check_target

    found = check_target(name, accept_new=accept_new)
    console.show(found, as_json=as_json, text=as_text)
    return 8 if any(item.ok is False for item in found) else 0


@target.command()
@click.argument("name")
@wheelhouse_option
@accept_new_option
@json_option
def provision(name: str, wheelhouse: Path | None, accept_new: bool, as_json: bool) -> None:
    """Give the target NAME its Python environment; other commands do it when it is missing.

    \b
    Example:
      halfbyte target provision garage-pi
    """
    from toolchain import measuring
    from toolchain.cli.options import targets_of
    from toolchain.cli.trust import trust

    with measuring.ready(
        targets_of([name])[0],
        trust=trust(accept_new=accept_new),
        wheelhouse=wheelhouse,
        progress=console.progress(),
    ) as board:
        python = board.python
    result = {
        "target": name,
        "environment": str(python),
        "folder": python.folder,
        "size_bytes": python.size_bytes,
        "made": python.made,
        "sent_bytes": python.sent_bytes,
    }
    done = "made" if python.made else "was there"
    console.show(
        result,
        as_json=as_json,
        text=lambda _: f"{name}: {python}, {python.size_bytes / 1e6:.0f} MB, {done}",
    )


@target.command()
@click.argument("name")
@accept_new_option
@json_option
def clean(name: str, accept_new: bool, as_json: bool) -> None:
    """Remove everything of ours from the target NAME.

    \b
    Example:
      halfbyte target clean garage-pi
    """
    from targets.deadline import Deadline
    from targets.loopback import reachable
    from targets.provision import environment
    from toolchain import measuring, settling
    from toolchain.cli.options import targets_of
    from toolchain.cli.trust import trust

    asked = trust(accept_new=accept_new)
    with (
        reachable(targets_of([name])[0]) as where,
        measuring.connected(where, asked) as connection,
    ):
        settling.put_back_left_over(connection)
        removed = environment.clean(connection, deadline=Deadline.after(600))
    console.show(
        {"target": name, "removed_bytes": removed},
        as_json=as_json,
        text=lambda _: f"{name}: {removed / 1e6:.1f} MB removed",
    )


def _public(item: Target) -> dict[str, Any]:
    return {
        "name": item.name,
        "host": item.host,
        "port": item.port,
        "user": item.user,
        "key": item.key,
        "board": item.board,
        "python": item.python,
        "threads": item.threads,
        "notes": item.notes,
    }


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "host", "user", "board", "notes"):
        table.add_column(column)
    for row in rows:
        where = f"{row['host']}:{row['port']}" if row["port"] else row["host"]
        cells = (row["name"], where, row["user"], row["board"], row["notes"])
        table.add_row(*(console.printable(cell or "-") for cell in cells))
    return table
