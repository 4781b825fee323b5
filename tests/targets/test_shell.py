"""Each command line is read by real shells, as a login shell would."""

import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from targets.shell import command_line, execute

SHELLS = {
    "sh": ["sh"],
    "bash": ["bash"],
    "busybox": ["busybox", "sh"],
    "fish": ["fish"],
    "tcsh": ["tcsh"],
    "zsh": ["zsh"],
    "ksh": ["ksh"],
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    program = SHELLS[request.param][0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return SHELLS[request.param]


def run(shell: list[str], line: str) -> bytes:
    done = subprocess.run(
        [*shell, "-c", line.encode("utf-8", "surrogateescape")],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert done.stderr == b""
    return done.stdout


AWKWARD = [
    "it's", "back\\slash", "\\'", "bang!", "!!", "a\nb", "$HOME", "`id`", '"', "søppel—1.jpg",
    "tab\there", "50%", "%s%b", "*", "~", "", " ", "\\0101", "a;b&&c|d", "#x", "\udcff", "\x1b[0m",
]  # fmt: skip


@pytest.mark.parametrize("word", AWKWARD)
def test_an_awkward_argument_arrives_as_it_was(shell: list[str], word: str) -> None:
    sent = command_line('printf %s "$1"', [word])
    assert run(shell, sent) == word.encode("utf-8", "surrogateescape")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
        min_size=1,
        max_size=4,
    )
)
@example(["'\\'", "\\\\", "\n\n"])
def test_any_arguments_arrive_as_they_were(shell: list[str], words: list[str]) -> None:
    sent = command_line('printf "%s|" "$@"', words)
    assert run(shell, sent) == "".join(f"{word}|" for word in words).encode()


def test_what_other_shells_lack_works_inside(shell: list[str]) -> None:
    script = 'a=1 && b=$(echo two) && for x in "$a" "$b"; do echo "$x"; done\ncat <<END\nthree\nEND'
    assert run(shell, command_line(script)) == b"1\ntwo\nthree\n"


def test_a_long_script_arrives_whole(shell: list[str]) -> None:
    text = "it's ! " * 1500
    assert run(shell, command_line('printf %s "$1"', [text])) == text.encode()


def test_the_program_takes_the_place_of_the_shell(shell: list[str]) -> None:
    line = command_line(execute(["sh", "-c", "kill -s KILL $$"]))
    done = subprocess.run([*shell, "-c", line], capture_output=True, timeout=30)
    assert done.returncode in (-9, 137)


def test_a_plain_script_stays_readable() -> None:
    assert command_line('exec cat "$HOME/x"') == """sh -c 'exec cat "$HOME/x"'"""


def test_nothing_is_sent_that_shells_read_differently() -> None:
    for word in AWKWARD:
        quoted = command_line("printf %s", [word]).removeprefix("sh -c '").removesuffix("'")
        assert quoted.isascii()
        assert quoted.isprintable()
        assert not set(quoted) & {"'", "!"}
        assert "\\\\" not in quoted


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        command_line("echo \0")
