"""Uploads over links that break: one call gets over it, and there is never a second writer."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from targets import transfer_stream, transport
from targets.deadline import Deadline
from targets.errors import LinkLost
from targets.items import Item
from targets.ssh import connect
from targets.target import Target
from targets.transfer import Sent, open_store, read_file, send
from tests.targets import servers
from tests.targets.links import Link, link_to

SIZE_BYTES = 8_000_000


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture
def item() -> Item:
    return Item.of_bytes(os.urandom(SIZE_BYTES))


@pytest.fixture
def link(embedded: Target, own_settings: Path) -> Iterator[Link]:
    assert embedded.port is not None
    with link_to(embedded.port) as link:
        yield link


@pytest.fixture
def behind(embedded: Target, link: Link) -> Target:
    return servers.at_port(embedded, link.port)


def sent_to(target: Target, item: Item, *, python: bool = True, **how: float) -> Sent:
    """Sent, and looked at afterwards."""
    with connect(target, deadline=soon()) as connection:
        store = open_store(connection, deadline=soon())
        if not python:
            store = dataclasses.replace(store, python=None)
        sent = send(connection, [item], store=store, deadline=soon(), **how)  # type: ignore[arg-type]
        path = store.path(item.sha256)
        data = read_file(connection, path, deadline=soon(), limit_bytes=SIZE_BYTES)
        assert data == item.source
    return sent


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_a_reset_is_got_over_in_one_call(
    behind: Target, link: Link, item: Item, python: bool
) -> None:
    link.cut_after(SIZE_BYTES // 2)
    sent = sent_to(behind, item, python=python)
    assert sent.files_sent == 1
    # What was under way when it broke is sent twice.
    assert SIZE_BYTES <= sent.bytes_sent < 1.5 * SIZE_BYTES
    assert link.up_bytes < 1.5 * SIZE_BYTES


@pytest.mark.parametrize("python", [True, False], ids=["python", "sh"])
def test_a_break_that_the_board_does_not_hear_of_is_got_over_at_once(
    behind: Target, link: Link, item: Item, python: bool
) -> None:
    link.abandon_after(SIZE_BYTES // 2)
    began_at_s = time.monotonic()
    sent_to(behind, item, python=python)
    assert link.up_bytes < 1.5 * SIZE_BYTES, "what had arrived was sent again"
    assert time.monotonic() - began_at_s < 12, "the old receiver was waited for"


def test_a_receiver_that_hears_nothing_lets_go_of_its_file(
    behind: Target, link: Link, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = transfer_stream.program({"IDLE_S = 15.0": "IDLE_S = 2.0"})
    monkeypatch.setattr(transfer_stream, "program", lambda: hasty)
    link.abandon_after(SIZE_BYTES // 2)
    with connect(behind, deadline=soon()) as connection, pytest.raises(LinkLost):
        send(connection, [item], deadline=soon(), patience_s=0)
    # Another command: it may end nobody's receiver, and waits.
    before = link.up_bytes
    sent_to(behind, item)
    assert link.up_bytes - before < 0.75 * SIZE_BYTES, "what had arrived was sent again"


def test_a_host_that_is_silent_for_long_is_told_that_the_link_broke(
    behind: Target, link: Link, item: Item, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = transfer_stream.program({"IDLE_S = 15.0": "IDLE_S = 0.5"})
    monkeypatch.setattr(transfer_stream, "program", lambda: hasty)
    whole = Item.chunks

    def slowly(item: Item, spans: object) -> Iterator[bytes]:
        for count, data in enumerate(whole(item, spans)):  # type: ignore[arg-type]
            if count == 4:
                time.sleep(2)
            yield data

    monkeypatch.setattr(Item, "chunks", slowly)
    with connect(behind, deadline=soon()) as connection, pytest.raises(LinkLost):
        send(connection, [item], deadline=soon(), patience_s=0)


def test_a_host_on_a_slow_link_keeps_its_file_from_another(
    behind: Target, embedded: Target, link: Link, item: Item
) -> None:
    link.slow_down(3_000_000)
    with ThreadPoolExecutor() as beside:
        slow = beside.submit(sent_to, behind, item)
        time.sleep(1)
        sent = sent_to(embedded, item)
        assert sent.bytes_sent == SIZE_BYTES, "it went on in a file that another one writes"
        assert slow.result().files_sent == 1


def test_every_tcp_connection_ends_when_the_link_is_dead(
    embedded: Target, own_settings: Path
) -> None:
    with connect(embedded, deadline=soon()) as connection:
        sock = connection._transport.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_dead_link_behind_a_proxy_command_is_noticed(
    behind: Target, link: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "KEEPALIVE_S", 0.3)
    monkeypatch.setattr(transport, "SILENT_LINK_S", 1)
    pipe = tmp_path / "pipe.py"
    pipe.write_text(
        "import socket, sys, threading, os\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
    )
    config = tmp_path / "config"
    config.write_text(f"Host *\n  ProxyCommand {sys.executable} {pipe} {link.port}\n")
    with connect(dataclasses.replace(behind, ssh_config=config), deadline=soon()) as connection:
        time.sleep(2.5)
        assert connection.is_open, "a quiet link was taken for a dead one"
        link.freeze()
        time.sleep(3)
        assert not connection.is_open
        with pytest.raises(LinkLost):
            connection.run("true", deadline=soon())
