"""Servers that sign by `ssh-rsa` alone: RSA with SHA-1 (RFC 4253), as Dropbear before 2020.79.

SHA-1 is too weak to be used unasked, so OpenSSH and paramiko left it out.  Here it comes last and
only where the user's OpenSSH configuration permits it to that host (`HostKeyAlgorithms +ssh-rsa`,
`PubkeyAcceptedAlgorithms +ssh-rsa`).  It imports paramiko on top; import it when connecting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import paramiko
from cryptography.hazmat.primitives import hashes

if TYPE_CHECKING:
    from targets.transport import Transport

ALGORITHM = "ssh-rsa"


class Sha1RSAKey(paramiko.RSAKey):
    """An RSA key that may also sign and verify with SHA-1."""

    HASHES = {**paramiko.RSAKey.HASHES, ALGORITHM: hashes.SHA1}  # type: ignore[misc]  # noqa: RUF012


def allow_for_host_key(transport: Transport) -> None:
    """Before the negotiation: a host key that proves itself by SHA-1 will do, if it must."""
    inner: Any = transport
    inner._key_info = {**inner._key_info, ALGORITHM: Sha1RSAKey}
    inner._preferred_keys = (*inner._preferred_keys, ALGORITHM)


def login_orders(transport: Transport, key: paramiko.PKey) -> list[tuple[str, ...]]:
    """What to offer one of our own keys with, try by try, where SHA-1 is permitted for it.

    Servers tell what they take (RFC 8308), but some tell what they know and take less.
    """
    inner: Any = transport
    usual: tuple[str, ...] = tuple(inner._preferred_pubkeys)
    if key.get_name() != ALGORITHM:
        return [usual]
    says = inner.server_extensions.get("server-sig-algs", b"")
    if not says and inner.host_key_type == ALGORITHM:
        return [(ALGORITHM,)]  # of an age that knows nothing else
    return [usual, (ALGORITHM,)]


@contextlib.contextmanager
def offering(transport: Transport, order: tuple[str, ...]) -> Iterator[None]:
    """Meanwhile our keys are offered with these algorithms."""
    inner: Any = transport
    before, inner._preferred_pubkeys = inner._preferred_pubkeys, order
    try:
        yield
    finally:
        inner._preferred_pubkeys = before


def signing(key: paramiko.PKey) -> paramiko.PKey:
    """The same key, able to sign by SHA-1 if it is RSA's."""
    if isinstance(key, paramiko.RSAKey) and key.can_sign():
        return Sha1RSAKey(key=key.key)
    return key
