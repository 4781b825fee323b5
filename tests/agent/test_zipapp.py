"""One file with the same bytes for the same sources, which Python 3.8 runs."""

import ast
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from functools import cache
from pathlib import Path

import pytest

from targets.agent import wire
from targets.files import sha256_file
from targets.zipapp import build, packed, sources
from tests.agent.running import kinds, records_of, small_plan, start

BUILTIN = set(sys.stdlib_module_names)
ON_THE_BOARD = {"numpy", "PIL", "ai_edge_litert", "tflite_runtime"}


@cache
def old_python() -> str:
    """A Python 3.8 of this machine, or the test is skipped."""
    named = [shutil.which("python3.8")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for python in [*named, *sorted(map(str, pyenv.glob("3.8*/bin/python3.8")))]:
        if python is None:
            continue
        asked = [python, "-c", "import sys; print(sys.version_info[:2])"]
        if subprocess.run(asked, capture_output=True, text=True).stdout.strip() == "(3, 8)":
            return python
    pytest.skip("needs a Python 3.8: neither on PATH nor in pyenv")


def facts_told_by(python, agent):
    done = subprocess.run([python, "-I", agent, "facts"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    envelope = wire.decode(done.stdout.rstrip(b"\n"))
    return envelope.record


def test_the_same_sources_give_the_same_bytes(tmp_path):
    first = build(tmp_path / "one")
    time.sleep(0.01)
    second = build(tmp_path / "two")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256 == sha256_file(first.path)
    assert first.path.name == f"{first.sha256}.pyz"
    assert packed(dict(reversed(sources().items()))) == first.path.read_bytes()


def test_it_is_built_once_and_mended_where_it_was_damaged(tmp_path):
    agent = build(tmp_path)
    made = agent.path.stat().st_mtime_ns
    assert build(tmp_path).path.stat().st_mtime_ns == made
    agent.path.write_bytes(b"damaged")
    assert sha256_file(build(tmp_path).path) == agent.sha256


def test_it_holds_the_agent_and_nothing_else(agent):
    with zipfile.ZipFile(agent) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    folder = Path(wire.__file__).parent
    assert set(names) == {"__main__.py"} | {
        f"halfbyte_agent/{path.name}" for path in folder.glob("*.py")
    }


@pytest.mark.parametrize("name", sorted(sources()))
def test_each_file_is_python_3_8_and_imports_only_what_boards_have(name):
    tree = ast.parse(sources()[name], feature_version=(3, 8))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        assert node.level <= 1 if isinstance(node, ast.ImportFrom) else True
        assert {imported.split(".")[0] for imported in names} <= BUILTIN | ON_THE_BOARD


def test_python_3_8_compiles_every_file():
    script = "import sys, json; [compile(t, n, 'exec') for n, t in json.load(sys.stdin).items()]"
    texts = {name: data.decode() for name, data in sources().items()}
    done = subprocess.run(
        [old_python(), "-c", script], input=json.dumps(texts), text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_python_3_8_without_any_package_tells_its_facts(agent):
    asked = (
        "import platform, sysconfig;"
        "print(platform.python_version(), sysconfig.get_config_var('SOABI'))"
    )
    own = subprocess.run([old_python(), "-c", asked], capture_output=True, text=True).stdout.split()
    facts = facts_told_by(old_python(), agent)
    assert [facts.python, facts.soabi] == own
    assert facts.soabi.startswith("cpython-38-")
    assert facts.userland_bits in (32, 64)
    assert facts.libc
    assert facts.page_size_bytes == os.sysconf("SC_PAGE_SIZE")


def test_python_3_8_reads_a_plan_and_says_what_it_lacks(agent, tmp_path):
    empty = tmp_path / "no packages"
    subprocess.run([old_python(), "-m", "venv", "--without-pip", empty], check=True)
    child = start(agent, python=str(empty / "bin" / "python"))
    out, err = child.communicate(small_plan(tmp_path).to_json(), timeout=60)
    records = records_of(out)
    assert kinds(records) == ["Hello", "Failed"], err
    assert records[-1].kind == "no-runtime"
    assert "tflite-runtime" in records[-1].message


def test_the_facts_name_what_this_interpreter_has(agent):
    facts = facts_told_by(sys.executable, agent)
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert facts.runtime.startswith("ai-edge-litert ")
    assert facts.numpy
    assert facts.pillow
    assert facts.cpus_allowed == len(os.sched_getaffinity(0))


def test_an_interpreter_that_is_too_old_is_told_in_one_line(agent):
    main = zipfile.ZipFile(agent).read("__main__.py").decode()
    ast.parse(main, feature_version=(3, 4))
    old = main.replace("sys.version_info < (3, 8)", "sys.version_info < (99,)")
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("agent: Python 3.8 or newer is needed; this is 3.")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run", "--marker", "a b"]])
def test_a_wrong_command_line_is_explained(agent, arguments):
    done = subprocess.run([sys.executable, agent, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: agent" in done.stderr
