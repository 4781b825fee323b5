"""What may be read and written on a board on behalf of firmware settings, and nothing else.

A knob is a kind and a path: "file" (of sysfs or procfs, only those named here), "mode" (nvpmodel),
"clocks" (jetson_clocks), "swap" (an area in use), "service" (nvfancontrol).  Values are text.  This
runs as root, on requests and on backups that are read from a disk, so each is checked here.
"""

import errno
import glob
import os
import re
import subprocess
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from targets.provision.on_board.trusted import PATH, program_of

_CPU = r"/sys/devices/system/cpu"
_FILES = re.compile(
    rf"{_CPU}/(cpufreq/policy\d{{1,4}}|cpu\d{{1,4}}/cpufreq)"
    r"/scaling_(governor|min_freq|max_freq|setspeed)"
    rf"|{_CPU}/cpu\d{{1,4}}/online"
    r"|/sys/class/devfreq/[\w.:@-]{1,80}/(min_freq|max_freq)"
    r"|/sys/class/hwmon/hwmon\d{1,4}/pwm\d"
    r"|/proc/sys/vm/swappiness",
    re.ASCII,
)
_VALUES = {
    "file": re.compile(r"-?\w{1,64}\n?", re.ASCII),
    "mode": re.compile(r"\d{1,4}", re.ASCII),
    "clocks": re.compile(r"on|off", re.ASCII),
    "swap": re.compile(r"off|on -?\d{1,6}", re.ASCII),
    "service": re.compile(r"active|inactive", re.ASCII),
}
_PATHS = {
    "file": _FILES,
    "mode": re.compile(""),
    "clocks": re.compile(""),
    "swap": re.compile(r"/[\w./+:@-]{1,200}", re.ASCII),
    "service": re.compile("nvfancontrol"),
}
_READABLE = re.compile(
    r"/sys/(devices/system/cpu|class/(hwmon|devfreq|thermal)|firmware/devicetree/base)/[\w./*\[\]@:-]+"
    r"|/proc/(swaps|mounts|meminfo|sys/vm/swappiness|device-tree/compatible|device-tree/chosen/bootloader/tryboot)"
    r"|/etc/nvpmodel\.conf|/boot(/firmware)?/(config|tryboot)\.txt",
    re.ASCII,
)
_COMMANDS = re.compile(
    r"nvpmodel -q|jetson_clocks --show|systemctl is-active nvfancontrol"
    r"|vcgencmd get_config \w{1,40}",
    re.ASCII,
)
_TOOL_S = 60.0
_MOST_BYTES = 256 * 1024
_MOST_FILES = 4096


class Refused(Exception):
    """A few words that say why something was not done."""


class Knob(NamedTuple):
    """kind and path, as above."""

    kind: str
    path: str


def checked(kind: Any, path: Any, value: Any = None) -> Knob:
    """A knob that may be turned, to that value if one is given.  Raises Refused."""
    if kind not in _PATHS or not isinstance(path, str) or not _PATHS[kind].fullmatch(path):
        raise Refused(f"{kind!r} {path!r} is none of the settings that may be changed")
    if ".." in path:
        raise Refused(f"{path!r} leads elsewhere")
    if value is not None and not (isinstance(value, str) and _VALUES[kind].fullmatch(value)):
        raise Refused(f"{value!r} is no value of {path or kind}")
    return Knob(kind, path)


def read(knob: Knob) -> str:
    """Its value now, a file's with its line end.  Raises OSError, Refused."""
    if knob.kind == "file":
        return text(knob.path)
    if knob.kind == "mode":
        said = tool("nvpmodel", "-q")[1]
        match = re.search(r"^NV Power Mode: \S+\s*\n(\d{1,4})\s*$", said, re.M)
        if match is None:
            raise Refused("nvpmodel does not say which mode is in force")
        return match.group(1)
    if knob.kind == "swap":
        line = re.compile(rf"^{re.escape(knob.path)}\s+\S+\s+\d+\s+\d+\s+(-?\d+)\s*$", re.M)
        found = line.search(text("/proc/swaps"))
        return "off" if found is None else f"on {found.group(1)}"
    if knob.kind == "service":
        return "active" if tool("systemctl", "is-active", knob.path)[1] == "active" else "inactive"
    raise Refused("jetson_clocks cannot be read by itself")


def write(knob: Knob, value: str, kept: str) -> None:
    """Set it.  kept: where `jetson_clocks --store` wrote what the clocks were.

    Raises OSError, Refused.
    """
    if knob.kind == "file":
        descriptor = os.open(knob.path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode("ascii"))
        finally:
            os.close(descriptor)
    elif knob.kind == "mode":
        _set_mode(value)
    elif knob.kind == "clocks":
        _set_clocks(value, kept)
    elif knob.kind == "swap":
        _set_swap(knob.path, value)
    else:
        _must("systemctl", "start" if value == "active" else "stop", knob.path)


def alike(knob: Knob, one: Optional[str], other: str) -> bool:
    """Whether two values are the same.  A priority below 0 is one that the kernel chose."""
    both = (one or "", other)
    return one == other or (knob.kind == "swap" and all(text.startswith("on -") for text in both))


def text(path: str) -> str:
    """A small file.  Raises OSError (EAGAIN of an absent sensor too).

    Of a boot file, which is written anew, no byte is lost: what is not UTF-8 is a surrogate.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < _MOST_BYTES:
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            data += piece
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "surrogateescape" if path.startswith("/boot/") else "replace")


def tool(*words: str) -> Tuple[Optional[int], str]:
    """Exit status and what it said; None if it is not there or does not end, or root may not run
    it, which is then what it "said".

    Its input is closed: a question gets no answer.
    """
    try:
        done = subprocess.run(
            [program_of(words[0]), *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TOOL_S,
            env={"PATH": PATH, "LC_ALL": "C"},
            cwd="/",
            check=False,
        )
    except PermissionError as error:
        return None, error.strerror or ""
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()[:_MOST_BYTES]


def look(asked: Dict[str, Any]) -> Dict[str, Any]:
    """Files by patterns, and commands' output.  Raises Refused for what is none of ours."""
    files: Dict[str, Optional[str]] = {}
    for pattern in asked["files"]:
        if not _READABLE.fullmatch(pattern) or ".." in pattern:
            raise Refused(f"{pattern!r} is not read here")
        for path in sorted(glob.glob(pattern)) if re.search(r"[*\[]", pattern) else [pattern]:
            if len(files) >= _MOST_FILES:
                break
            try:
                files[path] = text(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    files[path] = None
    commands = {}
    for words in asked["commands"]:
        if not _COMMANDS.fullmatch(words):
            raise Refused(f"{words!r} is not run here")
        status, said = tool(*words.split())
        commands[words] = {"status": status, "text": said}
    return {"files": files, "commands": commands, "uid": os.geteuid(), "boot_id": boot_id()}


def boot_id() -> str:
    """Names this run of the kernel."""
    return text("/proc/sys/kernel/random/boot_id").strip()


def expanded(patterns: List[str]) -> List[Knob]:
    """Files that may be changed and match, each once whatever links lead to it."""
    found: Dict[str, Knob] = {}
    for pattern in patterns:
        if not _READABLE.fullmatch(pattern) or ".." in pattern:
            raise Refused(f"{pattern!r} is not read here")
        paths = sorted(glob.glob(pattern)) if re.search(r"[*\[]", pattern) else [pattern]
        for path in filter(_FILES.fullmatch, paths):
            found.setdefault(os.path.realpath(path), Knob("file", path))
    return list(found.values())


def _set_mode(number: str) -> None:
    """Its word is not taken for it: `-q` says what is in force."""
    said = tool("nvpmodel", "-m", number)[1]
    if read(Knob("mode", "")) == number:
        return
    if re.search(r"reboot", said, re.I):
        raise Refused("this power mode needs a restart of the board; it was not changed")
    if re.search(r"error opening|permission|root", said, re.I):
        raise PermissionError(errno.EACCES, "nvpmodel needs root")
    last = said.splitlines()[-1:] or ["nothing"]
    raise Refused(f"the power mode did not change; nvpmodel said: {last[0][:200]}")


def _set_clocks(value: str, kept: str) -> None:
    if value == "on":
        _must("jetson_clocks")
    elif os.path.exists(kept):
        _must("jetson_clocks", "--restore", kept)
    else:
        _must("jetson_clocks", "--restore")  # from where the user stored them


def _set_swap(path: str, value: str) -> None:
    if value != "off":
        priority = value.split()[1]
        _must("swapon", *([] if priority.startswith("-") else ["-p", priority]), path)
        return
    used = re.search(rf"^{re.escape(path)}\s+\S+\s+\d+\s+(\d+)\s", text("/proc/swaps"), re.M)
    free = re.search(r"^MemAvailable:\s+(\d+) kB", text("/proc/meminfo"), re.M)
    if used and free and int(used.group(1)) * 2 > int(free.group(1)):
        raise Refused("what is in it does not fit in free memory with room to spare")
    _must("swapoff", path)


def _must(*words: str) -> None:
    status, said = tool(*words)
    if status == 0:
        return
    if os.geteuid() != 0:
        raise PermissionError(errno.EACCES, f"{words[0]} needs root")
    last = said.splitlines()[-1:] or ["it is not there" if status is None else "nothing"]
    raise Refused(f"{words[0]} failed: {last[0][:200]}")
