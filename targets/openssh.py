"""What OpenSSH's own configuration says of a host: `ssh -G` where it is installed.

`ssh -G` knows Include, Match, tokens and the system-wide files.  Where there is no `ssh`, paramiko
reads ~/.ssh/config alone, and `SshSettings.warning` says what that leaves out.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from targets.addresses import checked_host, checked_user
from targets.deadline import Deadline
from targets.errors import InventoryError, Unreachable

log = logging.getLogger(__name__)
NO_CONFIG = Path("none")  # OpenSSH's own word for it
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_UNCONFIGURED = "no-such-host-a8b1c4.invalid"


@dataclass(frozen=True)
class SshSettings:
    """How to reach one host; `name` is what was asked for, `hostname` where it is."""

    name: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None  # a socket; "none" for no agent; None: $SSH_AUTH_SOCK
    proxy_jump: tuple[str, ...] = ()  # in the order in which they are passed
    proxy_command: str | None = None  # tokens expanded
    known_hosts: tuple[Path, ...] = ()  # the user's, then the system's
    host_key_alias: str | None = None
    sha1_host_key: bool = False  # `ssh-rsa` is permitted: HostKeyAlgorithms
    sha1_login: bool = False  # and in PubkeyAcceptedAlgorithms
    warning: str | None = None


def resolve(
    host: str,
    *,
    port: int | None = None,
    user: str | None = None,
    config: Path | None = None,
    deadline: Deadline,
) -> SshSettings:
    """Settings for `host`; `config` in place of the user's and the system's files.

    NO_CONFIG reads none.  Raises InventoryError if OpenSSH refuses its configuration or the host
    name cannot be one, DeadlineExceeded.
    """
    checked_host(host)
    if user is not None:
        checked_user(user)
    if shutil.which("ssh") is None:
        return _without_openssh(host, port, user, config)
    options = _ask_ssh(host, port, user, config, deadline)
    return _settings(host, options, warning=None)


def only_sha1(name: str, settings: SshSettings) -> Unreachable:
    """The error for a server whose host key is of no kind that is taken unasked."""
    return Unreachable(
        f"{name} has no host key that counts as safe today: most likely it signs by ssh-rsa "
        "(SHA-1) alone.",
        hint="Update its SSH server, or add a key on it (`ssh-keygen -t ed25519 -f "
        "/etc/ssh/ssh_host_ed25519_key`). In a network that you trust, permit it to this host in "
        f"~/.ssh/config: Host {settings.name} / HostKeyAlgorithms +ssh-rsa / "
        "PubkeyAcceptedAlgorithms +ssh-rsa",
    )


def is_configured(host: str, *, config: Path | None = None) -> bool:
    """OpenSSH's configuration says something of `host` that it does not say of every host."""
    deadline = Deadline.after(10)
    if shutil.which("ssh") is None:
        return _paramiko_knows(host, config)
    ours = _ask_ssh(host, None, None, config, deadline)
    others = _ask_ssh(_UNCONFIGURED, None, None, config, deadline)
    ours.pop("host", None)  # newer versions repeat what was asked
    others.pop("host", None)
    return ours.pop("hostname") != [host] or ours != {
        key: value for key, value in others.items() if key != "hostname"
    }


def _ask_ssh(
    host: str, port: int | None, user: str | None, config: Path | None, deadline: Deadline
) -> dict[str, list[str]]:
    command = ["ssh", "-G"]
    command += [] if config is None else ["-F", str(config)]
    command += [] if port is None else ["-p", str(port)]
    command += [] if user is None else ["-l", user]
    awaited = f"`ssh -G {host}`"
    try:
        done = subprocess.run(
            [*command, "--", host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline.wait_s(awaited),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise deadline.exceeded(awaited) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InventoryError(
            f"OpenSSH refuses its configuration for {host}: {said[0] if said else 'no reason'}",
            hint=f"`ssh -G {host}` shows the same; correct ~/.ssh/config.",
        )
    options: dict[str, list[str]] = {}
    for line in done.stdout.decode(errors="surrogateescape").splitlines():
        key, _, value = line.partition(" ")
        options.setdefault(key.lower(), []).append(value)
    return options


def _settings(name: str, options: Mapping[str, Sequence[str]], warning: str | None) -> SshSettings:
    def first(key: str, default: str = "") -> str:
        return next(iter(options.get(key, ())), default)

    def unless_none(key: str) -> str | None:
        value = first(key)
        return None if value.lower() in ("", "none") else value

    alias = unless_none("hostkeyalias")
    tokens = _tokens(name, first("hostname", name), first("port", "22"), first("user"), alias)
    files = [*options.get("userknownhostsfile", ()), *options.get("globalknownhostsfile", ())]
    agent = first("identityagent", "SSH_AUTH_SOCK")
    command = unless_none("proxycommand")
    jumps = unless_none("proxyjump") if command is None else None
    return SshSettings(
        name=name,
        hostname=tokens["h"],
        port=int(tokens["p"]),
        user=tokens["r"],
        identity_files=tuple(
            Path(_expanded(file, tokens)).expanduser()
            for file in options.get("identityfile", ())
            if file.lower() != "none"
        ),
        identities_only=first("identitiesonly") == "yes",
        identity_agent=_agent(agent, tokens),
        proxy_jump=tuple(jumps.split(",")) if jumps else (),
        proxy_command=None if command is None else _expanded(command, tokens),
        known_hosts=tuple(
            Path(_expanded(file, tokens)).expanduser()
            for line in files
            for file in shlex.split(line)
            if file.lower() != "none"
        ),
        host_key_alias=alias,
        sha1_host_key=_permits_sha1(options, "hostkeyalgorithms"),
        sha1_login=_permits_sha1(options, "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"),
        warning=warning,
    )


def _permits_sha1(options: Mapping[str, Sequence[str]], *keys: str) -> bool:
    listed = ",".join(value for key in keys for value in options.get(key, ()))
    return "ssh-rsa" in (name.lstrip("+^") for name in listed.split(","))


def _agent(value: str, tokens: Mapping[str, str]) -> str | None:
    if value == "SSH_AUTH_SOCK":
        return None
    if value.startswith("$"):
        return os.environ.get(value[1:].strip("{}"), "none")
    return value if value == "none" else str(Path(_expanded(value, tokens)).expanduser())


def _tokens(name: str, host: str, port: str, user: str, alias: str | None) -> dict[str, str]:
    local = socket.gethostname()
    return {
        "%": "%",
        "n": name,
        "h": host,
        "p": port,
        "r": user,
        "k": alias or host,
        "u": getpass.getuser(),
        "d": str(Path.home()),
        "l": local,
        "L": local.partition(".")[0],
        "i": str(getattr(os, "getuid", lambda: 0)()),
    }


def _expanded(text: str, tokens: Mapping[str, str]) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match[1] not in tokens:
            raise InventoryError(
                f"~/.ssh/config has %{match[1]} in {text!r}, which is not known here.",
                hint="Write the value itself, or use another token.",
            )
        return tokens[match[1]]

    return re.sub(r"%(.)", replacement, text)


def _without_openssh(
    host: str, port: int | None, user: str | None, config: Path | None
) -> SshSettings:
    """paramiko's reading of ~/.ssh/config, with a warning of what it leaves out."""
    import paramiko

    path = config or Path("~/.ssh/config").expanduser()
    found: dict[str, object] = {}
    warning = None
    if path != NO_CONFIG and path.is_file():
        text = path.read_text(errors="surrogateescape")
        warning = _left_out(path, text)
        log.warning(warning)
        try:
            found = dict(paramiko.SSHConfig.from_text(text).lookup(host))
        except (paramiko.SSHException, ImportError) as error:
            raise InventoryError(
                f"{path} cannot be read without OpenSSH: {error}.",
                hint="Install OpenSSH's client, or put host, user and key into targets.toml.",
            ) from None
    options = {key: value if isinstance(value, list) else [str(value)]
               for key, value in found.items()}  # fmt: skip
    options.setdefault("hostname", [host])
    options["user"] = [user] if user else options.get("user", [getpass.getuser()])
    options["port"] = [str(port)] if port else options.get("port", ["22"])
    options.setdefault("identityfile", [f"~/.ssh/{key}" for key in _DEFAULT_KEYS])
    options.setdefault("userknownhostsfile", ["~/.ssh/known_hosts"])
    return _settings(host, options, warning)


def _left_out(path: Path, text: str) -> str:
    words = {line.split()[0].lower() for line in text.splitlines() if line.split()}
    lost = [word.capitalize() for word in ("include", "match") if word in words]
    what = f"; it has {' and '.join(lost)}, which cannot be followed so" if lost else ""
    return (
        f"OpenSSH's client is not installed: {path} was read by a simpler parser, and the "
        f"system-wide configuration not at all{what}."
    )


def _paramiko_knows(host: str, config: Path | None) -> bool:
    import paramiko

    path = config or Path("~/.ssh/config").expanduser()
    if not path.is_file():
        return False
    hosts = paramiko.SSHConfig.from_text(path.read_text(errors="surrogateescape")).get_hostnames()
    return host in hosts
