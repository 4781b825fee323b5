"""The drawn trees of errors are the real ones, and every error tells users what to do."""

import inspect
import re
from types import ModuleType

import pytest

import targets.errors
import toolchain.errors
from targets.errors import HalfbyteError


def classes_of(module: ModuleType) -> dict[str, type[HalfbyteError]]:
    return {
        name: kind
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, HalfbyteError) and kind.__module__ == module.__name__
    }


def drawn_in(module: ModuleType) -> dict[str, int]:
    """Class names and exit codes in the docstring's drawing."""
    lines = re.findall(r"^[ |`-]*([A-Z]\w+)(?: \(\w+\))? +(\d+)\b", module.__doc__ or "", re.M)
    return {name: int(code) for name, code in lines}


@pytest.mark.parametrize("module", [targets.errors, toolchain.errors], ids=lambda m: m.__name__)
def test_the_drawing_shows_every_error_with_its_exit_code(module: ModuleType) -> None:
    real = {name: kind.exit_code for name, kind in classes_of(module).items()}
    drawn = drawn_in(module)
    assert {name: drawn.get(name) for name in real} == real


def test_exit_codes_never_collide_with_those_of_the_shell() -> None:
    codes = {kind.exit_code for kind in classes_of(targets.errors).values()}
    assert codes <= {1, *range(3, 64)}
