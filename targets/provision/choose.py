"""Which runtime, and which interpreter: pure decisions on what the board said of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from targets.errors import NoPython, NoRuntime
from targets.provision.catalogue import Catalogue, Choice, Versions, Wheel, catalogue
from targets.provision.interpreter import OLDEST, Interpreter, Package


@dataclass(frozen=True)
class RuntimeSet:
    """What an environment is made of: wheels to unpack, and packages that the board has."""

    project: str
    version: str
    module: str  # to import
    wheels: tuple[Wheel, ...]
    from_board: tuple[tuple[str, Package], ...] = ()  # (import name, where it is)
    slow_without: tuple[str, ...] = ()  # CPU features that its fast kernels miss on this board

    @property
    def named(self) -> str:
        """As reports name it: "ai-edge-litert 2.3.0"."""
        return f"{self.project} {self.version}"


def choose(interpreter: Interpreter, known: Catalogue | None = None) -> RuntimeSet:
    """The best runtime for one interpreter.  Raises NoPython (too old), NoRuntime."""
    if interpreter.version < OLDEST:
        raise NoPython(
            f"{interpreter.named} is too old: the agent needs {_dotted(OLDEST)} or newer.",
            hint=_newer_python(interpreter),
        )
    known = known or catalogue()
    lacking: list[str] = []
    unmet: NoRuntime | None = None
    for choice in known.choices:
        runtime = _fitting(interpreter, known.of(choice.project, choice.version))
        if runtime is None:
            continue
        refusal = _unmet(interpreter, choice, known)
        if refusal is not None:
            unmet = unmet or refusal
            continue
        found = _complete(interpreter, choice, runtime, known, lacking)
        if found is not None:
            return found
    if unmet is not None:
        raise unmet
    if lacking:
        raise NoRuntime(
            f"{interpreter.named} can use a TFLite runtime, but lacks {_listed(lacking)}: "
            f"the package index has no wheel of it for {_described(interpreter)}.",
            hint=_board_packages(lacking),
        )
    every = {choice.project for choice in catalogue().choices}
    allowed = {choice.project for choice in known.choices}
    kind = "TFLite runtime" if every <= allowed else f"build of {' or '.join(sorted(allowed))}"
    raise NoRuntime(
        f"No {kind} exists for {interpreter.named}: {_described(interpreter)}.",
        hint=_remedy(interpreter),
    )


def choose_best(
    interpreters: Sequence[Interpreter],
    silent: Sequence[str] = (),
    known: Catalogue | None = None,
) -> tuple[Interpreter, RuntimeSet]:
    """The interpreter with the best runtime; among equals the first that was asked.

    silent: paths of interpreters that did not answer, for the message.
    Raises NoPython where there is none or all are too old, NoRuntime where none has a runtime.
    """
    known = known or catalogue()
    order = [(choice.project, choice.version) for choice in known.choices]
    best: tuple[int, Interpreter, RuntimeSet] | None = None
    refusals: list[NoPython | NoRuntime] = []
    for interpreter in interpreters:
        try:
            found = choose(interpreter, known)
        except (NoPython, NoRuntime) as error:
            refusals.append(error)
            continue
        rank = order.index((found.project, found.version))
        if best is None or rank < best[0]:
            best = (rank, interpreter, found)
    if best is not None:
        return best[1], best[2]
    for refusal in refusals:
        if isinstance(refusal, NoRuntime):
            raise refusal
    raise _no_python(interpreters, silent)


def _no_python(interpreters: Sequence[Interpreter], silent: Sequence[str]) -> NoPython:
    need = f"the agent needs {_dotted(OLDEST)} or newer"
    if interpreters:
        found = ", ".join(i.named for i in interpreters)
        return NoPython(f"Too old: {found}; {need}.", hint=_newer_python(interpreters[0]))
    if silent:
        return NoPython(
            f"{', '.join(silent)} did not run on the board, and no other Python was found.",
            hint=_INSTALL_PYTHON,
        )
    return NoPython(f"The board has no Python; {need}.", hint=_INSTALL_PYTHON)


def _complete(
    interpreter: Interpreter,
    choice: Choice,
    runtime: Wheel,
    known: Catalogue,
    lacking: list[str],
) -> RuntimeSet | None:
    wheels = [runtime]
    own: list[tuple[str, Package]] = []
    parts: tuple[tuple[str, str, Versions], ...] = (
        ("numpy", "numpy", choice.numpy),
        ("pillow", "PIL", choice.pillow),
    )
    missing = []
    for project, module, versions in parts:
        candidates = [w for version in versions.wheels for w in known.of(project, version)]
        wheel = _fitting(interpreter, candidates)
        package = interpreter.packages.get(module)
        if wheel is not None:
            wheels.append(wheel)
        elif package is not None and versions.admit(package.version):
            own.append((module, package))
        else:
            missing.append(project if project != "numpy" else _numpy_wanted(versions))
    lacking += [name for name in missing if name not in lacking]
    if missing:
        return None
    need = known.need(choice.project, interpreter.architecture)
    missed = (f for f in (need.faster_with if need else ()) if interpreter.has_feature(f) is False)
    return RuntimeSet(
        choice.project, choice.version, choice.module, tuple(wheels), tuple(own), tuple(missed)
    )


def _unmet(interpreter: Interpreter, choice: Choice, known: Catalogue) -> NoRuntime | None:
    """The error, if the processor or the kernel of the board is not one for these wheels."""
    need = known.need(choice.project, interpreter.architecture)
    if need is None:
        return None
    runtime = f"{choice.project} {choice.version}"
    lacks = [feature for feature in need.cpu if interpreter.has_feature(feature) is False]
    if lacks:
        return NoRuntime(
            f"{runtime} needs {_listed(lacks)}, which this processor lacks "
            f"({interpreter.architecture}: {' '.join(interpreter.cpu_features or ())}).",
            hint="No TFLite runtime is published for such processors: use a newer board.",
        )
    page = interpreter.page_size_bytes
    if page is not None and page > need.page_size_bytes:
        return NoRuntime(
            f"{runtime} can be mapped with pages of {need.page_size_bytes // 1024} KiB at most; "
            f"this kernel has pages of {page // 1024} KiB.",
            hint="Boot a kernel with smaller pages (Raspberry Pi 5: kernel=kernel8.img in "
            "config.txt).",
        )
    return None


def _fitting(interpreter: Interpreter, wheels: Sequence[Wheel]) -> Wheel | None:
    return next((wheel for wheel in wheels if interpreter.fits(wheel.filename)), None)


_INSTALL_PYTHON = (
    "Install Python 3.8 or newer on the board (Debian, Ubuntu, Raspberry Pi OS: "
    "sudo apt install python3), or set `python` of this target to the path of one it has."
)


def _newer_python(old: Interpreter) -> str:
    """The next step from an interpreter that is too old."""
    if old.glibc == (2, 27) and old.version[:2] == (3, 6):
        return (
            "This is Ubuntu 18.04 (JetPack 4): `sudo apt install python3.8` adds a Python that "
            "will do and is found by itself; or install JetPack 5, where the board can have it."
        )
    if old.glibc is not None and old.glibc < (2, 17):
        return "The system is too old for any runtime: install a newer one."
    return _INSTALL_PYTHON


def _remedy(interpreter: Interpreter) -> str:
    if interpreter.implementation != "cpython" or not (interpreter.abi or "").isalnum():
        return "Install CPython beside it, and set `python` of this target to its path."
    if (interpreter.abi or "")[-1:].isalpha():
        return "This is a special build (debug or free-threaded); install the ordinary one."
    if interpreter.libc != "glibc":
        return "Runtimes are built for the GNU C library: use Debian, Ubuntu or Raspberry Pi OS."
    if interpreter.architecture == "armv7l":
        return (
            "32-bit ARM has runtimes for Python 3.8 to 3.11 only: install the 64-bit system "
            "where the board allows it, or set `python` of this target to such a Python."
        )
    if interpreter.architecture in ("x86_64", "aarch64"):
        return "Set `python` of this target to a Python 3.9 to 3.14 (uv or pyenv install one)."
    return "Use a 64-bit system, or Raspberry Pi OS 12 (32-bit) on an ARMv7 or newer core."


def _board_packages(lacking: Sequence[str]) -> str:
    debian = {"pillow": "python3-pil"}
    names = " ".join(debian.get(name, "python3-numpy") for name in lacking)
    return (
        f"Install the system's own on the board: sudo apt install {names} "
        "(for the system's Python), then try again. Without internet there: copy their .deb files "
        f"over (`apt-get download {names}` and what they depend on, on a board of the same system "
        "that has it) and install them by `sudo dpkg -i`."
    )


def _numpy_wanted(versions: Versions) -> str:
    return "numpy" if versions.below != "2" else "numpy below 2"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def _described(interpreter: Interpreter) -> str:
    libc = " ".join(filter(None, (interpreter.libc, interpreter.libc_version))) or "unknown libc"
    kind = interpreter.abi or interpreter.implementation or "unknown Python"
    architecture = interpreter.architecture or interpreter.soabi or interpreter.machine
    return f"{interpreter.bits}-bit {architecture}, {libc}, {kind}"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
