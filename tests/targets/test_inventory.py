from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import inventory
from targets.addresses import Address, parse_address
from targets.deadline import Deadline
from targets.errors import HalfbyteError, InventoryError, UnknownTarget
from targets.inventory import Target
from targets.ssh import connect
from targets.targets_toml import parse, with_added, with_removed
from tests.targets import servers

HEAD = 'schema = "halfbyte.targets"\nversion = 1\n'
GARAGE = """
# the one on the shelf
[targets.garage-pi]
host = "192.168.1.40"
user = "pi"
port = 2222
key = "~/.ssh/garage"
board = "raspberry-pi-5"
threads = 4
runtime = "tflite-runtime"
"""
SHED = """
# behind the house
[targets.shed]
host = "shed"  # a Host of ~/.ssh/config
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "targets.toml"
    path.write_text(HEAD + GARAGE + SHED)
    return path


def test_a_target_is_read_with_all_its_choices(file: Path) -> None:
    target = inventory.load(file)["garage-pi"]
    assert target == Target(
        "garage-pi",
        "192.168.1.40",
        port=2222,
        user="pi",
        key=Path("~/.ssh/garage").expanduser(),
        board="raspberry-pi-5",
        threads=4,
        runtime="tflite-runtime",
    )


def test_loopback_is_always_there(own_settings: Path, file: Path) -> None:
    assert inventory.load(file)["loopback"].is_loopback
    assert [target.name for target in inventory.load()] == ["loopback"]


def test_a_mistyped_name_is_answered_with_the_nearest(file: Path) -> None:
    with pytest.raises(UnknownTarget, match="'garage-po'") as caught:
        inventory.load(file)["garage-po"]
    assert "garage-pi" in caught.value.hint
    assert caught.value.exit_code == 3


def test_user_at_host_needs_no_file(file: Path) -> None:
    target = inventory.load(file)["pi@10.0.0.7:2200"]
    assert (target.host, target.port, target.user) == ("10.0.0.7", 2200, "pi")


@pytest.mark.parametrize(
    ("line", "complaint", "hint"),
    [
        ('usr = "pi"', "'usr'", "user"),
        ("port = 70000", "70000", "1 to 65535"),
        ("port = true", "True", "1 to 65535"),
        ('port = "22"', "'22'", "1 to 65535"),
        ("threads = 0", "0", "1 to 256"),
        ("user = 5", "no line of text", ""),
        ('notes = "two\\nlines"', "no line of text", ""),
        ('runtime = "onnx"', "onnx", "ai-edge-litert"),
        ('user = "-oProxyCommand=id"', "cannot be a user", ""),
        ('user = "a;b"', "cannot be a user", ""),
        ('known_hosts = "/dev/null"', "'known_hosts'", ""),
        ('proxy_command = "id"', "'proxy_command'", ""),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, line: str, complaint: str, hint: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(f'{HEAD}[targets.x]\nhost = "h"\n{line}\n')
    with pytest.raises(InventoryError) as caught:
        inventory.load(path)
    assert complaint in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 1\n",
        'schema = "halfbyte.targets"\nversion = 2\n',
        HEAD + "targets = 3\n",
        HEAD + "[targets]\nx = 3\n",
        HEAD + "[target.x]\nhost = 'h'\n",
        HEAD + "[targets.x]\nuser = 'pi'\n",
        HEAD + "[targets.loopback]\nhost = 'h'\n",
        HEAD + "[targets.'a b']\nhost = 'h'\n",
        HEAD + "[targets.x]\nhost = '-oProxyCommand=id'\n",
        HEAD + "[targets.x]\nhost = 'a b'\n",
        HEAD + "[targets.x\n",
    ],
)
def test_a_file_that_is_not_right_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "targets.toml"
    path.write_text(text)
    with pytest.raises(InventoryError) as caught:
        inventory.load(path)
    assert str(path) in caught.value.message or "host" in caught.value.message
    assert caught.value.hint


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="no file"):
        inventory.load(tmp_path / "none.toml")


def test_the_file_is_found_here_then_in_the_settings_folder(
    own_settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert inventory.inventory_path() == own_settings / "targets.toml"
    (tmp_path / "targets.toml").write_text(HEAD)
    assert inventory.inventory_path() == Path("targets.toml")
    monkeypatch.setenv("HALFBYTE_TARGETS", "/elsewhere/t.toml")
    assert inventory.inventory_path() == Path("/elsewhere/t.toml")


def test_adding_keeps_what_people_wrote(file: Path) -> None:
    before = file.read_text()
    new = Target("new.pi", "10.0.0.9", user="pi", key=Path("~/k"), notes='the "blue" one \\o/')
    inventory.add(new, file)
    assert file.read_text().startswith(before.rstrip())
    assert inventory.load(file)["new.pi"].notes == 'the "blue" one \\o/'
    assert inventory.load(file)["new.pi"].key == Path("~/k").expanduser()


def test_the_first_target_makes_the_file(own_settings: Path) -> None:
    path = inventory.add(Target("pi", "10.0.0.9"))
    assert path == own_settings / "targets.toml"
    assert inventory.load()["pi"].host == "10.0.0.9"


def test_a_name_is_taken_once(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(InventoryError, match="already"):
        inventory.add(Target("shed", "other"), file)
    with pytest.raises(InventoryError, match="built-in"):
        inventory.add(Target("loopback", "other"), file)
    assert file.read_bytes() == before


def test_removing_takes_one_table_and_no_comment_of_another(file: Path) -> None:
    inventory.remove("garage-pi", file)
    assert file.read_text() == HEAD + "\n# the one on the shelf\n" + SHED
    inventory.remove("shed", file)
    assert [target.name for target in inventory.load(file)] == ["loopback"]


def test_removing_what_is_not_there_is_a_mistake(file: Path) -> None:
    with pytest.raises(UnknownTarget) as caught:
        inventory.remove("sched", file)
    assert "shed" in caught.value.hint


def test_a_file_in_another_style_is_not_broken_by_removing(tmp_path: Path) -> None:
    text = HEAD + 'targets.a.host = "x"\ntargets.b.host = "y"\n'
    with pytest.raises(InventoryError, match="safely"):
        with_removed(text, "a", tmp_path)


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", fullmatch=True).filter(
    lambda name: name != "loopback"
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20).filter(str.isprintable)


@given(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=4), st.data())
def test_what_is_added_is_read_back_and_can_be_removed(
    notes: dict[str, str], data: st.DataObject
) -> None:
    path, text = Path("t.toml"), ""
    for name, note in notes.items():
        text = with_added(text, Target(name, "h", notes=note), path)
    gone = data.draw(st.sampled_from(sorted(notes)))
    left = parse(with_removed(text, gone, path), path)
    assert {name: target.notes for name, target in left.items()} == {
        name: note for name, note in notes.items() if name != gone
    }


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pi", Address("pi")),
        ("pi@host", Address("host", user="pi")),
        ("pi@host:2222", Address("host", 2222, "pi")),
        ("ssh://pi@host:2222/", Address("host", 2222, "pi")),
        ("pi@[fe80::1%eth0]:22", Address("fe80::1%eth0", 22, "pi")),
        ("[::1]", Address("::1")),
        ("a/b", None),
        ("pi@host:ssh", None),
        ("", None),
        ("pi@", None),
    ],
)
def test_an_address_is_read_as_people_type_it(text: str, address: Address | None) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["pi@-oProxyCommand=x", "pi@$(id)", "-l@host", "h:99999", "`id`"])
def test_an_address_that_could_do_harm_is_refused(text: str) -> None:
    with pytest.raises(InventoryError):
        parse_address(text)


GROUPS = """
[groups]
shelf = ["garage-pi", "shed"]
all = ["shed", "loopback"]
"""


def test_a_group_stands_for_its_targets_each_once(file: Path) -> None:
    file.write_text(HEAD + GARAGE + SHED + GROUPS)
    known = inventory.load(file)
    assert [target.name for target in known.of(["shelf"])] == ["garage-pi", "shed"]
    names = [target.name for target in known.of(["all", "shelf", "pi@10.0.0.7"])]
    assert names == ["shed", "loopback", "garage-pi", "pi@10.0.0.7"]


@pytest.mark.parametrize(
    ("groups", "complaint", "hint"),
    [
        ('shelf = ["garage-po"]', "'garage-po'", "garage-pi"),
        ('shelf = "garage-pi"', "no list", "shelf ="),
        ("shelf = []", "no list", "shelf ="),
        ('shed = ["garage-pi"]', "a group and a target", "Rename"),
    ],
)
def test_a_wrong_group_is_told_with_the_remedy(
    file: Path, groups: str, complaint: str, hint: str
) -> None:
    file.write_text(f"{HEAD}{GARAGE}{SHED}\n[groups]\n{groups}\n")
    with pytest.raises(InventoryError, match=complaint) as caught:
        inventory.load(file)
    assert hint in caught.value.hint


def test_a_target_that_a_group_names_is_not_removed(file: Path) -> None:
    file.write_text(HEAD + GARAGE + SHED + GROUPS)
    with pytest.raises(InventoryError, match="in group shelf"):
        inventory.remove("garage-pi", file)


HOSTILE = st.text(st.characters(max_codepoint=0x2FF), max_size=12) | st.from_regex(
    r"[A-Za-z0-9]{0,3}[\\s;&|<>()$`\"'!*?\[\]{}#~^=\\\\-]+[A-Za-z0-9]{0,3}", fullmatch=True
)


@given(HOSTILE, HOSTILE)
def test_no_host_or_user_means_more_than_a_word_to_a_shell(host: str, user: str) -> None:
    """A ProxyCommand of the user's own may hold %h and %r, and a shell reads it."""
    try:
        found = parse(f"{HEAD}[targets.x]\nhost = {json.dumps(host)}\nuser = {json.dumps(user)}\n",
                      Path("t.toml"))["x"]  # fmt: skip
    except InventoryError:
        return
    assert not set(found.host) & set(" \t\n;&|<>()$`\"'\\!*?[]{}#~^=/")
    assert not found.host.startswith("-")
    assert found.user is not None
    assert not set(found.user) & set(" \t\n;&|<>()`\"'!*?[]{}#~^=/")
    assert "$" not in found.user[:-1]
    assert not found.user.startswith("-")


def test_a_hostile_file_runs_nothing_here(
    tmp_path: Path, own_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names reach a ProxyCommand and `Match exec` of the user's own configuration, as words."""
    servers.needs("ssh", "openssh-client")
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config"
    config.write_text(
        f'Match exec "echo %n %h %r >> {tmp_path}/asked"\nHost *\n'
        f"  ProxyCommand echo %n %h %r >> {tmp_path}/ran\n"
    )
    for host, user in (
        ("h%touch", "a"),
        ("h", "touch\\\\"),
        ("h", "touch\\\\canary$"),
        ("h.touch-canary", "a@b"),
    ):
        text = f'{HEAD}[targets.x]\nhost = "{host}"\nuser = "{user}"\n'
        target = dataclasses.replace(
            parse(text, tmp_path / "t.toml")["x"],
            ssh_config=config,
            known_hosts=tmp_path / "known_hosts",
        )
        with pytest.raises(HalfbyteError):
            connect(target, deadline=Deadline.after(20))
    assert {path.name for path in tmp_path.iterdir()} <= {"config", "asked", "ran", "settings"}
