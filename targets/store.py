"""Our folder on a board, where files lie under their hashes."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from targets.deadline import Deadline
from targets.errors import CommandFailed, NoSpace
from targets.ssh import Connection

log = logging.getLogger(__name__)
DEFAULT_ROOT = "~/.halfbyte"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Store:
    """Our folder on a board: `root` is absolute; `python` can run the receiver, if there is one."""

    root: str
    python: str | None

    @property
    def objects(self) -> str:
        """Where files lie under their hashes."""
        return f"{self.root}/objects"

    def path(self, sha256: str) -> str:
        """Where the file with this content is, once it was sent."""
        if _SHA256.fullmatch(sha256) is None:
            raise ValueError(f"{sha256!r} is no SHA-256")
        return f"{self.objects}/{sha256}"


_OPEN = """
umask 077
[ -n "$HOME" ] || { echo "HOME is not set" >&2; exit 1; }
case "$1" in
  /*) root=$1 ;;
  "~") root=$HOME ;;
  "~/"*) root=$HOME/${1#"~/"} ;;
  *) root=$HOME/$1 ;;
esac
if [ "$root" -ef "$HOME" ]; then
  echo "the home folder itself cannot be it: name a folder in it" >&2; exit 1
fi
if [ -d "$root" ] && ! [ -d "$root/objects" ] && [ -n "$(ls -A "$root")" ]; then
  echo "$root holds other files, and none of ours" >&2; exit 1
fi
mkdir -p "$root/objects" || exit 1
[ -O "$root" ] || { echo "$root belongs to somebody else" >&2; exit 1; }
chmod 700 "$root" "$root/objects" && cd "$root" && pwd -P || exit 1
for python in "$2" python3 /usr/bin/python3 /usr/local/bin/python3; do
  [ -n "$python" ] || continue
  if "$python" -I -S -c "import fcntl, hashlib, json, select, sys, threading, zlib
sys.exit(sys.version_info < (3, 7))"
  then echo "$python"; break; fi
done </dev/null 2>/dev/null
"""


def open_store(connection: Connection, *, deadline: Deadline) -> Store:
    """Our folder on the board (mode 0700), made if need be; home is what the board says.

    Raises NoSpace, CommandFailed, LinkLost, DeadlineExceeded.
    """
    target = connection.target
    done = connection.run(
        _OPEN, target.root or DEFAULT_ROOT, target.python or "", deadline=deadline
    )
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    if "No space left" in done.complaint:
        raise NoSpace(
            f"{target.name} has no room for a folder of ours: {done.complaint}",
            hint="Remove files there, or set `root` of this target to another file system.",
        )
    if not lines or not lines[0].startswith("/") or len(lines) > 2:
        raise CommandFailed(
            f"{target.name} has no folder for us: {done.complaint or done.how}",
            hint="Set `root` of this target in targets.toml to a folder that its user may write.",
        )
    store = Store(lines[0], lines[1] if len(lines) == 2 else None)
    log.debug("%s: %s", target.name, store)
    return store
