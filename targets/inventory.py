"""`targets.toml`: the boards that the user named, and how to reach them.

    schema = "halfbyte.targets"
    version = 1

    [targets.garage-pi]
    host = "192.168.1.40"         # or a Host of ~/.ssh/config
    user = "pi"                   # user, port, key: what ssh would use, if left out
    port = 22
    key = "~/.ssh/id_ed25519"     # then no other key is tried
    board = "raspberry-pi-5"
    notes = "on the shelf"
    python = "/usr/bin/python3"   # the interpreter to start from
    runtime = "ai-edge-litert"    # or "tflite-runtime"; the board decides, if left out
    threads = 4
    root = "~/.halfbyte"          # where our files go on the board

    [groups]
    shelf = ["garage-pi", "jetson"]    # `--target shelf`: both, side by side

The file says where boards are and nothing else: no value of it is ever run as a command here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from targets.addresses import can_be_host, parse_address
from targets.errors import InventoryError, UnknownTarget
from targets.files import write_whole
from targets.places import config_dir
from targets.target import LOOPBACK, Target
from targets.targets_toml import parse, parse_groups, with_added, with_removed

__all__ = ["LOOPBACK", "Inventory", "Target", "add", "inventory_path", "load", "remove"]


@dataclass(frozen=True)
class Inventory:
    """Targets by name, loopback always among them; the file they came from, None without one.

    groups: names of targets by the name of their group.
    """

    targets: Mapping[str, Target]
    path: Path | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets.values())

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, name: str) -> Target:
        """The target called `name`, or an ad-hoc one: `user@host`, `user@host:port`, `ssh://...`.

        A bare word that is not in the file is taken for a mistake, unless OpenSSH's configuration
        has something to say of it.  Raises UnknownTarget with the nearest names.
        """
        if name in self.targets:
            return self.targets[name]
        if "@" in name and (address := parse_address(name)) is not None:
            return Target(name, address.host, port=address.port, user=address.user)
        if can_be_host(name) and _ssh_knows(name):
            return Target(name, name)
        raise unknown(name, self.targets)

    def of(self, names: Iterable[str]) -> list[Target]:
        """The targets called so or in groups called so, each once.  Raises UnknownTarget."""
        each = (member for name in names for member in self.groups.get(name, (name,)))
        return [self[name] for name in dict.fromkeys(each)]


def unknown(name: str, known: Mapping[str, Target]) -> UnknownTarget:
    """The error for a name that is not among `known`."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
    return UnknownTarget(
        f"There is no target called {name!r}.",
        hint=f"{meant} A new board: `halfbyte target add user@host`.",
    )


def inventory_path() -> Path:
    """The file in use: $HALFBYTE_TARGETS, else ./targets.toml if there, else the user's own."""
    if named := os.environ.get("HALFBYTE_TARGETS"):
        return Path(named).expanduser()
    here = Path("targets.toml")
    return here if here.is_file() else config_dir() / "targets.toml"


def load(path: Path | None = None) -> Inventory:
    """Every target of `path` (default: `inventory_path()`), and loopback.

    No file means no targets, unless `path` names it.  Raises InventoryError, with the key that is
    wrong and the nearest right one.
    """
    asked = path is not None
    path = path or inventory_path()
    targets = {LOOPBACK: Target(LOOPBACK, "127.0.0.1", notes="this machine, over SSH")}
    if not path.exists():
        if asked:
            raise InventoryError(f"There is no file {path}.", hint="Check the path.")
        return Inventory(targets)
    text = _text(path)
    return Inventory(targets | parse(text, path), path, parse_groups(text, path))


def add(target: Target, path: Path | None = None) -> Path:
    """Append `target` to the file, made if need be; the file's path.

    Raises InventoryError if the name is taken or a value cannot be what it should.
    """
    path = path or inventory_path()
    text = _text(path) if path.exists() else ""
    if text and target.name in parse(text, path):
        raise InventoryError(
            f"{path} already has a target called {target.name!r}.",
            hint=f"Give another name, or first `halfbyte target remove {target.name}`.",
        )
    write_whole(path, with_added(text, target, path).encode(), mode=0o600)
    return path


def remove(name: str, path: Path | None = None) -> Path:
    """Take the target out of the file; the file's path.  Raises UnknownTarget."""
    path = path or inventory_path()
    if name == LOOPBACK:
        raise InventoryError("The loopback target is built in.", hint="It needs no removing.")
    text = _text(path) if path.exists() else ""
    known = parse(text, path) if text else {}
    if name not in known:
        raise unknown(name, known)
    write_whole(path, with_removed(text, name, path).encode(), mode=0o600)
    return path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{path} cannot be read: {error}.", hint="Correct it.") from None


def _ssh_knows(host: str) -> bool:
    from targets.openssh import is_configured

    return is_configured(host)
