"""What a board answers is checked: whatever it says, an error is one of ours."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from targets.deadline import Deadline
from targets.errors import BoardError, HalfbyteError
from targets.firmware import boot, program
from targets.firmware.answers import checked
from targets.firmware.apply import apply
from targets.firmware.lease import Lease
from targets.firmware.look import Board, look
from targets.firmware.resolve import Library, resolve, shipped
from targets.firmware.restore import restore
from targets.privilege import Privilege
from targets.ssh import Connection, connect
from targets.target import Target
from tests.targets.firmware import played
from tests.targets.firmware.boards import everything

SETTINGS = resolve(Library(shipped()), "raspberry-pi-5", "benchmark")
KEY = "0123456789abcdef"
OUTCOME = {
    "schema": "halfbyte.firmware-outcome",
    "version": 1,
    "id": KEY,
    "label": "x",
    "why": "over",
    "boot_id": "b",
    "monotonic_ns": 5,
    "restarted": False,
    "restored": 1,
    "left": [],
    "differs": [["file", "/proc/x", "1\n", "2\n"]],
}
BACKUP = {
    "id": KEY,
    "label": "x",
    "boot_id": "b",
    "lease": "/tmp/nowhere/lease",
    "holder": {"user": "ada", "host": "desk", "since": "today"},
    "before": [["file", "/proc/sys/vm/swappiness", "60\n"]],
}
STATUS = {"backup": BACKUP, "guard": 1, "outcome": OUTCOME, "boot_id": "b"}
SEEN = {
    "files": dict(everything().files),
    "commands": {w: dataclasses.asdict(said) for w, said in everything().commands.items()},
    "uid": 0,
    "boot_id": "b",
}
LOOK = {**SEEN, "held": {"root": STATUS, "user": dict(STATUS, backup=None)}, "boot": None}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "look": [LOOK, {"problem": "no such thing"}],
    "apply": [
        {"problems": [None] * 9, "replaced": OUTCOME, "held": True, "backup": BACKUP, "look": SEEN},
        {"busy": {"label": "x", "holder": BACKUP["holder"]}},
        {"busy": {"label": None, "holder": {"pid": 1}}},
        {"left": dict(OUTCOME, left=[["file", "/proc/x", "gone"]])},
        {"problem": "not permitted"},
    ],
    "restore": [{"held": True, "outcome": OUTCOME}, {"held": False, "outcome": None}],
    "boot-prepare": [{"boot_id": "b"}],
    "boot-restore": [{"restored": True, "others": False}],
}
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just("\ud800"),
    st.just([]),
    st.just({}),
    st.just([["file"]]),
    st.just({"problem": 3}),
    st.just({"problem": "odd"}),
)


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """With one to three of its parts another, gone, or twice there."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        parent, key = None, None
        at = value
        for _ in range(draw(st.integers(1, 5))):
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            parent, key = at, draw(st.sampled_from(keys))
            at = at[key]
            if not isinstance(at, dict | list):
                break
        if parent is None or key is None:
            continue
        how = draw(st.sampled_from(["odd", "gone", "twice"]))
        if how == "odd":
            parent[key] = copy.deepcopy(draw(odd))
        elif how == "gone":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
    return value


class Saying:
    """In place of what comes from a board: for each request the answer that is set here."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}

    def ask(self, connection: Connection, request: dict[str, Any], **_: Any) -> program.Answer:
        answer = json.loads(json.dumps(self.answers[request["do"]]))
        return program.Answer(checked(connection.name, request, answer))


@pytest.fixture(scope="module")
def linked(embedded: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with connect(embedded, deadline=Deadline.after(30)) as connection:
        yield connection


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Saying:
    said = Saying()
    monkeypatch.setenv("HALFBYTE_CONFIG", str(tmp_path / "settings"))
    monkeypatch.setattr(program, "ask", said.ask)
    return said


def soon() -> Deadline:
    return Deadline.after(2)


def looked(connection: Connection) -> Board:
    privilege = Privilege(connection, "tester", is_root=False, sudo=None)
    return look(connection, privilege, deadline=soon())


def all_that_reads(board: Board) -> dict[str, Callable[[], Any]]:
    """By the request whose answer they read."""

    def boot_file() -> None:
        wanted = boot.plan(board, SETTINGS) or boot.Plan(
            "/boot/firmware/config.txt", "a", "b", ("gpu_mem=16",)
        )
        assert wanted.diff.encode()
        boot._asked(board, {"do": "boot-prepare", "folder": wanted.folder}, soon())

    return {
        "look": lambda: Lease.taken_up(
            looked(board.connection), SETTINGS, KEY, deadline=soon(), lease_s=5
        ),
        "apply": lambda: apply(board, SETTINGS, deadline=soon(), lease_s=5),
        "restore": lambda: restore(board, deadline=soon()),
        "boot-prepare": boot_file,
        "boot-restore": lambda: boot.put_back(board, deadline=soon()),
    }


@with_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_answer_raises_anything_but_ours(
    saying: Saying, linked: Connection, data: st.DataObject
) -> None:
    saying.answers = {key: answers[0] for key, answers in ANSWERS.items()}
    reads = all_that_reads(looked(linked))
    do = data.draw(st.sampled_from(list(reads)))
    saying.answers[do] = data.draw(mutated(data.draw(st.sampled_from(ANSWERS[do]))))
    told = None
    try:
        reads[do]()
    except BoardError as error:
        told = error.hint
    except HalfbyteError as error:
        told = error.message
    assert told != ""


@pytest.mark.parametrize(
    ("do", "answer"),
    [
        ("look", {}),
        ("look", {"problem": "the disk is gone"}),
        ("look", {**LOOK, "held": {"root": {**STATUS, "backup": {"id": KEY}}, "user": STATUS}}),
        ("apply", {"problems": [], "held": True, "backup": BACKUP, "look": SEEN}),
        ("apply", {"problem": "no guard could be started"}),
        ("restore", {"held": True, "outcome": {**OUTCOME, "restored": "many"}}),
        ("restore", {"held": True, "outcome": {"problem": "x"}}),
        ("boot-prepare", {}),
    ],
)
def test_an_answer_that_is_none_is_told_with_what_to_do(
    saying: Saying, linked: Connection, do: str, answer: dict[str, Any]
) -> None:
    saying.answers = {key: answers[0] for key, answers in ANSWERS.items()}
    reads = all_that_reads(looked(linked))
    saying.answers[do] = answer
    with pytest.raises(BoardError) as caught:
        reads[do]()
    assert caught.value.hint


def test_the_answers_that_are_right_are_read(linked: Connection, saying: Saying) -> None:
    """Or the tests above would test little."""
    saying.answers = {key: answers[0] for key, answers in ANSWERS.items()}
    board = looked(linked)
    assert board.held is not None
    assert board.held.label == "x"
    assert restore(board, deadline=soon()).differs == (("/proc/x", "1", "2"),)


def test_the_programs_answers_are_right(tmp_path: Path) -> None:
    """Of a board that is played in a folder."""
    with played.board(tmp_path) as board:
        asked = {"do": "look", "folder": "/x", "look": {"files": [played.GOVERNOR], "commands": []}}
        assert checked("board", asked, board.ask(asked))["files"] == {played.GOVERNOR: "ondemand\n"}
