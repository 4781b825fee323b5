"""The agent as one file: a zipapp with the same bytes for the same sources."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from targets.files import sha256_file, write_whole

PACKAGE = "halfbyte_agent"
_EPOCH = (1980, 1, 1, 0, 0, 0)

# Also read by interpreters that are too old for the package, so it keeps to what they know.
_MAIN = """\
import sys
if sys.version_info < (3, 8):
    sys.exit("agent: Python 3.8 or newer is needed; this is %d.%d" % sys.version_info[:2])
from halfbyte_agent.__main__ import main
sys.exit(main())
"""


@dataclass(frozen=True)
class AgentFile:
    """The zipapp on this host; it is named by the sha256 of its bytes."""

    path: Path
    sha256: str


def build(cache: Path) -> AgentFile:
    """Pack `targets.agent` into `cache`/agents/<sha256>.pyz, once for each content.

    Run there as `python <sha256>.pyz run` or `facts`.  Raises OSError.
    """
    data = packed(sources())
    digest = hashlib.sha256(data).hexdigest()
    path = cache / "agents" / f"{digest}.pyz"
    if not path.is_file() or sha256_file(path) != digest:
        write_whole(path, data)
    return AgentFile(path, digest)


def sources() -> dict[str, bytes]:
    """The agent's own files by name: Python sources and nothing compiled."""
    folder = resources.files("targets.agent")
    return {
        item.name: item.read_bytes()
        for item in folder.iterdir()
        if item.is_file() and item.name.endswith(".py")
    }


def packed(files: dict[str, bytes]) -> bytes:
    """The bytes of a zipapp with `files` as its package.

    Stored, not deflated: the bytes then hang on no version of zlib, and 100 kB are quickly sent.
    """
    members = {f"{PACKAGE}/{name}": data for name, data in files.items()}
    members["__main__.py"] = _MAIN.encode("ascii")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()
