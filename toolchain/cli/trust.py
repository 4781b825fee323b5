"""Questions that only a person can answer, asked only at a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from targets.hostkeys import HostKeyPrompt, Newcomer


@dataclass(frozen=True)
class Trust:
    """Who may be asked what while connecting; None: nobody can be asked."""

    ask: HostKeyPrompt | None
    accept_new: bool
    password: Callable[[str], str | None] | None
    passphrase: Callable[[Path], str | None] | None


_ASKING = threading.Lock()
"""Boards side by side ask one after another."""


def trust(*, accept_new: bool) -> Trust:
    """Prompts on a terminal; in pipes and scripts none, so that nothing waits unseen."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Trust(None, accept_new, None, None)
    return Trust(_ask_host_key, accept_new, _ask_password, _ask_passphrase)


def _ask_host_key(newcomer: Newcomer) -> bool:
    with _ASKING:
        click.echo(f"{newcomer.host} is new. Its {newcomer.key.type} key is", err=True)
        click.echo(f"  {newcomer.key.fingerprint}", err=True)
        click.echo("On the board: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", err=True)
        return click.confirm("Is that the same?", default=False, err=True)


def _ask_password(who: str) -> str | None:
    with _ASKING:
        return str(click.prompt(f"Password of {who}", hide_input=True, err=True))


def _ask_passphrase(key: Path) -> str | None:
    with _ASKING:
        return str(click.prompt(f"Passphrase of {key}", hide_input=True, err=True))
