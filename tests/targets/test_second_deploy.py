"""What a board has in other files is not sent: by pieces, whatever lies in its store."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from targets import transfer_stream
from targets.deadline import Deadline
from targets.errors import CommandFailed
from targets.items import Item
from targets.ssh import Connection, connect
from targets.target import Target
from targets.transfer import Store, open_store, read_file, send
from tests.targets import layered, servers
from tests.targets.links import Link, link_to

CHANGED = (4, 6, 7)
OLD = Item.of_bytes(layered.model())
NEW = Item.of_bytes(layered.model(dict.fromkeys(CHANGED, 1)))
CHANGED_BYTES = sum(layered.layer_bytes(layer) for layer in CHANGED)


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.fixture
def link(embedded: Target, own_settings: Path) -> Iterator[Link]:
    assert embedded.port is not None
    with link_to(embedded.port) as link:
        yield link


@pytest.fixture
def linked(embedded: Target, link: Link) -> Iterator[Connection]:
    with connect(servers.at_port(embedded, link.port), deadline=soon()) as connection:
        store = open_store(connection, deadline=soon())
        connection.run('rm -rf "$1"/objects/*', store.root, deadline=soon(), check=True)
        yield connection


def is_whole(connection: Connection, store: Store, item: Item) -> bool:
    path = store.path(item.sha256)
    return read_file(connection, path, deadline=soon(), limit_bytes=9_000_000) == item.source


def test_three_layers_that_changed_cost_little_more_than_they_have(
    linked: Connection, link: Link
) -> None:
    send(linked, [OLD], deadline=soon())
    before = link.up_bytes
    sent = send(linked, [NEW], deadline=soon())
    assert is_whole(linked, sent.store, NEW)
    assert sent.bytes_sent <= 1.01 * CHANGED_BYTES
    assert sent.bytes_sent + sent.bytes_copied == NEW.size_bytes
    crossed = link.up_bytes - before  # the program, questions and SSH's own bytes as well
    assert crossed <= 1.2 * CHANGED_BYTES, f"{crossed} bytes for {CHANGED_BYTES}"


def test_a_model_is_found_on_every_kind_of_board(connection: Connection) -> None:
    store = open_store(connection, deadline=soon())
    if store.python is None:
        pytest.skip("this board has no Python")
    send(connection, [OLD], deadline=soon())
    sent = send(connection, [NEW], deadline=soon())
    assert sent.bytes_copied > 0
    assert is_whole(connection, store, NEW)


def test_two_versions_sent_at_once_are_each_made_from_what_is_there(linked: Connection) -> None:
    send(linked, [OLD], deadline=soon())
    other = Item.of_bytes(layered.model({1: 1}))
    sent = send(linked, [NEW, other], deadline=soon())
    assert sent.bytes_sent <= 1.01 * (CHANGED_BYTES + layered.layer_bytes(1))
    assert is_whole(linked, sent.store, NEW)
    assert is_whole(linked, sent.store, other)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_a_beginning_is_continued_between_pieces_and_inside_them(
    linked: Connection, share: float
) -> None:
    assert isinstance(NEW.source, bytes)
    send(linked, [OLD], deadline=soon())
    store = open_store(linked, deadline=soon())
    beginning = NEW.source[: int(share * NEW.size_bytes)]
    part = store.path(NEW.sha256) + ".part"
    linked.run('cat > "$1"', part, stdin=beginning, deadline=soon(), check=True)
    sent = send(linked, [NEW], deadline=soon())
    assert is_whole(linked, store, NEW)
    assert sent.bytes_sent + sent.bytes_copied == NEW.size_bytes - len(beginning)
    assert sent.bytes_sent <= 1.01 * CHANGED_BYTES


def test_a_bad_beginning_is_sent_again_with_all_pieces(linked: Connection) -> None:
    send(linked, [OLD], deadline=soon())
    store = open_store(linked, deadline=soon())
    part = store.path(NEW.sha256) + ".part"
    linked.run('cat > "$1"', part, stdin=bytes(100_000), deadline=soon(), check=True)
    send(linked, [NEW], deadline=soon())
    assert is_whole(linked, store, NEW)


@pytest.mark.parametrize(
    "damage",
    [
        'printf x | dd of="$1" bs=1 seek=400000 conv=notrunc 2>/dev/null',
        'rm "$1"',
        'head -c 1001 "$1".pieces > x && cat x > "$1".pieces',
        'rm "$1".pieces && mkdir "$1".pieces',
    ],
)
def test_a_store_that_is_damaged_is_copied_from_no_further_than_it_is_right(
    linked: Connection, damage: str
) -> None:
    send(linked, [OLD], deadline=soon())
    store = open_store(linked, deadline=soon())
    linked.run(damage, store.path(OLD.sha256), deadline=soon(), check=True)
    sent = send(linked, [NEW], deadline=soon())
    assert is_whole(linked, store, NEW)
    linked.run('rm -rf "$1"/objects/*', store.root, deadline=soon(), check=True)
    assert sent.bytes_sent >= CHANGED_BYTES


def test_a_board_that_says_that_it_has_what_it_has_not_gets_all(
    linked: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(linked, [OLD], deadline=soon())
    store = open_store(linked, deadline=soon())
    damage = 'printf x | dd of="$1" bs=1 seek=400000 conv=notrunc'
    linked.run(damage, store.path(OLD.sha256), deadline=soon(), check=True)
    lying = transfer_stream.program({"if hashlib.sha256(": "if True or hashlib.sha256("})
    monkeypatch.setattr(transfer_stream, "program", lambda: lying)
    send(linked, [NEW], deadline=soon())
    assert is_whole(linked, store, NEW)


@pytest.mark.parametrize("name", ["receiver", "receiver_part", "receiver_pieces"])
def test_what_boards_run_is_written_for_python_3_7(name: str) -> None:
    text = Path(transfer_stream.__file__).with_name(f"{name}.py").read_text()
    tree = ast.parse(text, feature_version=(3, 7))
    imported = {
        module.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + [alias.name for alias in node.names if isinstance(node, ast.Import)]
    }
    assert imported <= {*sys.stdlib_module_names, "targets"}


ANSWER = '{"have": [], "parts": {}, "pieces": true, "free_bytes": 1, "file_system": "/"}'


LIES = (
    "print('[' * 100000)",
    "print('null')",
    "print('[1, 2]')",
    "print(ANSWER)",
    "print(ANSWER.replace('{}', '[]'))",
    "print(ANSWER.replace('{}', '{\"x\": 1}'))",
    "print(json.dumps({**json.loads(ANSWER), 'free_files': 'many'}))",
    "print(ANSWER.replace('1,', '1e9, \"free_files\": 9,'))\n    print('here', '1' * 9)",
    "sys.exit(0)",
)


def test_what_a_board_says_is_checked(linked: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(linked, deadline=soon())
    for lie in LIES:
        text = f"import json, sys\nANSWER = {ANSWER!r}\ndef main(*_):\n    {lie}\n"
        modules = [("targets.receiver", text + "    sys.stdout.flush(); sys.stdin.read()\n")]
        lying = zlib.compress(json.dumps(modules).encode())
        monkeypatch.setattr(transfer_stream, "program", lambda lying=lying: lying)
        with pytest.raises(CommandFailed, match="receiver on"):
            send(linked, [NEW], store=store, deadline=soon())


def test_a_board_without_python_gets_whole_files(linked: Connection) -> None:
    store = dataclasses.replace(open_store(linked, deadline=soon()), python=None)
    send(linked, [OLD], store=store, deadline=soon())
    sent = send(linked, [NEW], store=store, deadline=soon())
    assert (sent.bytes_sent, sent.bytes_copied) == (NEW.size_bytes, 0)
    assert is_whole(linked, store, NEW)
