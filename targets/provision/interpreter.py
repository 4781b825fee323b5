"""What a Python interpreter of a board is, as it says itself.

The kernel's word (`uname -m`) does not decide: a 64-bit kernel may carry a 32-bit system.  Word
size, ABI and C library are asked of each interpreter itself (`asking`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OLDEST = (3, 8)  # what the agent is written for


@dataclass(frozen=True)
class Package:
    """A package that an interpreter already has; folder is the one to put on its path."""

    folder: str
    version: str | None = None


@dataclass(frozen=True)
class Interpreter:
    """One Python on the board, in its own words.  None where it could not say."""

    path: str
    version: tuple[int, ...]
    bits: int  # of a pointer: 32 or 64
    implementation: str | None = "cpython"
    soabi: str | None = None
    executable: str | None = None  # `path` with every link followed
    platform: str | None = None
    libc: str | None = None  # "glibc" or "musl"
    libc_version: str | None = None
    machine: str | None = None  # the kernel's word
    kernel: str | None = None
    cpu_features: tuple[str, ...] | None = None
    page_size_bytes: int | None = None
    packages: Mapping[str, Package] = field(default_factory=dict)  # by import name

    @property
    def architecture(self) -> str | None:
        """As wheels name it: "x86_64", "aarch64", "armv7l", "i686"; None for any other.

        From the ABI tag, else from word size and machine.  "armv6l" where the core is that old:
        wheels for armv7l would die there of an illegal instruction.
        """
        soabi, machine = self.soabi or "", self.machine or ""
        if "arm-linux" in soabi or (not _triple(soabi) and self.bits == 32 and _is_arm(machine)):
            if machine == "armv6l":
                return "armv6l"
            return "armv7l" if "gnueabi-" not in f"{soabi}-" else None  # soft float
        for name in ("x86_64", "aarch64"):
            if f"{name}-linux" in soabi and "x32" not in soabi:
                return name if self.bits == 64 else None
        if re.search(r"i[3-6]86-linux", soabi):
            return "i686"
        if _triple(soabi):
            return None
        if self.bits == 64:
            return {
                "x86_64": "x86_64",
                "amd64": "x86_64",
                "aarch64": "aarch64",
                "arm64": "aarch64",
            }.get(machine)
        return "i686" if machine in ("x86_64", "i386", "i486", "i586", "i686") else None

    @property
    def abi(self) -> str | None:
        """The ABI tag of its wheels, "cp311"; None for anything but a plain CPython."""
        plain = f"cp{self.version[0]}{self.version[1]}"
        if self.implementation != "cpython":
            return None
        if self.soabi is None:
            return plain
        tag = re.match(r"cpython-(\d+[a-z]*)", self.soabi)
        return f"cp{tag[1]}" if tag else None

    @property
    def glibc(self) -> tuple[int, int] | None:
        """Version of the GNU C library, if it is that."""
        match = re.match(r"(\d+)\.(\d+)", self.libc_version or "")
        return (int(match[1]), int(match[2])) if match and self.libc == "glibc" else None

    def has_feature(self, feature: str) -> bool | None:
        """Whether its processor has one, as the kernel names it; None where that is not known."""
        if self.cpu_features is None:
            return None
        # To a program of 64 bits the kernel lists nothing of ARMv7, all of which ARMv8 has.
        before_v8 = feature in ("neon", "vfpv3", "vfpv4") and "asimd" in self.cpu_features
        return before_v8 or feature in self.cpu_features

    @property
    def named(self) -> str:
        """For messages: "Python 3.11.2 (/usr/bin/python3)"."""
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"

    def fits(self, filename: str) -> bool:
        """Whether it can use the wheel of that name (PEP 425, 513, 599 and 600 tags)."""
        tags = wheel_tags(filename)
        if tags is None:
            return False
        pythons, abis, platforms = tags
        if "any" in platforms:
            return "none" in abis and bool(
                {"py3", f"py{self.version[0]}{self.version[1]}"} & pythons
            )
        return self.abi in pythons and self.abi in abis and any(map(self._fits_platform, platforms))

    def _fits_platform(self, tag: str) -> bool:
        tag = re.sub(r"manylinux(1|2010|2014)_", lambda m: f"manylinux_{_LEGACY[m[1]]}_", tag)
        match = re.fullmatch(r"manylinux_(\d+)_(\d+)_(\w+)", tag)
        if match is None or self.glibc is None:
            return False
        return match[3] == self.architecture and (int(match[1]), int(match[2])) <= self.glibc


_LEGACY = {"1": "2_5", "2010": "2_12", "2014": "2_17"}


def wheel_tags(filename: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]] | None:
    """Python, ABI and platform tags in a wheel's name; None for a name that is no wheel's."""
    if not filename.endswith(".whl") or filename.count("-") not in (4, 5):
        return None
    python, abi, platform = filename[: -len(".whl")].split("-")[-3:]
    return (
        frozenset(python.split(".")),
        frozenset(abi.split(".")),
        frozenset(platform.split(".")),
    )


def interpreter(facts: Any) -> Interpreter:
    """From the JSON that `on_board/facts.py` prints.  Raises ValueError where it is not of that."""
    if not isinstance(facts, dict):
        raise ValueError("no object")
    libc, libc_version = _libc(facts)
    return Interpreter(
        path=_text(facts, "path"),
        version=_version(facts),
        bits=_whole(facts, "bits"),
        implementation=_text_or_none(facts, "implementation"),
        soabi=_text_or_none(facts, "soabi"),
        executable=_text_or_none(facts, "executable"),
        platform=_text_or_none(facts, "platform"),
        libc=libc,
        libc_version=libc_version,
        machine=_text_or_none(facts, "machine"),
        kernel=_text_or_none(facts, "kernel"),
        cpu_features=_features(facts),
        page_size_bytes=(
            None if facts.get("page_size_bytes") is None else _whole(facts, "page_size_bytes")
        ),
        packages=_packages(facts),
    )


def _text(facts: Mapping[str, Any], key: str) -> str:
    """Bytes of a path that are not UTF-8 are surrogates in it; a command can hold no NUL."""
    value = facts.get(key)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{key} is no text")
    value.encode("utf-8", "surrogateescape")  # UnicodeEncodeError is a ValueError
    return value


def _text_or_none(facts: Mapping[str, Any], key: str) -> str | None:
    return None if facts.get(key) is None else _text(facts, key)


def _whole(facts: Mapping[str, Any], key: str) -> int:
    value = facts.get(key)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key} is no whole number")
    return value


def _version(facts: Mapping[str, Any]) -> tuple[int, ...]:
    value = facts.get("version")
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError("version is no list of two numbers or more")
    return tuple(_whole({"a part of version": part}, "a part of version") for part in value)


def _libc(facts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Its name and version; of musl there is no version."""
    value = facts.get("libc")
    if value is None:
        return None, None
    if not isinstance(value, list) or not 1 <= len(value) <= 2:
        raise ValueError("libc is no name and version")
    told = dict(zip(("libc", "its version"), value, strict=False))
    return _text(told, "libc"), _text_or_none(told, "its version")


def _features(facts: Mapping[str, Any]) -> tuple[str, ...] | None:
    return None if facts.get("cpu_features") is None else tuple(_texts(facts, "cpu_features"))


def _texts(facts: Mapping[str, Any], key: str) -> list[str]:
    value = facts.get(key)
    if not isinstance(value, list):
        raise ValueError(f"{key} is no list")
    return [_text({f"one of {key}": item}, f"one of {key}") for item in value]


def _packages(facts: Mapping[str, Any]) -> dict[str, Package]:
    value = facts.get("packages")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ValueError("packages is no object of objects")
    return {
        name: Package(_text(where, "folder"), _text_or_none(where, "version"))
        for name, where in value.items()
    }


def _triple(soabi: str) -> bool:
    return soabi.count("-") >= 2


def _is_arm(machine: str) -> bool:
    return machine.startswith(("arm", "aarch64"))
