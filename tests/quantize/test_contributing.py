"""The scheme that CONTRIBUTING.md shows does what is said of it."""

from __future__ import annotations

import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.quantize import models
from tests.quantize.conftest import Subject
from tests.quantize.schemes.cases import usual
from toolchain.quantize import W4C_A8
from toolchain.quantize import methods as choosing
from toolchain.quantize.coded import expand
from toolchain.quantize.granularity import Channel, Layer
from toolchain.quantize.recovery import Settings
from toolchain.quantize.schemes import SCHEMES, Scheme, uniform

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def scheme() -> Iterator[Any]:
    """The module that the page shows."""
    text = PAGE.read_text("utf-8").partition("## A new recipe")[2].partition("\n## ")[0]
    [code] = re.findall(r"^ *```python\n(.*?)^ *```", text, re.M | re.S)
    module = types.ModuleType("shift")
    sys.modules["shift"] = module
    exec(compile(textwrap.dedent(code), "CONTRIBUTING.md", "exec"), module.__dict__)
    yield module
    del sys.modules["shift"]


def test_it_has_all_that_a_scheme_has(scheme: Any) -> None:
    wanted = {name for name in vars(Scheme) if not name.startswith("_")}
    assert wanted <= vars(scheme).keys()
    assert "power" in scheme.__doc__


@pytest.mark.parametrize("granularity", [Layer(), Channel()])
def test_its_codes_come_back_and_its_scales_are_powers_of_two(
    scheme: Any, granularity: Any
) -> None:
    weights = usual(0)
    parameters = scheme.fit(weights, 4, granularity)
    codes = scheme.encode(weights, parameters)
    stored = scheme.decode(codes, parameters)
    np.testing.assert_array_equal(scheme.encode(stored, parameters), codes)
    assert (np.log2(parameters.scale) % 1 == 0).all()
    filter_, scale = scheme.coded(codes, parameters)
    whole = expand(filter_).astype(np.float32) * scale[:, None, None, None]
    np.testing.assert_array_equal(whole, stored)
    exact = uniform.fit(weights, 4, granularity)
    plain = uniform.decode(uniform.encode(weights, exact), exact)
    assert ((stored - weights) ** 2).sum() > ((plain - weights) ** 2).sum()


def test_a_recipe_may_be_written_by_it(
    scheme: Any, wide: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEMES, scheme.NAME, scheme)
    monkeypatch.setitem(choosing.SCHEME_OF, "c", scheme.NAME)
    made = wide.quantize(W4C_A8, recovery=Settings(patches=64))
    layers = {layer["layer"]: layer["scheme"] for layer in made.record["layers"]}
    assert layers["deep"] == "shift"
    found = models.Runner(models.expanded(made.model))
    exact = models.Runner(wide.float_bytes)
    picture = next(models.pixels(1))
    for name, values in exact.real(picture).items():
        assert models.sqnr_db(values, found.real(picture)[name]) > 10


def test_the_files_that_the_page_names_are_there() -> None:
    names = re.findall(r"`([\w/]+(?:\.py|\.md|\.toml|/))`", PAGE.read_text("utf-8"))
    assert len(names) > 10
    missing = [name for name in names if not (PAGE.parent / name).exists()]
    assert missing == []
