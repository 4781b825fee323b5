"""Boards that nobody reaches, or no longer: told as what it is, within the deadline."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from targets.deadline import Deadline
from targets.errors import DeadlineExceeded, InventoryError, LinkLost, Unreachable
from targets.ssh import connect
from targets.target import Target
from tests.targets import servers
from tests.targets.links import link_to


def soon() -> Deadline:
    return Deadline.after(20)


@pytest.fixture(autouse=True)
def _settings(own_settings: Path) -> None:
    pass


def at(port: int, **more: object) -> Target:
    return Target("pi", "127.0.0.1", port=port, user="pi", **more)  # type: ignore[arg-type]


def test_a_refused_connection_names_host_and_port() -> None:
    port = servers.free_port()
    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1.*refused.*{port}") as caught:
        connect(at(port), deadline=soon())
    assert "SSH server running" in caught.value.hint


def test_a_name_that_does_not_resolve_says_so() -> None:
    target = Target("pi", "no-such-board.invalid", user="pi")
    with pytest.raises(Unreachable, match=r"no-such-board\.invalid"):
        connect(target, deadline=soon())


def test_a_silent_port_ends_with_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeadlineExceeded, match="SSH server"):
            connect(at(port), deadline=Deadline.after(1))


def test_a_server_of_another_kind_is_no_ssh_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Unreachable, match="not as an SSH server"):
            connect(at(server.getsockname()[1]), deadline=soon())


def test_loopback_must_be_started_first() -> None:
    with pytest.raises(InventoryError, match="not running"):
        connect(Target("loopback", "127.0.0.1"), deadline=soon())


def test_a_link_that_is_cut_is_told_from_a_program_that_ended(embedded: Target) -> None:
    assert embedded.port is not None
    with link_to(embedded.port) as link:
        target = servers.at_port(embedded, link.port)
        with connect(target, deadline=soon()) as connection:
            with connection.start("sleep 60", deadline=soon()) as process:
                link.cut()
                with pytest.raises(LinkLost, match="broke"):
                    process.read(deadline=soon())
                with pytest.raises(LinkLost):
                    process.wait(deadline=soon())
            assert not connection.is_open
            with pytest.raises(LinkLost):
                connection.run("true", deadline=soon())
            connection.renew(deadline=soon())
            assert connection.run("echo back", deadline=soon()).stdout == b"back\n"


def test_a_frozen_link_ends_every_wait_with_its_deadline(embedded: Target) -> None:
    assert embedded.port is not None
    with link_to(embedded.port) as link:
        target = servers.at_port(embedded, link.port)
        with connect(target, deadline=soon()) as connection:
            process = connection.start(["cat"], stdin=True, deadline=soon())
            link.freeze()
            with pytest.raises(DeadlineExceeded):
                process.read(deadline=Deadline.after(0.5))
            with pytest.raises(DeadlineExceeded):
                process.write(os.urandom(64_000_000), deadline=Deadline.after(0.5))
            with pytest.raises((DeadlineExceeded, LinkLost)):
                connection.run("true", deadline=Deadline.after(0.5))
