from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from targets.errors import NoPython, NoRuntime
from targets.provision.catalogue import catalogue
from targets.provision.choose import choose, choose_best
from targets.provision.interpreter import Interpreter, Package, interpreter

ARM32 = "arm-linux-gnueabihf"
ARM64 = "aarch64-linux-gnu"
PC = "x86_64-linux-gnu"
SYSTEM = {
    "numpy": Package("/usr/lib/python3/dist-packages", "1.24.2"),
    "PIL": Package("/usr/lib/python3/dist-packages", "9.4.0"),
}


def board(python: str, triple: str, glibc: str | None = "2.36", **more: Any) -> Interpreter:
    major, minor = map(int, python.split("."))
    return Interpreter(
        path=f"/usr/bin/python{python}",
        version=(major, minor, 0),
        bits=32 if triple.startswith(("arm", "i386")) else 64,
        soabi=f"cpython-{major}{minor}-{triple}",
        libc="glibc" if glibc else "musl",
        libc_version=glibc,
        **{"machine": triple.partition("-")[0], **more},
    )


@pytest.mark.parametrize(
    ("what", "runtime", "numpy", "pillow"),
    [
        (board("3.11", ARM64), "ai-edge-litert 2.3.0", "2.2.6", "13.0.0"),  # Pi OS 12
        (board("3.13", ARM64, "2.41"), "ai-edge-litert 2.3.0", "2.2.6", "13.0.0"),  # Pi OS 13
        (board("3.10", ARM64, "2.35"), "ai-edge-litert 2.3.0", "2.2.6", "12.3.0"),  # JetPack 6
        (board("3.12", ARM64, "2.39"), "ai-edge-litert 2.3.0", "2.2.6", "13.0.0"),  # JetPack 7
        (board("3.14", PC, "2.42"), "ai-edge-litert 2.3.0", "2.5.5", "13.0.0"),
        (board("3.9", ARM64, "2.31"), "ai-edge-litert 2.1.0", "2.0.2", "11.3.0"),  # Debian 11
        (board("3.8", ARM64, "2.31"), "tflite-runtime 2.13.0", "1.24.4", "10.4.0"),  # JetPack 5
        (board("3.8", ARM64, "2.36"), "tflite-runtime 2.14.0", "1.24.4", "10.4.0"),
        (board("3.8", PC, "2.36"), "tflite-runtime 2.14.0", "1.24.4", "10.4.0"),
    ],
    ids=lambda value: value.named if isinstance(value, Interpreter) else value,
)
def test_64_bit_boards_get_everything_from_wheels(
    what: Interpreter, runtime: str, numpy: str, pillow: str
) -> None:
    found = choose(what)
    assert found.named == runtime
    assert [(w.project, w.version) for w in found.wheels[1:]] == [
        ("numpy", numpy),
        ("pillow", pillow),
    ]
    assert found.from_board == ()
    assert all(what.fits(wheel.filename) for wheel in found.wheels)


@pytest.mark.parametrize(
    ("what", "runtime", "wheel"),
    [
        (board("3.11", ARM32), "tflite-runtime 2.14.0", "manylinux_2_34_armv7l"),
        (board("3.9", ARM32, "2.31"), "tflite-runtime 2.13.0", "manylinux2014_armv7l"),
        (board("3.8", ARM32, "2.31"), "tflite-runtime 2.13.0", "manylinux2014_armv7l"),
    ],
)
def test_32_bit_arm_takes_numpy_and_pillow_from_the_board(
    what: Interpreter, runtime: str, wheel: str
) -> None:
    found = choose(dataclasses.replace(what, packages=SYSTEM))
    assert found.named == runtime
    assert [w.filename.rpartition("-")[2] for w in found.wheels] == [f"{wheel}.whl"]
    assert found.from_board == tuple(SYSTEM.items())


def test_a_64_bit_kernel_over_a_32_bit_system_gets_the_32_bit_wheel() -> None:
    said = interpreter(
        {
            "path": "/usr/bin/python3",
            "version": [3, 11, 2],
            "implementation": "cpython",
            "bits": 32,  # struct.calcsize("P") is 4
            "soabi": "cpython-311-arm-linux-gnueabihf",
            "platform": "linux-aarch64",  # sysconfig repeats the kernel's word
            "machine": "aarch64",
            "libc": ["glibc", "2.36"],
            "packages": {
                "numpy": {"folder": "/usr/lib/python3/dist-packages", "version": "1.24.2"},
                "PIL": {"folder": "/usr/lib/python3/dist-packages", "version": "9.4.0"},
            },
        }
    )
    assert (said.architecture, said.abi, said.glibc) == ("armv7l", "cp311", (2, 36))
    assert [w.filename for w in choose(said).wheels] == [
        "tflite_runtime-2.14.0-cp311-cp311-manylinux_2_34_armv7l.whl"
    ]


def test_32_bit_arm_without_its_own_packages_is_told_what_to_install() -> None:
    with pytest.raises(NoRuntime, match="lacks numpy below 2 and pillow") as caught:
        choose(board("3.11", ARM32))
    assert "apt install python3-numpy python3-pil" in caught.value.hint


def test_numpy_2_of_the_board_does_not_do_for_tflite_runtime() -> None:
    packages = {**SYSTEM, "numpy": Package("/usr/lib/python3/dist-packages", "2.2.4")}
    with pytest.raises(NoRuntime, match="lacks numpy below 2:"):
        choose(board("3.11", ARM32, packages=packages))


@pytest.mark.parametrize(
    ("what", "says", "hint"),
    [
        (board("3.13", ARM32, "2.41", packages=SYSTEM), "32-bit armv7l", "64-bit system"),
        (board("3.12", PC, None), "musl", "GNU C library"),
        (board("3.11", "i386-linux-gnu"), "32-bit i686", "64-bit system"),
        (board("3.11", ARM32, machine="armv6l", packages=SYSTEM), "armv6l", "ARMv7"),
        (board("3.11", "arm-linux-gnueabi", packages=SYSTEM), "arm-linux-gnueabi", "64-bit"),
        (board("3.15", ARM64), "cp315", "3.9 to 3.14"),
        (board("3.11", "riscv64-linux-gnu"), "riscv64", "64-bit system"),
        (
            dataclasses.replace(board("3.13", PC), soabi="cpython-313t-x86_64-linux-gnu"),
            "cp313t",
            "free-threaded",
        ),
        (
            dataclasses.replace(
                board("3.10", PC), implementation="pypy", soabi="pypy310-pp73-x86_64-linux-gnu"
            ),
            "pypy",
            "CPython",
        ),
    ],
    ids=lambda value: value.soabi if isinstance(value, Interpreter) else None,
)
def test_without_a_runtime_the_board_is_described_and_the_next_step_named(
    what: Interpreter, says: str, hint: str
) -> None:
    with pytest.raises(NoRuntime, match=re.escape(says)) as caught:
        choose(what)
    assert hint in caught.value.hint


@pytest.mark.parametrize("python", ["2.7", "3.6", "3.7"])
def test_a_python_that_is_too_old_is_named(python: str) -> None:
    with pytest.raises(NoPython, match=rf"Python {python}\.0 .* too old") as caught:
        choose(board(python, ARM64, "2.27"))
    assert "apt install python3" in caught.value.hint


def test_the_interpreter_with_the_better_runtime_wins_over_the_first() -> None:
    jetpack = [board("3.8", ARM64, "2.31"), board("3.10", ARM64, "2.31")]
    chosen, found = choose_best(jetpack)
    assert (chosen.version, found.project) == ((3, 10, 0), "ai-edge-litert")


def test_among_equals_the_first_that_was_asked_wins() -> None:
    chosen, _ = choose_best([board("3.11", PC), board("3.12", PC)])
    assert chosen.version == (3, 11, 0)


def test_an_old_one_beside_a_good_one_does_no_harm() -> None:
    chosen, _ = choose_best([board("3.6", ARM64, "2.27"), board("3.8", ARM64, "2.27")])
    assert chosen.version == (3, 8, 0)


def test_what_was_found_is_named_when_none_will_do() -> None:
    with pytest.raises(NoPython, match=r"Too old: Python 3.6.0 .*, Python 2.7.0"):
        choose_best([board("3.6", ARM64), board("2.7", ARM64)])
    with pytest.raises(NoPython, match=r"has no Python; the agent needs 3\.8 or newer"):
        choose_best([])
    with pytest.raises(NoPython, match="/opt/python did not run"):
        choose_best([], ["/opt/python"])


def test_a_runtime_error_says_more_than_an_old_python() -> None:
    with pytest.raises(NoRuntime, match="musl"):
        choose_best([board("3.6", PC, None), board("3.12", PC, None)])


def test_word_size_decides_where_no_abi_tag_tells() -> None:
    plain = Interpreter(path="python3", version=(3, 8, 0), bits=32, machine="aarch64")
    assert plain.architecture == "armv7l"
    assert dataclasses.replace(plain, bits=64).architecture == "aarch64"
    assert dataclasses.replace(plain, machine="x86_64").architecture == "i686"


def test_every_wheel_is_pinned_once_and_belongs_to_a_choice() -> None:
    known = catalogue()
    releases = {(c.project, c.version) for c in known.choices}
    for choice in known.choices:
        releases |= {("numpy", version) for version in choice.numpy.wheels}
        releases |= {("pillow", version) for version in choice.pillow.wheels}
    assert {(w.project, w.version) for w in known.wheels} == releases
    assert len({w.filename for w in known.wheels}) == len(known.wheels)
    assert all(re.fullmatch("[0-9a-f]{64}", w.sha256) and w.size_bytes for w in known.wheels)


ARMV7 = ("half", "thumb", "fastmult", "vfp", "edsp", "neon", "vfpv3", "tls")
CORTEX_A72 = ("fp", "asimd", "evtstrm", "crc32", "cpuid")


@pytest.mark.parametrize(
    ("features", "lacks"),
    [
        (ARMV7, "needs vfpv4"),  # Cortex-A9
        (("half", "thumb", "vfp", "vfpv3", "vfpv3d16"), "needs neon and vfpv4"),  # Tegra 2
    ],
)
def test_a_processor_that_the_wheel_would_crash_on_is_told_what_it_lacks(
    features: tuple[str, ...], lacks: str
) -> None:
    with pytest.raises(NoRuntime, match=lacks) as caught:
        choose(board("3.11", ARM32, packages=SYSTEM, cpu_features=features))
    assert "newer" in caught.value.hint


@pytest.mark.parametrize("features", [(*ARMV7, "vfpv4"), CORTEX_A72, None])
def test_a_processor_with_what_is_needed_or_that_does_not_say_is_taken(
    features: tuple[str, ...] | None,
) -> None:
    """A 64-bit kernel lists features of ARMv8 alone, which include all of ARMv7's."""
    found = choose(board("3.11", ARM32, packages=SYSTEM, cpu_features=features))
    assert found.project == "tflite-runtime"


def test_what_would_make_it_faster_is_a_fact_and_no_refusal() -> None:
    old = choose(board("3.11", ARM64, cpu_features=CORTEX_A72))
    new = choose(board("3.11", ARM64, cpu_features=(*CORTEX_A72, "asimddp", "asimdhp")))
    assert old.slow_without == ("asimddp", "asimdhp")
    assert new.slow_without == ()
    assert choose(board("3.11", ARM64)).slow_without == ()


@pytest.mark.parametrize("page", [4096, 16384, 65536, None])
def test_pages_of_every_kernel_in_use_will_do(page: int | None) -> None:
    assert choose(board("3.11", ARM64, page_size_bytes=page)).project == "ai-edge-litert"


def test_pages_that_no_wheel_can_be_mapped_with_are_named() -> None:
    with pytest.raises(NoRuntime, match=r"64 KiB at most; this kernel has pages of 256 KiB"):
        choose(board("3.11", ARM64, page_size_bytes=262144))


def test_a_runtime_that_a_target_names_is_found_wherever_it_exists() -> None:
    alone = catalogue().only("tflite-runtime")
    for what in (
        board("3.11", ARM64, "2.36"), board("3.10", ARM64, "2.35"), board("3.9", ARM64, "2.31")
    ):  # fmt: skip
        assert choose(what, alone).project == "tflite-runtime"


def test_jetpack_4_is_told_the_python_that_its_system_offers() -> None:
    with pytest.raises(NoPython) as caught:
        choose_best([board("3.6", ARM64, "2.27")])
    assert "apt install python3.8" in caught.value.hint
    assert "JetPack 5" in caught.value.hint
    assert choose(board("3.8", ARM64, "2.27")).named == "tflite-runtime 2.13.0"
