"""Files to boards of every kind, without sftp: verified, resumed, skipped, and room checked."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import transfer
from targets.deadline import Deadline
from targets.errors import (
    CommandFailed,
    CorruptUpload,
    DeadlineExceeded,
    HalfbyteError,
    InputError,
    LinkLost,
    NoSpace,
)
from targets.items import Item
from targets.progress import Task
from targets.ssh import Connection, connect
from targets.target import Target
from targets.transfer import Store, fetch, open_store, read_file, room_at, send
from tests.targets import servers
from tests.targets.links import Link, link_to


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture(params=["python", "sh"])
def store(request: pytest.FixtureRequest, connection: Connection) -> Store:
    """An empty store on each kind of board, filled by a Python there or by sh alone."""
    store = open_store(connection, deadline=soon())
    connection.run('rm -rf "$1"/objects/*', store.root, deadline=soon(), check=True)
    if request.param == "python" and store.python is None:
        pytest.skip("this board has no Python")
    return store if request.param == "python" else dataclasses.replace(store, python=None)


def items_of(*sizes: int) -> list[Item]:
    return [Item.of_bytes(os.urandom(size)) for size in sizes]


def content(connection: Connection, store: Store, item: Item) -> bytes:
    path = store.path(item.sha256)
    return read_file(connection, path, deadline=soon(), limit_bytes=64_000_000)


def test_files_of_all_sizes_arrive(connection: Connection, store: Store) -> None:
    items = items_of(0, 1, 1000, 65_536, 300_000, 3_000_001)
    sent = send(connection, items, store=store, deadline=soon())
    assert (sent.files_sent, sent.files_present) == (6, 0)
    assert sent.bytes_sent == sum(item.size_bytes for item in items)
    for item in items:
        assert content(connection, store, item) == item.source


def test_what_is_there_is_not_sent_again(connection: Connection, store: Store) -> None:
    old, new = items_of(5000, 6000)
    send(connection, [old], store=store, deadline=soon())
    sent = send(connection, [old, new, new], store=store, deadline=soon())
    assert (sent.files_sent, sent.files_present, sent.bytes_sent) == (1, 1, 6000)


def test_many_small_files_arrive(connection: Connection, store: Store) -> None:
    items = items_of(*range(1000, 1030))
    send(connection, items, store=store, deadline=soon())
    hashes = 'cd "$1" && for name in *; do sha256sum < "$name"; done'
    done = connection.run(hashes, store.objects, deadline=soon(), check=True)
    seen = {line.split()[0] for line in done.stdout.decode().splitlines()}
    assert seen == {item.sha256 for item in items}


def test_a_beginning_is_continued(connection: Connection, store: Store) -> None:
    [item] = items_of(500_000)
    assert isinstance(item.source, bytes)
    part = 'cat > "$1".part'
    connection.run(part, store.path(item.sha256), stdin=item.source[:200_000], deadline=soon())
    sent = send(connection, [item], store=store, deadline=soon())
    assert sent.bytes_sent == 300_000
    assert content(connection, store, item) == item.source


def test_a_bad_beginning_is_sent_again_from_its_start(connection: Connection, store: Store) -> None:
    [item] = items_of(500_000)
    part = 'cat > "$1".part'
    connection.run(part, store.path(item.sha256), stdin=os.urandom(200_000), deadline=soon())
    send(connection, [item], store=store, deadline=soon())
    assert content(connection, store, item) == item.source


def test_a_beginning_that_is_too_long_is_thrown_away(connection: Connection, store: Store) -> None:
    [item] = items_of(5_000)
    part = 'cat > "$1".part'
    connection.run(part, store.path(item.sha256), stdin=os.urandom(9_000), deadline=soon())
    send(connection, [item], store=store, deadline=soon())
    assert content(connection, store, item) == item.source


def test_bytes_that_are_not_what_their_name_says_never_get_it(
    connection: Connection, store: Store
) -> None:
    wrong = dataclasses.replace(items_of(10_000)[0], sha256=hashlib.sha256(b"else").hexdigest())
    with pytest.raises(CorruptUpload):
        send(connection, [wrong], store=store, deadline=soon())
    listing = connection.run(["ls", "-a", store.objects], deadline=soon())
    assert listing.stdout.split() == [b".", b".."]


def test_files_are_for_their_user_alone(connection: Connection, store: Store) -> None:
    [item] = items_of(10)
    send(connection, [item], store=store, deadline=soon())
    script = 'ls -ld "$1" "$1/objects" "$2" | cut -c1-10'
    done = connection.run(script, store.root, store.path(item.sha256), deadline=soon())
    assert done.stdout.split() == [b"drwx------", b"drwx------", b"-rw-------"]


def test_progress_counts_every_byte_once(connection: Connection, store: Store) -> None:
    class Counting:
        done = 0.0
        total: float | None = None

        @contextlib.contextmanager
        def task(self, label: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
            self.total = total
            yield self

        def advance(self, amount: float = 1) -> None:
            assert amount >= 0
            self.done += amount

        def note(self, text: str) -> None:
            pass

    items = items_of(10, 700_000, 300)
    progress = Counting()
    send(connection, items, store=store, deadline=soon(), progress=progress)
    assert progress.done == progress.total == 700_310


def test_the_store_is_in_the_home_that_the_board_names(connection: Connection) -> None:
    home = connection.run("cd && pwd -P", deadline=soon()).stdout.decode().rstrip("\n")
    assert open_store(connection, deadline=soon()).root == f"{home}/.halfbyte"


def test_a_file_comes_back(connection: Connection, tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    connection.run('cat > "it\'s here"', stdin=data, deadline=soon(), check=True)
    into = tmp_path / "into"
    count = fetch(connection, "it's here", into, deadline=soon(), limit_bytes=2_000_000)
    assert count == 2_000_000
    assert into.read_bytes() == data
    with pytest.raises(CommandFailed, match="larger than"):
        fetch(connection, "it's here", into, deadline=soon(), limit_bytes=1_999_999)
    with pytest.raises(CommandFailed, match="larger than"):
        read_file(connection, "it's here", deadline=soon(), limit_bytes=100)
    assert into.read_bytes() == data


def test_a_file_that_is_not_there_is_named(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no such"):
        fetch(connection, "no such", tmp_path / "into", deadline=soon(), limit_bytes=10)
    assert not (tmp_path / "into").exists()
    with pytest.raises(CommandFailed, match="no such"):
        read_file(connection, "no such", deadline=soon())


def test_the_room_on_a_file_system_is_told(connection: Connection) -> None:
    room = room_at(connection, "/", deadline=soon())
    assert room.file_system == "/"
    assert room.free_bytes is not None
    assert room.free_bytes > 0


# Links that break


@pytest.fixture
def behind_link(embedded: Target, own_settings: Path) -> Iterator[tuple[Target, Link]]:
    assert embedded.port is not None
    with link_to(embedded.port) as link:
        yield servers.at_port(embedded, link.port), link


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_an_upload_that_was_cut_goes_on_where_it_stopped(
    behind_link: tuple[Target, Link], python: bool
) -> None:
    target, link = behind_link
    items = items_of(8_000_000, 100_000, 20)
    connection = connect(target, deadline=soon())
    store = open_store(connection, deadline=soon())
    if not python:
        store = dataclasses.replace(store, python=None)
    link.cut_after(link.up_bytes + 5_000_000)
    with pytest.raises(LinkLost):
        send(connection, items, store=store, deadline=soon(), patience_s=0)
    link.cut_after(None)
    connection.renew(deadline=soon())
    with connection:
        sent = send(connection, items, store=store, deadline=soon())
        assert sent.bytes_sent < 8_100_020 - 1_000_000
        for item in items:
            assert content(connection, store, item) == item.source


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_an_upload_that_stalls_ends(behind_link: tuple[Target, Link], python: bool) -> None:
    target, link = behind_link
    connection = connect(target, deadline=soon())
    store = open_store(connection, deadline=soon())
    if not python:
        store = dataclasses.replace(store, python=None)
    link.freeze()
    with pytest.raises((DeadlineExceeded, LinkLost)):
        send(
            connection, items_of(30_000_000), store=store, deadline=soon(), stall_s=1, patience_s=0
        )


def test_two_hosts_may_send_the_same_file_at_once(embedded: Target, own_settings: Path) -> None:
    import threading

    [item] = items_of(20_000_000)
    problems: list[HalfbyteError] = []

    def push() -> None:
        try:
            with connect(embedded, deadline=soon()) as connection:
                send(connection, [item], deadline=soon())
        except HalfbyteError as error:
            problems.append(error)

    threads = [threading.Thread(target=push) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with connect(embedded, deadline=soon()) as connection:
        store = open_store(connection, deadline=soon())
        assert content(connection, store, item) == item.source


# Things that are not as they should be


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_lack_of_room_is_named_before_anything_is_sent(
    tmp_path: Path, embedded: Target, own_settings: Path, python: bool
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("a small file system cannot be mounted here: needs root")
    try:
        target = dataclasses.replace(embedded, root=str(place / "ours"))
        with connect(target, deadline=soon()) as connection:
            store = open_store(connection, deadline=soon())
            if not python:
                store = dataclasses.replace(store, python=None)
            with pytest.raises(NoSpace) as caught:
                send(connection, items_of(6_000_000), store=store, deadline=soon())
            assert f"on {place}" in caught.value.message
            assert "6,000,640 bytes are needed" in caught.value.message
            assert "Nothing was sent" in caught.value.message
            assert list((place / "ours" / "objects").iterdir()) == []
            send(connection, items_of(2_000_000), store=store, deadline=soon())
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_room_that_runs_out_on_the_way_is_named(
    tmp_path: Path, embedded: Target, own_settings: Path, python: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here: needs root")
    # Another program fills it between our question and our bytes.
    monkeypatch.setattr(transfer, "_check_room", lambda *_: None)
    try:
        target = dataclasses.replace(embedded, root=str(place))
        with connect(target, deadline=soon()) as connection:
            store = open_store(connection, deadline=soon())
            if not python:
                store = dataclasses.replace(store, python=None)
            with pytest.raises(NoSpace, match="ran out of room"):
                send(connection, items_of(6_000_000), store=store, deadline=soon())
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_root_that_cannot_be_made_is_named(embedded: Target, own_settings: Path) -> None:
    target = dataclasses.replace(embedded, root="/proc/ours")
    with connect(target, deadline=soon()) as connection, pytest.raises(CommandFailed) as caught:
        open_store(connection, deadline=soon())
    assert "/proc/ours" in caught.value.message
    assert "root" in caught.value.hint


@pytest.mark.parametrize("root", ["~/else where", "else where"])
def test_the_root_may_be_chosen(embedded: Target, own_settings: Path, root: str) -> None:
    with connect(dataclasses.replace(embedded, root=root), deadline=soon()) as connection:
        home = connection.run("pwd -P", deadline=soon()).stdout.decode().strip()
        assert open_store(connection, deadline=soon()).root == f"{home}/else where"


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_a_file_that_changes_meanwhile_is_named(
    embedded: Target, own_settings: Path, tmp_path: Path, python: bool
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(os.urandom(100_000))
    same_size, shorter = Item.of_file(path), Item.of_file(path)
    with connect(embedded, deadline=soon()) as connection:
        store = open_store(connection, deadline=soon())
        if not python:
            store = dataclasses.replace(store, python=None)
        path.write_bytes(os.urandom(100_000))
        with pytest.raises(InputError, match=r"model\.tflite changed"):
            send(connection, [same_size], store=store, deadline=soon())
        path.write_bytes(b"short")
        with pytest.raises(InputError, match=r"model\.tflite changed"):
            send(connection, [shorter], store=store, deadline=soon())


def test_a_file_that_is_not_there_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        Item.of_file(tmp_path / "none")


def test_only_a_hash_names_a_file_of_the_store() -> None:
    store = Store("/home/pi/.halfbyte", None)
    with pytest.raises(ValueError, match="no SHA-256"):
        store.path("../../etc/passwd")


def test_a_board_without_any_hash_tool_says_so(tmp_path: Path, own_settings: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "wc", "df", "mkdir", "chmod", "touch", "rm", "mv", "printf", "test"):
        (tools / name).symlink_to(servers.needs(name, "coreutils"))
    shell = tmp_path / "login-shell"
    shell.write_text(f"#!/bin/sh\nPATH='{tools}'; export PATH\nexec sh \"$@\"\n")
    shell.chmod(0o755)
    with servers.embedded(tmp_path, str(shell)) as target:
        target = dataclasses.replace(target, python=None)
        with connect(target, deadline=soon()) as connection:
            store = dataclasses.replace(open_store(connection, deadline=soon()), python=None)
            with pytest.raises(CommandFailed, match="no sha256sum"):
                send(connection, items_of(10), store=store, deadline=soon())
            (tools / "busybox").symlink_to(servers.needs("busybox", "busybox"))
            [item] = items_of(100_000)
            send(connection, [item], store=store, deadline=soon())
            done = connection.run('wc -c < "$1"', store.path(item.sha256), deadline=soon())
            assert int(done.stdout) == 100_000
