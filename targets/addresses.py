"""`user@host:port` as people type it, and what may stand in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from targets.errors import InventoryError

# Names, IPv4, IPv6 with a zone.  No leading dash, which ssh would read as an option; nothing that
# a ProxyCommand's shell could read as more than a word.
_HOST = re.compile(r"[A-Za-z0-9_.:][A-Za-z0-9_.:%\-]{0,253}")
_USER = re.compile(r"[A-Za-z0-9_.+@\\][A-Za-z0-9_.+@\\\-]{0,253}\$?")
_ADDRESS = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^\s/]+)@)?(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^@:\s/]+))(?::(?P<port>\d{1,5}))?/?"
)


@dataclass(frozen=True)
class Address:
    """Where, as given; None: not said."""

    host: str
    port: int | None = None
    user: str | None = None


def parse_address(text: str) -> Address | None:
    """`host`, `user@host`, `user@host:port`, `user@[v6]:port`, `ssh://user@host:port`, else None.

    Raises InventoryError for a host, user or port that cannot be one.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    host = checked_host(match["v6"] or match["host"])
    user = None if match["user"] is None else checked_user(match["user"])
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= 65535:
        raise InventoryError(f"{port} is no port.", hint="A whole number, 1 to 65535.")
    return Address(host, port, user)


def can_be_host(text: str) -> bool:
    """`text` could be a name or an address."""
    return _HOST.fullmatch(text) is not None


def checked_host(host: str) -> str:
    """`host`, if it can be a name or an address.  Raises InventoryError."""
    if not can_be_host(host):
        raise InventoryError(
            f"{host!r} cannot be a host.", hint="A name, an IP address, or a Host of ~/.ssh/config."
        )
    return host


def checked_user(user: str) -> str:
    """`user`, if it can be a login name.  Raises InventoryError."""
    if _USER.fullmatch(user) is None:
        raise InventoryError(f"{user!r} cannot be a user.", hint="A login name of the board.")
    return user


def bracketed(host: str, port: int) -> str:
    """The name under which known_hosts files keep a host: `[host]:port` unless the port is 22."""
    return host if port == 22 else f"[{host}]:{port}"
