"""`scripts/lab`: boards that are not there, for tests that need some."""

from __future__ import annotations

import argparse
import json
import sys

from tests.lab import lab, requirements
from tests.lab.lab import EVERY
from tests.lab.link import Link, LinkError
from tests.lab.machines import MACHINES
from tests.lab.places import client_key


def main(arguments: list[str]) -> int:
    """One command; its exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    machines = bool(MACHINES.keys() & set(getattr(asked, "names", None) or EVERY))
    if asked.command != "status" and (lacking := requirements.missing(machines=machines)):
        print("\n".join(lacking), file=sys.stderr)
        return 1
    try:
        return int(asked.do(asked) or 0)
    except (RuntimeError, LinkError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start boards")
    up.add_argument("names", nargs="*", metavar="BOARD", help="default: all", choices=[*EVERY, []])
    up.set_defaults(do=lambda asked: lab.up(asked.names or list(EVERY), _say))
    down = commands.add_parser("down", help="end everything")
    down.set_defaults(do=lambda _: lab.down(_say))
    commands.add_parser("status", help="what is up").set_defaults(do=_status)
    link = commands.add_parser("link", help="make a link bad, or good again")
    link.add_argument("name", metavar="BOARD", choices=list(EVERY))
    link.add_argument(
        "action",
        nargs="?",
        default="state",
        choices=["state", "set", "cut", "heal", "reset", "restore"],
    )
    for name in ("delay-ms", "jitter-ms", "loss", "rate-kbit", "queue-ms", "seconds"):
        link.add_argument(f"--{name}", type=float)
    link.set_defaults(do=_link)
    return parser


def _status(_: argparse.Namespace) -> int:
    names = lab.names_up()
    for name, board in EVERY.items():
        where = f"ssh -i {client_key()} pi@{board.address}" if name in names else "down"
        print(f"{name:<8} {board.title:<24} {where}")
    return 0 if names else 3


def _link(asked: argparse.Namespace) -> int:
    link = Link(asked.name)
    names = ("delay_ms", "jitter_ms", "loss", "rate_kbit", "queue_ms")
    if asked.action == "set":
        link.set_quality(**{n: getattr(asked, n) for n in names if getattr(asked, n) is not None})
    elif asked.action == "cut":
        link.cut(asked.seconds)
    elif asked.action != "state":
        getattr(link, asked.action)()
    print(json.dumps(link.state(), indent=2))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
