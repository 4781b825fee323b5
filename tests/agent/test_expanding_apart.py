"""The process that expands a packed model: what it leaves, and how it may end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from targets.agent.expand import read, to_bytes
from targets.agent.expand_apart import FILE, MEMORY, Expander, path_of
from targets.agent.faults import Interrupted
from tests.agent.expanding import packed_large
from tests.processes import ends
from tests.tflite.packing_cases import int4_model, mixed, packed_mixed
from toolchain.tflite.flatbuffer import serialize

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture(scope="module")
def large():
    return packed_large()


# -- a keeper in an interpreter with one thread, as the agent is

KEEPING = """
import hashlib, json, os, sys
forks = []
os.register_at_fork(before=lambda: forks.append(1))
from targets.agent.expand_kept import Keeper
from targets.agent.plan import PlanFile

path, keep, int4, before = sys.argv[1], sys.argv[2] == "True", sys.argv[3] == "True", sys.argv[4]
exec(before)
opened = set(os.listdir("/proc/self/fd"))
keeper = Keeper(PlanFile(path, hashlib.sha256(open(path, "rb").read()).hexdigest()),
                keep=keep, int4=int4)
keeper.prepare()
kept = keeper.make()
told = {"forks": len(forks), "kept": None}
if kept is not None:
    content = open(kept.path, "rb").read() if kept.content is None else kept.content
    told["kept"] = kept.how
    told["path"] = kept.path
    told["peak"] = kept.peak_rss_bytes
    told["size"] = kept.size_bytes
    told["sha256"] = hashlib.sha256(content).hexdigest()
ours = [name for name in sys.modules if name.startswith("targets.agent.")]
told["modules"] = sorted(name.rpartition(".")[2] for name in ours)
told["ctypes"] = "ctypes" in sys.modules
keeper.close()
told["left open"] = sorted(set(os.listdir("/proc/self/fd")) - opened)
try:
    os.waitpid(-1, os.WNOHANG)
    told["children"] = True
except ChildProcessError:
    told["children"] = False
print(json.dumps(told))
"""


def keeping(folder, model, *, keep=True, int4=False, before=""):
    """What a keeper does with that model."""
    path = folder / "model.tflite"
    path.write_bytes(model)
    done = subprocess.run(
        [sys.executable, "-c", KEEPING, str(path), str(keep), str(int4), before],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


def sha256_of(model, *, int4=False):
    from hashlib import sha256

    return sha256(to_bytes(read(model, int4=int4))).hexdigest()


@pytest.mark.parametrize(("keep", "how"), [(True, "made"), (False, "memory")])
def test_expanding_leaves_nothing_in_the_process_that_runs_the_model(tmp_path, keep, how):
    told = keeping(tmp_path, packed_mixed(), keep=keep)

    assert (told["kept"], told["forks"]) == (how, 1)
    assert told["sha256"] == sha256_of(packed_mixed())
    assert told["peak"] > 1_000_000
    assert not {"expand", "expand_packed", "unpack", "unpack_entropy"} & set(told["modules"])
    assert not told["ctypes"]
    assert told["left open"] == []
    assert not told["children"]
    if not keep:
        assert told["path"].startswith("/proc/self/fd/")


def test_int4_filters_are_expanded_there_too(tmp_path):
    told = keeping(tmp_path, int4_model(), int4=True)
    assert (told["kept"], told["forks"]) == ("made", 1)
    assert told["sha256"] == sha256_of(int4_model(), int4=True)


@pytest.mark.parametrize("int4", [False, True])
def test_nothing_is_started_for_a_model_that_is_not_expanded(tmp_path, int4):
    told = keeping(tmp_path, serialize(mixed()[0]), int4=int4)
    assert (told["kept"], told["forks"]) == (None, 0)
    assert "expand" not in told["modules"]


NO_PROCESS = """
import errno
def refuse():
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
os.fork = refuse
"""
A_THREAD = (
    "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
)


@pytest.mark.parametrize("before", [NO_PROCESS, A_THREAD], ids=["no process", "a thread"])
@pytest.mark.parametrize(("keep", "how"), [(True, "made"), (False, "memory")])
def test_where_there_can_be_no_other_process_this_one_expands(tmp_path, before, keep, how):
    told = keeping(tmp_path, packed_mixed(), keep=keep, before=before)

    assert (told["kept"], told["forks"], told["peak"]) == (how, 0, None)
    assert told["sha256"] == sha256_of(packed_mixed())
    assert told["left open"] == []


@pytest.mark.parametrize(
    "before",
    ["del os.memfd_create", "os.memfd_create = lambda name: os.fsync(-1)"],
    ids=["an old system", "refused"],
)
def test_without_files_in_memory_this_process_expands_to_memory(tmp_path, before):
    told = keeping(tmp_path, packed_mixed(), keep=False, before=before)
    assert (told["kept"], told["path"]) == ("memory", "")
    assert told["sha256"] == sha256_of(packed_mixed())


# -- the process itself

NEVER = lambda: None  # noqa: E731


@contextlib.contextmanager
def expander(model, part, **changes):
    memory = os.memfd_create("test")
    made = Expander(
        model,
        **{"int4": False, "part": part, "memory": memory, "has_room": lambda _: True, **changes},
    )
    try:
        yield made, memory
    finally:
        made.end()
        os.close(memory)


def content_of(descriptor):
    return Path(path_of(descriptor)).read_bytes()


def test_a_file_system_that_fails_means_memory(tmp_path):
    (tmp_path / "part").touch()
    part = os.open(tmp_path / "part", os.O_RDONLY)
    with expander(packed_mixed(), part) as (made, memory):
        assert made.make(NEVER).where == MEMORY
        assert content_of(memory) == to_bytes(read(packed_mixed()))
    os.close(part)


@pytest.fixture
def small_file_system(tmp_path):
    """A megabyte, which a file is opened in."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        part = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
        yield part
        os.close(part)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_file_system_means_memory(small_file_system, large):
    with expander(large, small_file_system) as (made, memory):
        assert made.make(NEVER).where == MEMORY
        assert content_of(memory) == to_bytes(read(large))


def test_what_is_asked_for_is_made_in_the_file(tmp_path):
    part = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    with expander(packed_mixed(), part) as (made, memory):
        found = made.make(NEVER)
        assert (found.where, found.packed) == (FILE, True)
        assert content_of(part) == to_bytes(read(packed_mixed()))
        assert content_of(memory) == b""
    os.close(part)


def test_it_works_before_anybody_waits_for_it(tmp_path):
    part = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    whole = to_bytes(read(packed_mixed()))
    deadline = time.monotonic() + 10
    with expander(packed_mixed(), part):
        while content_of(part) != whole:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    os.close(part)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGKILL, MemoryError), (signal.SIGTERM, Interrupted)]
)
def test_an_end_without_an_answer_has_a_reason(number, error):
    with expander(packed_mixed(), None) as (made, _):
        os.kill(made._pid, signal.SIGSTOP)
        os.kill(made._pid, number)
        os.kill(made._pid, signal.SIGCONT)
        with pytest.raises(error):
            made.make(NEVER)


def test_a_stop_that_is_asked_for_ends_it():
    with expander(packed_mixed(), None) as (made, _):
        child = made._pid
        os.kill(child, signal.SIGSTOP)
        with pytest.raises(Interrupted, match="SIGINT"):
            made.make(lambda: "SIGINT")
        assert not Path(f"/proc/{child}").exists()


BUSY = """
import os, sys, time
from targets.agent.expand_apart import Expander

def has_room(size_bytes):
    print(os.getpid(), flush=True)
    time.sleep(60)

made = Expander(open(sys.argv[1], "rb").read(), int4=False, part=1, memory=None, has_room=has_room)
made.make(lambda: None)
"""


def test_at_work_it_ends_with_its_parent(tmp_path):
    (tmp_path / "model.tflite").write_bytes(packed_mixed())
    command = [sys.executable, "-c", BUSY, str(tmp_path / "model.tflite")]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        assert parent.stdout.read() == b""  # ends when both have
    assert ends(child)
