"""Asks a board which Python interpreters it has, all of them in one round trip."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

from targets.errors import NoPython
from targets.provision import on_board
from targets.provision.interpreter import Interpreter, interpreter

# Reads the candidates from PATH, then from where pyenv and uv put theirs.  $1 marker, $2 the
# configured interpreter or nothing.  `readlink -f` keeps one answer for python3 and python3.11.
_ASK = """\
marker=$1 configured=$2
code=$(cat <<'end of code'
%s
end of code
)
asked=:
ask() {
  found=$(command -v "$1" 2>/dev/null) || return 0
  [ -x "$found" ] || return 0
  real=$(readlink -f "$found" 2>/dev/null) || real=$found
  case $found in */shims/*) real=$found ;; esac
  case $asked in *":$real:"*) return 0 ;; esac
  asked=$asked$real:
  "$found" -E -c "$code" "$marker" "$found" </dev/null 2>/dev/null ||
    printf '\\n%%s!%%s\\n' "$marker" "$found"
}
if [ -n "$configured" ]; then
  case $configured in "~/"*) configured=$HOME/${configured#"~/"} ;; esac
  ask "$configured"
else
  PATH=$PATH:$HOME/.local/bin
  for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8
  do ask "$name"; done
  for path in "$HOME"/.pyenv/versions/*/bin/python3 "$HOME"/.local/share/uv/python/*/bin/python3
  do ask "$path"; done
  case $asked in :) ask python; ask python2 ;; esac
fi
printf '\\n%%s~%%s\\n%%s.\\n' "$marker" "$HOME" "$marker"
"""


@dataclass(frozen=True)
class Question:
    """A script for the board's `sh`, and the mark on its answers."""

    script: str
    arguments: tuple[str, str]  # $1, $2

    @property
    def marker(self) -> str:
        """What start-up files of the login shell cannot have printed."""
        return self.arguments[0]


def question(python: str | None = None) -> Question:
    """Asks every interpreter of a board, or only `python` where one is configured."""
    code = on_board.source("facts")
    return Question(_ASK % code, (f"halfbyte-{secrets.token_hex(8)}:", python or ""))


@dataclass(frozen=True)
class Answers:
    """What a board said: its interpreters in the order asked, and the paths that did not run."""

    interpreters: tuple[Interpreter, ...]
    silent: tuple[str, ...]
    home: str


def answers(stdout: str, marker: str) -> Answers:
    """From what the script printed.

    Raises NoPython where it did not run to its end, or where an answer is not understood.
    """
    told: dict[str, Interpreter] = {}
    silent: list[str] = []
    home: str | None = None
    complete = False
    for line in stdout.splitlines():
        kind, rest = line[len(marker) :][:1], line[len(marker) + 1 :]
        if not line.startswith(marker):
            continue
        if kind == "{":
            one = _told(kind + rest)
            # The first path that leads to an interpreter stands for it.
            told.setdefault(one.executable or one.path, one)
        elif kind == "!":
            silent.append(rest)
        elif kind == "~":
            home = rest
        elif kind == ".":
            complete = True
    if not complete or home is None:
        raise NoPython(
            "The board did not finish answering which Pythons it has.",
            hint="Its /bin/sh may be missing or restricted; try `ssh` to it and run `sh -c true`.",
        )
    return Answers(tuple(told.values()), tuple(silent), home)


def _told(text: str) -> Interpreter:
    try:
        return interpreter(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise NoPython(
            f"What a Python on the board says of itself is not understood: {str(error)[:200]}.",
            hint="Set `python` of this target in targets.toml to one that is whole.",
        ) from error
