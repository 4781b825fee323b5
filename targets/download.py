"""Files over HTTP whose bytes are known beforehand: resumed after a cut, whole or absent."""

from __future__ import annotations

import base64
import contextlib
import email.message
import http.client
import logging
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from targets.errors import ChecksumMismatch, FetchError, NotReachable
from targets.files import sha256_file
from targets.progress import SILENT, Progress, Task

log = logging.getLogger(__name__)

_SILENCE_S = 60.0  # longest wait for the next bytes
_TRIES = 4
_CHUNK_BYTES = 1 << 18
_MAX_PAGE_BYTES = 64 << 20


class Response(Protocol):
    """What `open_url` gives: status, headers, the address after redirects, and the body."""

    status: int
    headers: email.message.Message
    url: str

    def read(self, amount: int = ..., /) -> bytes:
        """At most `amount` bytes of the body; empty at its end."""


def download(
    url: str, to: Path, sha256: str, *, size_bytes: int | None = None, progress: Progress = SILENT
) -> Path:
    """The file at `url` under `to`, there only once its bytes hash to `sha256`.

    A file that is already there and right is not fetched again.  What an earlier call left in
    `<to>.part` is continued.  Two processes may ask for the same file at once: one waits.
    size_bytes: what the file should have; more than that is never stored.
    Raises NotReachable, ChecksumMismatch, FetchError.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(to.name + ".part")
    with _alone(part):
        if to.is_file():
            if sha256_file(to) == sha256:
                return to
            log.warning("%s is not what it should be; fetching it again", to)
        with progress.task(f"Fetching {to.name}", size_bytes, "B") as task:
            _fill(url, part, size_bytes, task)
        seen = sha256_file(part)
        if seen != sha256:
            part.unlink()
            raise ChecksumMismatch(
                f"{to.name} from {shown(url)} has sha256 {seen}, not {sha256}.",
                hint="Nothing was kept. Try again; if it repeats, the source serves other bytes.",
            )
        part.replace(to)
    return to


def read_page(url: str, *, accept: str) -> tuple[bytes, str, str]:
    """A small document: its bytes, content type, and its address after redirects.

    Raises NotReachable, FetchError.
    """
    with open_url(url, {"Accept": accept}) as response, _translated(url):
        body = response.read(_MAX_PAGE_BYTES + 1)
        if len(body) > _MAX_PAGE_BYTES:
            raise FetchError(f"{shown(url)} answers with more than {_MAX_PAGE_BYTES} bytes.")
        return body, response.headers.get_content_type(), response.url


@contextlib.contextmanager
def open_url(url: str, headers: dict[str, str]) -> Iterator[Response]:
    """A GET request, by the proxies of the environment and the certificates that pip would use.

    Raises NotReachable for no answer, FetchError for an answer that is no file.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise FetchError(
            f"{shown(url)} is no http or https address.", hint="Give an https address."
        )
    if parts.username is not None:
        login = (
            f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        )
        headers = {**headers, "Authorization": _basic(login)}
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(url, headers={"User-Agent": "halfbyte", **headers})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=_tls()))
    with _translated(url):
        response = opener.open(request, timeout=_SILENCE_S)
    with response:
        yield response


def shown(url: str) -> str:
    """The address without a password in it."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _fill(url: str, part: Path, size_bytes: int | None, task: Task) -> None:
    """Append to `part` until the server says that this was all; a broken link is tried again."""
    shown_bytes = 0
    for tries_left in reversed(range(_TRIES)):
        have = part.stat().st_size
        if size_bytes is not None and have > size_bytes:
            os.truncate(part, 0)
            have = 0
        if have > shown_bytes:
            task.advance(have - shown_bytes)
            shown_bytes = have
        if size_bytes is not None and have == size_bytes:
            return
        try:
            for fresh in _append(url, part, have, size_bytes):
                task.advance(fresh)
                shown_bytes += fresh
        except NotReachable:
            if not tries_left:
                raise
            log.info("%s: the link broke, trying again", shown(url), exc_info=True)
            task.note("trying again")
            time.sleep(0.5 * (_TRIES - tries_left))
        else:
            return


def _append(url: str, part: Path, have: int, size_bytes: int | None) -> Iterator[int]:
    """Fetch from byte `have` on; yields how many bytes each write added."""
    with open_url(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        # A server may ignore the range and send all of it again.
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        expected = response.headers.get("Content-Length")
        missing = int(expected) if expected and expected.isdigit() else None
        with part.open("ab" if resumed else "wb") as stream:
            total = have if resumed else 0
            for chunk in _chunks(url, response):
                total += len(chunk)
                if size_bytes is not None and total > size_bytes:
                    raise ChecksumMismatch(
                        f"{shown(url)} is larger than the {size_bytes} bytes it should have.",
                        hint="The source serves another file; nothing of it is used.",
                    )
                stream.write(chunk)
                if missing is not None:
                    missing -= len(chunk)
                yield len(chunk)
        if missing:
            raise NotReachable(f"{shown(url)} ended {missing} bytes early.", hint=_TRY_LATER)


def _chunks(url: str, response: Response) -> Iterator[bytes]:
    with _translated(url):
        while chunk := response.read(_CHUNK_BYTES):
            yield chunk


_TRY_LATER = "Try again: what has arrived is kept and continued."


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """What the HTTP library raises, as errors of ours."""
    where = shown(url)
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise FetchError(
                f"{where} refuses access (HTTP {error.code}).",
                hint="The address may need a login, or this network may not allow it.",
            ) from error
        if error.code < 500 and error.code != 429:
            raise FetchError(
                f"{where} is not there (HTTP {error.code}).", hint="Check the address."
            ) from error
        raise NotReachable(f"{where} answers HTTP {error.code}.", hint="Try later.") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise NotReachable(
                f"The certificate of {where} is not trusted: {error.reason.verify_message}.",
                hint="Behind a proxy that re-signs, point PIP_CERT at its certificate bundle.",
            ) from error
        raise NotReachable(
            f"{where} cannot be reached: {error.reason}.",
            hint="Check the network, and HTTPS_PROXY where one is needed.",
        ) from error
    except (TimeoutError, http.client.HTTPException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise NotReachable(f"{where} broke off: {reason}.", hint=_TRY_LATER) from error


def _tls() -> ssl.SSLContext:
    """The system's certificates, or the bundle that pip was told to use."""
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        bundle = os.environ.get(name)
        if bundle and Path(bundle).is_file():
            return ssl.create_default_context(cafile=bundle)
    return ssl.create_default_context()


def _basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode("ascii")


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """Hold `part` (made if absent) against other processes.

    The winner renames or removes the file it locked, so a waiter looks again after waking.
    """
    while True:
        with part.open("ab") as stream:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX)
            if not _same(part, stream):
                continue
            try:
                yield stream
            finally:
                if part.is_file() and not part.stat().st_size:
                    part.unlink()
            return


def _same(part: Path, stream: IO[bytes]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(part.stat(), os.fstat(stream.fileno()))
    return False
