"""Is this the host that we met before?  known_hosts files as OpenSSH writes and reads them.

sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": names with `*`, `?` and `!`, `[host]:port`, hashed names
(`|1|salt|HMAC-SHA1`), `@revoked`.  `@cert-authority` is not supported: such lines vouch for
nothing here, and the error for an unknown host says so.  Stricter than OpenSSH in two points: a
known host that comes with keys of other types only counts as changed, not as new, and a revoked
key is refused whatever names its line has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from targets.addresses import bracketed
from targets.errors import HostKeyChanged, HostKeyRevoked, HostKeyUnknown
from targets.files import write_whole

log = logging.getLogger(__name__)
REVOKED = "@revoked"
AUTHORITY = "@cert-authority"


@dataclass(frozen=True)
class HostKey:
    """A public key: its type as known_hosts writes it (`ssh-rsa` for every RSA key), its blob."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class Newcomer:
    """A host at first contact; what to show when asking whether its key is right."""

    host: str  # as known_hosts would name it
    key: HostKey


HostKeyPrompt = Callable[[Newcomer], bool]


@dataclass(frozen=True)
class Line:
    """One entry of a known_hosts file."""

    marker: str
    names: str
    key: HostKey
    path: Path
    number: int

    def names_host(self, host: str) -> bool:
        """`host` (bracketed, if its port is not 22) is meant by this line."""
        if self.names.startswith("|1|"):
            return _hashed_matches(self.names, host)
        lowered = host.lower()
        patterns = self.names.lower().split(",")
        if any(p.startswith("!") and _glob(p[1:], lowered) for p in patterns):
            return False
        return any(_glob(p, lowered) for p in patterns if not p.startswith("!"))


@dataclass(frozen=True)
class KnownHosts:
    """The lines of several files; those that cannot be read are skipped, as OpenSSH does."""

    lines: tuple[Line, ...]

    @classmethod
    def read(cls, paths: Iterable[Path]) -> KnownHosts:
        """Files that are not there count as empty."""
        return cls(tuple(line for path in paths for line in _read(path)))

    def of(self, host: str, port: int, marker: str = "") -> list[Line]:
        """Lines about a host with that marker ("" for plain ones)."""
        name = bracketed(host, port)
        return [line for line in self.lines if line.marker == marker and line.names_host(name)]

    def types(self, host: str, port: int) -> list[str]:
        """Key types recorded for a host, to be negotiated first."""
        return list(dict.fromkeys(line.key.type for line in self.of(host, port)))

    def check(self, host: str, port: int, key: HostKey) -> bool:
        """True: this key is recorded; False: the host is new.

        A host on another port than 22 may also be recorded by its bare name, as OpenSSH has it.
        Raises HostKeyRevoked, HostKeyChanged.
        """
        name = bracketed(host, port)
        for line in self.lines:
            if line.marker == REVOKED and line.key == key:
                raise _revoked(name, key, line)
        recorded = self.of(host, port)
        if any(line.key == key for line in recorded):
            return True
        if recorded:
            same_type = [line for line in recorded if line.key.type == key.type]
            raise _changed(name, key, (same_type or recorded)[0])
        return any(line.key == key for line in self.of(host, 22))


def admit(
    known: KnownHosts,
    host: str,
    port: int,
    key: HostKey,
    *,
    ask: HostKeyPrompt | None,
    accept_new: bool,
    record_in: Path,
) -> None:
    """Let a host in that is known, or new and accepted (then it is recorded).

    Raises HostKeyRevoked, HostKeyChanged, HostKeyUnknown.
    """
    if known.check(host, port, key):
        return
    name = bracketed(host, port)
    if not accept_new and not (ask is not None and ask(Newcomer(name, key))):
        raise _unknown(name, key, has_authority=bool(known.of(host, port, AUTHORITY)))
    record(record_in, host, port, key)
    log.info("recorded the %s key %s of %s in %s", key.type, key.fingerprint, name, record_in)


def record(path: Path, host: str, port: int, key: HostKey) -> None:
    """Append the key to a known_hosts file, made if need be."""
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    blob = base64.b64encode(key.blob).decode()
    line = f"{bracketed(host, port)} {key.type} {blob}\n"
    write_whole(path, before + line.encode(), mode=0o600)


def _read(path: Path) -> Iterable[Line]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return
    for number, row in enumerate(text.splitlines(), start=1):
        fields = row.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        key = _key(fields)
        if key is None:
            log.info("%s:%d is no known_hosts line", path, number)
            continue
        yield Line(marker, fields[0], key, path, number)


def _key(fields: Sequence[str]) -> HostKey | None:
    if len(fields) < 3:
        return None
    try:
        return HostKey(fields[1], base64.b64decode(fields[2], validate=True))
    except (binascii.Error, ValueError):
        return None


def _hashed_matches(names: str, host: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in names.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    # SHA-1 is what the file format prescribes; it hides names, it authenticates nothing.
    return hmac.compare_digest(hmac.digest(salt, host.lower().encode(), "sha1"), digest)


def _glob(pattern: str, host: str) -> bool:
    """`*` and `?` only: brackets are part of a name here."""
    return fnmatchcase(host, pattern.replace("[", "[[]"))


def _changed(name: str, key: HostKey, recorded: Line) -> HostKeyChanged:
    return HostKeyChanged(
        f"The host key of {name} is not the recorded one: {key.type} {key.fingerprint} came, "
        f"{recorded.key.type} {recorded.key.fingerprint} is in {recorded.path}:{recorded.number}.",
        hint="Another board may answer at this address, or someone between. If the board was set "
        f"up anew, remove line {recorded.number} of {recorded.path} and connect again.",
    )


def _revoked(name: str, key: HostKey, line: Line) -> HostKeyRevoked:
    return HostKeyRevoked(
        f"The host key of {name}, {key.type} {key.fingerprint}, is revoked in "
        f"{line.path}:{line.number}.",
        hint="Do not use this board before it has a new host key "
        "(on it: remove /etc/ssh/ssh_host_*, then `ssh-keygen -A`).",
    )


def _unknown(name: str, key: HostKey, *, has_authority: bool) -> HostKeyUnknown:
    authority = " Its @cert-authority line is not used: certificates are not supported."
    return HostKeyUnknown(
        f"{name} is new: its host key is {key.type} {key.fingerprint}."
        + (authority if has_authority else ""),
        hint="Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the board, then "
        "use `--accept-new`.",
    )
