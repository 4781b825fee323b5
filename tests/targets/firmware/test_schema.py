from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from targets.errors import FirmwareConfigError
from targets.firmware import schema

HEAD = 'schema = "halfbyte.firmware"\nversion = 1\nname = "mine"\n'


def wrong(text: str, *, own: bool = True) -> FirmwareConfigError:
    with pytest.raises(FirmwareConfigError) as caught:
        schema.parse(text, "mine.toml", own=own)
    assert "mine.toml" in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ('schema = "halfbyte.targets"\nversion = 1', "does not say schema", "come first"),
        (HEAD + "versoin = 2", "no key 'versoin'", "'version'"),
        (HEAD + "[profiles.a]\n'cpu.govenor' = 'x'", "no key 'cpu.govenor'", "'cpu.governor'"),
        (HEAD + "[profiles.a]\n'cpu.governor.policyx' = 'x'", "policyx", "'cpu.governor'"),
        (HEAD + "[profiles.a.'cpu.governor']\nvalu = 'x'", "no key 'valu'", "'value'"),
        (HEAD + "[profiles.a]\n'cpu.governor' = 5", "is 5: not a governor", "show generic"),
        (HEAD + "[profiles.a]\n'cpu.max_khz' = '0%'", "from 1% to 100%", "show generic"),
        (HEAD + "[profiles.a]\n'cpu.max_khz' = 1.5", "is 1.5", "whole number"),
        (HEAD + "[profiles.a]\n'pi.config' = ['arm_freq=9999']", "arm_freq=9999", "show"),
        (HEAD + "[profiles.a]\n'pi.config' = ['cmdline=evil.txt']", "cmdline=evil.txt", "show"),
        (HEAD + "[profiles.a]\n'fan.pwm' = 0", "never held back", "show"),
        (HEAD + "[profiles.a.'cpu.governor']\nvalue='x'\nsource='s'", "no source 's'", "There are"),
        (HEAD + "[expect.'cpu.speed']\nvalue=[1]", "no key 'cpu.speed'", "cpu.max_khz"),
        (HEAD + "profiles = 3", "does not hold tables", "[profiles.NAME]"),
        ("[[[", "is no TOML", "Correct"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(text: str, says: str, hint: str) -> None:
    error = wrong(text)
    assert says in error.message
    assert hint in error.hint


def test_a_shipped_file_must_say_where_a_value_comes_from() -> None:
    assert "no table" in wrong(HEAD + "[profiles.a]\n'cpu.governor' = 'x'", own=False).message
    text = HEAD + "[profiles.a.'cpu.governor']\nvalue = 'x'\nunit = 'u'\nreason = 'r'"
    assert "no source" in wrong(text, own=False).message


def test_a_users_file_may_be_short() -> None:
    text = HEAD + "[profiles.benchmark]\n'cpu.governor' = 'ondemand'\n"
    read = schema.parse(text, "mine.toml", own=True)
    setting = read.profiles["benchmark"].settings["cpu.governor"]
    assert (setting.value, setting.source, setting.unit) == (
        "ondemand",
        None,
        "governor of each cpufreq policy",
    )


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"#" * (schema.MAX_BYTES + 1))
    with pytest.raises(FirmwareConfigError, match="larger than"):
        schema.read(path, own=True)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FirmwareConfigError, match="cannot be read"):
        schema.read(path, own=True)


@settings(max_examples=150)
@given(
    st.recursive(
        st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.floats()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(["sources", "expect", "profiles", "compatible", "base", "title", "name"]),
)
def test_any_value_in_any_place_reads_or_is_an_error_of_ours(value: object, key: str) -> None:
    raw = {"schema": schema.SCHEMA, "version": 1, "name": "x", key: value}
    text = "\n".join(f"{name} = {toml(item)}" for name, item in raw.items())
    with contextlib.suppress(FirmwareConfigError):
        schema.parse(text, "x.toml", own=True)


def toml(value: object) -> str:
    """As TOML; dictionaries inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"' + "".join(f"\\U{ord(c):08X}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
        )
    if isinstance(value, float):
        return str(value) if value == value else "nan"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    return str(value)
