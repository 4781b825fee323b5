from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from targets.agent.boxes import Head, Level
from targets.agent.plan import parse
from targets.errors import InputError
from targets.items import Item
from targets.zipapp import build
from toolchain.bundle import Bundle, Picture, Settings, bundle

HEAD = Head("levels", ("cat", "dog"), (Level(8, ((4.0, 6.0),), "b", "o", "c"),))


def small(**settings: object) -> Bundle:
    return Bundle(
        model=Item.of_bytes(b"a model"),
        agent=Item.of_bytes(b"an agent"),
        pictures=(Picture("søppel—1.jpg", Item.of_bytes(b"a picture")),),
        settings=Settings(**settings),  # type: ignore[arg-type]
    )


def test_equal_content_has_equal_names_wherever_it_lies(tmp_path: Path) -> None:
    agent = build(tmp_path)
    bundles = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "model.tflite").write_bytes(b"a model")
        (tmp_path / place / f"{place}.jpg").write_bytes(b"a picture")
        pictures = [("7", tmp_path / place / f"{place}.jpg")]
        bundles.append(bundle(tmp_path / place / "model.tflite", agent, pictures=pictures))
    assert bundles[0].sha256 == bundles[1].sha256
    assert str(tmp_path) not in json.dumps(bundles[0].manifest())


@pytest.mark.parametrize(
    "other",
    [
        small(threads=2),
        small(imgsz=(320, 544)),
        small(head=HEAD),
        dataclasses.replace(small(), model=Item.of_bytes(b"another model")),
        dataclasses.replace(small(), agent=Item.of_bytes(b"another agent")),
        dataclasses.replace(small(), pictures=()),
    ],
)
def test_whatever_decides_the_run_decides_the_name(other: Bundle) -> None:
    assert other.sha256 != small().sha256


def test_the_agent_reads_the_plan_that_a_bundle_makes() -> None:
    made = small(head=HEAD, threads=2, imgsz=(320, 544), timed_runs=7)
    plan = made.plan(lambda sha256: f"/home/cam/.halfbyte/objects/{sha256}", "halfbyte-0123")
    assert parse(plan.to_json()) == plan
    assert plan.imgsz == (320, 544)
    assert plan.images[0].id == "søppel—1.jpg"
    assert plan.images[0].path.endswith(made.pictures[0].item.sha256)
    assert plan.model.path.endswith(made.model.sha256)


def test_settings_have_the_defaults_of_the_plan() -> None:
    made = dataclasses.replace(small(), pictures=())
    plan = made.plan(str, "halfbyte-0123")
    assert plan == type(plan)(model=plan.model, marker="halfbyte-0123")


def test_a_file_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.tflite"):
        bundle(tmp_path / "missing.tflite", build(tmp_path))
