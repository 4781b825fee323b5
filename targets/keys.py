"""Key files: reading them, finding one to use, making one, putting one on a board."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.deadline import Deadline
from targets.files import write_whole
from targets.places import config_dir

if TYPE_CHECKING:
    import paramiko

    from targets.ssh import Connection

AskPassphrase = Callable[[Path], str | None]
_DEFAULTS = ("id_ed25519", "id_ecdsa", "id_rsa")
_MAGIC = b"openssh-key-v1\0"


class Unusable(Exception):
    """A key file that cannot be used, and why; never leaves this package's connecting code."""


@dataclass(frozen=True)
class PublicKey:
    """One line of authorized_keys."""

    type: str
    blob: bytes
    comment: str = ""

    @property
    def line(self) -> str:
        """`ssh-ed25519 AAAA... comment`."""
        return f"{self.type} {base64.b64encode(self.blob).decode()} {self.comment}".rstrip()


def public_part(path: Path) -> PublicKey | None:
    """The public key that belongs to `path`, without needing a passphrase; None if not to be had.

    From `path` itself if it is a public key, from `path.pub`, or from the part of an OpenSSH
    private key that is never encrypted (PROTOCOL.key of OpenSSH).
    """
    for file in (path, path.with_name(path.name + ".pub")):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if (key := _public_line(text) or _public_of_private(text)) is not None:
            return key
    return None


def load(path: Path, ask: AskPassphrase | None = None) -> paramiko.PKey:
    """The private key in `path`.  Raises Unusable with the reason."""
    import paramiko
    from paramiko.pkey import UnknownKeyType

    passphrase: bytes | None = None
    for attempt in range(2):
        try:
            # paramiko's annotation says str; the library below it wants bytes.
            return paramiko.PKey.from_path(path, password=passphrase)  # type: ignore[arg-type]
        except FileNotFoundError:
            raise Unusable("not there") from None
        except OSError as error:
            raise Unusable(error.strerror or "unreadable") from error
        except UnknownKeyType as error:
            raise Unusable(f"{error.key_type} keys are not supported") from error
        except (TypeError, ValueError, paramiko.SSHException) as error:
            if not _is_encrypted(path):
                raise Unusable("no private key") from error
            if attempt == 1:
                raise Unusable("wrong passphrase") from error
        if ask is None or (answer := ask(path)) is None:
            raise Unusable("has a passphrase, and no ssh-agent holds it")
        passphrase = answer.encode()
    raise AssertionError("unreachable")


def key_to_install() -> Path:
    """A private key that works without questions: the user's own, else ours, made if need be."""
    for name in _DEFAULTS:
        path = Path("~/.ssh").expanduser() / name
        if path.is_file() and public_part(path) is not None and not _is_encrypted(path):
            return path
    return own_key()


def own_key() -> Path:
    """Our ed25519 key in the settings folder; made at the first call, without a passphrase."""
    path = config_dir() / "id_ed25519"
    if not path.is_file():
        make_key(path, comment="halfbyte")
    return path


def make_key(path: Path, *, comment: str) -> PublicKey:
    """A new ed25519 key pair: `path` (mode 0600) and `path.pub`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    write_whole(path, private, mode=0o600)
    write_whole(path.with_name(path.name + ".pub"), f"{line} {comment}\n".encode())
    public = _public_line(f"{line} {comment}")
    assert public is not None
    return public


_INSTALL = """
umask 077
cd || exit 1
mkdir -p .ssh && chmod 700 .ssh || exit 1
file=.ssh/authorized_keys
if [ -f "$file" ] && grep -qF -- "$2" "$file"; then echo present; exit 0; fi
if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >> "$file" || exit 1; fi
printf "%s\\n" "$1" >> "$file" && chmod 600 "$file" && echo added
"""


def install_key(connection: Connection, key: PublicKey, *, deadline: Deadline) -> bool:
    """Let `key` in on the board; False if it was already.  Raises CommandFailed."""
    blob = base64.b64encode(key.blob).decode()
    done = connection.run(_INSTALL, key.line, blob, deadline=deadline, check=True)
    return done.stdout.strip() == b"added"


def _public_line(text: str) -> PublicKey | None:
    fields = text.strip().split(None, 2)
    if len(fields) < 2 or "\n" in text.strip():
        return None
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    if _first_string(blob) != fields[0].encode():
        return None
    return PublicKey(fields[0], blob, fields[2] if len(fields) == 3 else "")


def _public_of_private(text: str) -> PublicKey | None:
    data = _openssh_body(text)
    if data is None:
        return None
    try:
        rest: Any = data[len(_MAGIC) :]
        for _ in range(3):  # cipher, KDF, KDF's options
            rest = rest[4 + struct.unpack_from(">I", rest)[0] :]
        length = struct.unpack_from(">I", rest, 4)[0]
        blob = rest[8 : 8 + length]
        kind = _first_string(blob).decode("ascii")
    except (struct.error, UnicodeDecodeError):
        return None
    return PublicKey(kind, blob)


def _is_encrypted(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    data = _openssh_body(text)
    if data is not None:
        return _first_string(data[len(_MAGIC) :]) != b"none"
    return "ENCRYPTED" in text


def _openssh_body(text: str) -> bytes | None:
    if "BEGIN OPENSSH PRIVATE KEY" not in text:
        return None
    body = "".join(line for line in text.splitlines() if not line.startswith("-----"))
    try:
        data = base64.b64decode(body)
    except (binascii.Error, ValueError):
        return None
    return data if data.startswith(_MAGIC) else None


def _first_string(data: bytes) -> bytes:
    if len(data) < 4:
        return b""
    length = struct.unpack_from(">I", data)[0]
    return data[4 : 4 + length]
