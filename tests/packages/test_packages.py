"""A real index on a free port of this machine, real archives, real cuts of the link."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from targets import packages
from targets.errors import ChecksumMismatch, FetchError, NotReachable

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "thing-1.0-py3-none-any.whl"


class Index:
    """A simple index with one project, which can break links and forget about ranges."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.listed_sha256: str | None = SHA256
        self.as_html = False
        self.cut_after: list[int] = []  # how many bytes each next answer gives before it breaks
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
        self.honour_ranges = True
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.0"

            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                index.logins.append(self.headers.get("Authorization"))
                if self.path == "/simple/thing/":
                    kind, body = index.page()
                    self.answer(200, {"Content-Type": kind}, body)
                elif self.path == f"/files/{NAME}":
                    self.file()
                else:
                    self.send_error(404)

            def file(self) -> None:
                asked = self.headers.get("Range")
                index.ranges.append(asked)
                body, status = index.content, 200
                if asked and index.honour_ranges:
                    body = body[int(asked.removeprefix("bytes=").rstrip("-")) :]
                    status = 206
                sent = body[: index.cut_after.pop(0)] if index.cut_after else body
                self.answer(status, {"Content-Length": str(len(body))}, sent)

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    def page(self) -> tuple[str, bytes]:
        if self.as_html:
            fragment = f"#sha256={self.listed_sha256}" if self.listed_sha256 else ""
            link = f'<!DOCTYPE html><a href="../../files/{NAME}{fragment}">{NAME}</a>'
            return "text/html", link.encode()
        hashes = {"sha256": self.listed_sha256} if self.listed_sha256 else {}
        file = {"filename": NAME, "url": f"../../files/{NAME}", "hashes": hashes}
        body = json.dumps({"meta": {"api-version": "1.1"}, "files": [file]})
        return "application/vnd.pypi.simple.v1+json", body.encode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index()
    thread = threading.Thread(target=index.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HALFBYTE_INDEX_URL", index.url)
    monkeypatch.setenv("HALFBYTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield index
    index.server.shutdown()
    index.server.server_close()
    thread.join()


def fetch() -> Path:
    return packages.fetch("Thing", NAME, SHA256)


@pytest.mark.parametrize("as_html", [False, True], ids=["json", "html"])
def test_a_file_of_the_index_arrives_whole_under_its_hash(index: Index, as_html: bool) -> None:
    index.as_html = as_html
    path = fetch()
    assert path.read_bytes() == CONTENT
    assert [path.name] == [other.name for other in path.parent.iterdir()]
    assert SHA256 in path.parts


def test_a_cached_file_is_not_asked_for_again(index: Index) -> None:
    fetch()
    fetch()
    assert len(index.ranges) == 1


def test_a_cached_file_that_went_bad_is_fetched_again(index: Index) -> None:
    fetch().write_bytes(b"rot")
    assert fetch().read_bytes() == CONTENT


def test_a_cut_link_is_continued_where_it_broke(index: Index) -> None:
    index.cut_after = [300_000, 200_000]
    assert fetch().read_bytes() == CONTENT
    assert index.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_a_later_call_continues_what_an_earlier_one_left(index: Index) -> None:
    index.cut_after = [100_000, 0, 0, 0]
    with pytest.raises(NotReachable, match="early"):
        fetch()
    assert fetch().read_bytes() == CONTENT
    assert index.ranges[-1] == "bytes=100000-"


def test_a_server_without_ranges_sends_all_of_it_again(index: Index) -> None:
    index.honour_ranges = False
    index.cut_after = [300_000]
    assert fetch().read_bytes() == CONTENT


def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(
    index: Index, tmp_path: Path
) -> None:
    index.content, index.listed_sha256 = CONTENT[:-1] + b"x", None
    with pytest.raises(ChecksumMismatch, match=SHA256):
        fetch()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_an_index_that_lists_another_hash_is_refused_before_the_download(index: Index) -> None:
    index.listed_sha256 = "0" * 64
    with pytest.raises(ChecksumMismatch, match="0000"):
        fetch()
    assert index.ranges == []


def test_more_bytes_than_stated_are_never_stored(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch, match="larger than the 1000 bytes"):
        packages.fetch("thing", NAME, SHA256, size_bytes=1000)
    assert all(path.stat().st_size <= 1000 for path in (tmp_path / "cache").rglob("*.part"))


def test_no_network_says_which_file_to_put_where(index: Index, tmp_path: Path) -> None:
    index.server.server_close()
    with pytest.raises(NotReachable) as caught:
        fetch()
    place = tmp_path / "cache" / "packages" / SHA256 / NAME
    assert str(place) in caught.value.hint
    assert "HALFBYTE_CACHE" in caught.value.hint
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(CONTENT)
    assert fetch() == place


def test_unknown_project_and_unknown_file_are_told_apart(index: Index) -> None:
    with pytest.raises(FetchError, match="404"):
        packages.fetch("nothing", NAME, SHA256)
    with pytest.raises(FetchError, match=r"no other\.whl"):
        packages.fetch("thing", "other.whl", SHA256)


def test_a_login_goes_to_the_index_and_never_into_a_message(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFBYTE_INDEX_URL", index.url.replace("://", "://me:s3cret@"))
    fetch()
    assert index.logins == ["Basic bWU6czNjcmV0"] * 2
    with pytest.raises(FetchError) as caught:
        packages.fetch("nothing", "other.whl", SHA256)
    assert "s3cret" not in caught.value.message + caught.value.hint


def test_members_come_out_by_name(tmp_path: Path) -> None:
    members = {"a/one.txt": b"one", "a/two.txt": b"two" * 1000}
    for archive in (_zip(tmp_path / "x.whl", members), _tar(tmp_path / "x.tar.gz", members)):
        assert packages.member_names(archive) == tuple(members)
        assert packages.read_member(archive, "a/two.txt") == members["a/two.txt"]
        to = tmp_path / archive.name.replace(".", "-") / "1"
        packages.extract(archive, {"a/one.txt": to})
        assert to.read_bytes() == b"one"
        assert [*to.parent.iterdir()] == [to]
        with pytest.raises(FetchError, match="nowhere"):
            packages.read_member(archive, "nowhere")
        with pytest.raises(FetchError, match="3000 bytes"):
            packages.read_member(archive, "a/two.txt", limit_bytes=2999)


def test_a_link_inside_an_archive_is_no_member(tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as writing:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        writing.addfile(link)
    with pytest.raises(FetchError, match="no link"):
        packages.read_member(archive, "link")


@pytest.mark.parametrize("kind", ["whl", "tar.gz"])
def test_a_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    members = {"noise": hashlib.shake_128(b"noise").digest(100_000)}
    archive = (_zip if kind == "whl" else _tar)(tmp_path / f"x.{kind}", members)
    data = archive.read_bytes()
    # A zip is found by its end, so it is damaged in the middle; a tar.gz is cut.
    archive.write_bytes(data[:50_000] + (bytes(10) + data[50_010:] if kind == "whl" else b""))
    with pytest.raises(FetchError, match=f"x.{kind} cannot be unpacked"):
        packages.read_member(archive, "noise")


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
