"""The question is put by real shells to real interpreters of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from targets.errors import NoPython
from targets.provision.asking import Question, answers, question
from targets.provision.interpreter import Interpreter

SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


def ask(
    path: Path, *, python: str | None = None, shell: str = "sh", home: Path | None = None
) -> tuple[tuple[Interpreter, ...], tuple[str, ...]]:
    asked = question(python)
    told = answers(run(asked, path, shell, home or path), asked.marker)
    assert told.home == str(home or path)
    return told.interpreters, told.silent


def run(asked: Question, path: Path, shell: str, home: Path) -> str:
    command = [shutil.which(shell) or shell, *(["sh"] if shell == "busybox" else []), "-s", "--"]
    return subprocess.run(
        [*command, *asked.arguments],
        input=asked.script,
        env={"PATH": f"{path}:{path}/tools", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    """A PATH with what the script itself needs, and no Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("cat", "readlink"):
        (tools / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize("shell", SHELLS)
def test_an_interpreter_says_what_it_is(bin_: Path, shell: str) -> None:
    (bin_ / "python3").symlink_to(Path(sys.executable).resolve())
    (found,), silent = ask(bin_, shell=shell)
    assert found.path == str(bin_ / "python3")
    assert found.version == sys.version_info[:3]
    assert found.executable == str(Path(sys.executable).resolve())
    assert found.bits == 64
    assert found.abi == f"cp3{sys.version_info[1]}"
    assert found.libc == "glibc"
    assert found.page_size_bytes
    assert found.cpu_features
    assert silent == ()


def test_two_names_of_one_interpreter_are_asked_once(bin_: Path) -> None:
    for name in ("python3", "python3.11", "python3.9"):
        (bin_ / name).symlink_to(Path(sys.executable).resolve())
    found, _ = ask(bin_)
    assert [one.path for one in found] == [str(bin_ / "python3")]


def test_packages_are_found_where_they_would_be_imported_from() -> None:
    import numpy as np

    asked = question(sys.executable)
    (found,) = answers(
        run(asked, Path("/usr/bin"), "sh", Path("/nowhere")), asked.marker
    ).interpreters
    assert found.packages["numpy"].version == np.__version__
    assert found.packages["numpy"].folder == str(Path(np.__file__).parent.parent)


def test_a_board_without_python_gives_no_answer_and_no_error(bin_: Path) -> None:
    assert ask(bin_) == ((), ())


def test_the_configured_interpreter_alone_is_asked(bin_: Path) -> None:
    (bin_ / "python3").symlink_to(Path(sys.executable).resolve())
    home = bin_ / "a home's folder"
    home.mkdir()
    (home / "mine").symlink_to(Path(sys.executable).resolve())
    (found,), _ = ask(bin_, python="~/mine", home=home)
    assert found.path == str(home / "mine")


def test_interpreters_of_uv_and_pyenv_are_found(bin_: Path) -> None:
    for folder in (".pyenv/versions/3.11.9", ".local/share/uv/python/cpython-3.11"):
        (bin_ / folder / "bin").mkdir(parents=True)
        program(
            bin_ / folder / "bin" / "python3",
            f'#!/bin/sh\nexec {Path(sys.executable).resolve()} "$@"\n',
        )
    found, _ = ask(bin_)
    assert ".pyenv" in found[0].path


def test_one_that_does_not_run_is_named(bin_: Path) -> None:
    program(bin_ / "python3", "#!/bin/sh\nexit 127\n")
    assert ask(bin_) == ((), (str(bin_ / "python3"),))


def test_what_an_interpreter_prints_of_its_own_accord_is_passed_over(bin_: Path) -> None:
    program(
        bin_ / "python3",
        f'#!/bin/sh\nprintf "{{}}\\nWelcome"\n{sys.executable} "$@"\nprintf "Bye"\n',
    )
    (found,), _ = ask(bin_)
    assert found.version == sys.version_info[:3]


@pytest.mark.parametrize("name", ["2.7.18", "3.6.15", "3.8.18", "3.13.0"])
def test_other_versions_answer_too(bin_: Path, name: str) -> None:
    real = Path.home() / ".pyenv" / "versions" / name / "bin" / "python"
    if not real.exists():
        pytest.skip(f"no Python {name} on this machine")
    (bin_ / "python3").symlink_to(real)
    (found,), _ = ask(bin_)
    assert ".".join(map(str, found.version)) == name
    assert found.bits == 64


def test_an_answer_that_breaks_off_is_an_error() -> None:
    with pytest.raises(NoPython, match="did not finish"):
        answers("Welcome\n", "marker")


PLAIN = '"path": "/p", "version": [3, 11, 2], "bits": 64'


def told(line: str) -> Interpreter:
    (found,) = answers(f"marker{line}\nmarker~/home\nmarker.\n", "marker").interpreters
    return found


@pytest.mark.parametrize(
    "line",
    [
        "{bad",
        "{}",
        '{"a": ' + "[" * 100_000,
        '{"path": "/p", "version": ["x"], "bits": 64}',
        '{"path": "/p", "version": [3], "bits": 64}',
        '{"path": "/p", "version": [3, 11, true], "bits": 64}',
        '{"path": "/p", "version": [3, 11], "bits": "64"}',
        '{"path": "/p\\u0000", "version": [3, 11], "bits": 64}',
        '{"path": "/p\\ud800", "version": [3, 11], "bits": 64}',
        f'{{{PLAIN}, "soabi": 7}}',
        f'{{{PLAIN}, "libc": "glibc"}}',
        f'{{{PLAIN}, "libc": ["glibc", 2.36]}}',
        f'{{{PLAIN}, "cpu_features": 5}}',
        f'{{{PLAIN}, "cpu_features": [5]}}',
        f'{{{PLAIN}, "page_size_bytes": "4096"}}',
        f'{{{PLAIN}, "packages": [1]}}',
        f'{{{PLAIN}, "packages": {{"numpy": {{}}}}}}',
        f'{{{PLAIN}, "packages": {{"numpy": {{"folder": "/x", "version": 7}}}}}}',
    ],
)
def test_an_answer_of_another_shape_is_an_error_of_the_board(line: str) -> None:
    with pytest.raises(NoPython, match="not understood") as caught:
        told(line)
    assert len(caught.value.message) < 400
    assert "`python`" in caught.value.hint


def test_what_an_interpreter_cannot_say_is_none() -> None:
    found = told(f'{{{PLAIN}, "soabi": null, "libc": ["musl", null], "packages": null}}')
    assert (found.version, found.bits, found.soabi) == ((3, 11, 2), 64, None)
    assert (found.libc, found.libc_version, dict(found.packages)) == ("musl", None, {})
    assert told(f'{{{PLAIN}, "executable": "/caf\\udce9"}}').executable == "/caf\udce9"
