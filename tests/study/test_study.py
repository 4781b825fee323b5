"""The whole study on real YOLOv5s and COCO images, killed in the middle, spread over workers."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.errors import RunIncomplete
from tests.places import shared_coco
from tests.study.conftest import CALIBRATION, IMAGES, IMGSZ
from toolchain.calibrationset import Pictures
from toolchain.errors import DataError
from toolchain.evaluate.truth import Dataset
from toolchain.study import engine, grid
from toolchain.study.conduct import Asked, conduct
from toolchain.study.engine import Here
from toolchain.study.material import Material, Opened
from toolchain.study.results import Results

HEAD = 'schema = "halfbyte.grid"\nversion = 1\nscreen_images = 4\n'
SMALL = (
    HEAD
    + """by_proxy = 1
finalists = 1
[[cells]]
scheme = "uniform"
bits = 8
granularity = "channel"
activations = ["float", "int8"]
always = true
[[cells]]
scheme = "uniform"
bits = 4
granularity = ["network", "channel"]
always = true
[[cells]]
scheme = "uniform"
bits = 4
granularity = "channel"
recovery = "second-order"
always = true
[[cells]]
scheme = "uniform"
bits = [3, 5]
granularity = "channel"
"""
)
PLAIN = HEAD + '[[cells]]\nscheme = "uniform"\nbits = [3, 4, 5, 6, 7, 8]\nalways = true\n'


def asked(text: str, pictures: Pictures, dataset: Dataset) -> Asked:
    return Asked("yolov5s-seg", IMGSZ, pictures, dataset, grid.parse(text, "test"))


@pytest.fixture(scope="module")
def small(source: Opened, pictures: Pictures, dataset: Dataset, cache: Path) -> Results:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HALFBYTE_CACHE", str(cache))
        return conduct(asked(SMALL, pictures, dataset), cache / "small", Here())


def final_ap(results: Results) -> dict[str, float]:
    return {state.cell.name: state.final.ap for state in results.finals if state.final}


def test_eight_bits_lose_next_to_nothing_and_a_shared_scale_loses_all(small: Results) -> None:
    ap = final_ap(small)
    assert small.images == IMAGES
    assert small.float_ap > 3
    assert ap["uniform, 8 bits, channel, mse, nearest"] == pytest.approx(small.float_ap, abs=1.5)
    # Of a dozen pictures of 128 x 96, four points are one object more or less in some classes.
    assert ap["uniform, 8 bits, channel, mse, nearest, a8"] > 0.7 * small.float_ap
    assert ap["uniform, 4 bits, network, mse, nearest"] < 0.2 * small.float_ap


def test_lost_points_are_those_of_the_same_images_and_lie_in_their_interval(
    small: Results,
) -> None:
    for state in small.finals:
        assert state.final is not None
        assert state.final.ap_lost == pytest.approx(small.float_ap - state.final.ap)
        assert state.final.ap_lost_ci95 is not None
        low, high = state.final.ap_lost_ci95
        assert low <= high
    best = next(s for s in small.finals if s.cell.bits == 8 and s.cell.activations == "float")
    assert best.final is not None
    assert best.final.agreement is not None
    assert best.final.agreement > 80
    assert abs(best.final.confident_boxes - best.final.confident_boxes_float) <= 4


def test_second_order_rounding_costs_less_at_the_outputs_by_the_proxy(small: Results) -> None:
    proxy = {s.cell.name: s.made.proxy for s in small.states if s.made}
    nearest = proxy["uniform, 4 bits, channel, mse, nearest"]
    assert proxy["uniform, 4 bits, channel, mse, second-order"] < nearest


def test_one_of_the_others_is_screened_and_goes_on(small: Results) -> None:
    free = [s for s in small.states if s.cell.bits in (3, 5)]
    assert sorted(s.final is not None for s in free) == [False, True]
    chosen = next(s for s in free if s.final is not None)
    assert chosen.screened is not None
    assert (chosen.screened.images, chosen.screen_images) == (4, 4)
    assert next(s for s in free if s.final is None).screened is None


def test_a_finished_study_is_not_done_again(
    small: Results, pictures: Pictures, dataset: Dataset, cache: Path
) -> None:
    class Nothing:
        width = 1

        def results(self, material: Material, jobs: Any) -> Iterator[Any]:
            raise AssertionError(f"{len(jobs)} jobs are done again")
            yield

    again = conduct(asked(SMALL, pictures, dataset), cache / "small", Nothing())
    assert again == small


def test_images_without_annotations_are_refused(
    pictures: Pictures, dataset: Dataset, tmp_path: Path
) -> None:
    bare = dataclasses.replace(dataset, boxes=())
    with pytest.raises(DataError, match="no objects to find"):
        conduct(asked(PLAIN, pictures, bare), tmp_path, Here())


def test_a_process_with_other_files_or_other_code_refuses_the_work(
    material: Material, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="another version of halfbyte"):
        Opened(dataclasses.replace(material, code_sha256="0" * 64))
    wrong = dataclasses.replace(material.float_model, tflite=tmp_path / "absent.tflite")
    with pytest.raises(DataError, match="is not here, or not as it was"):
        Opened(dataclasses.replace(material, float_model=wrong))


def command(text: str, place: Path, *more: str) -> list[str]:
    (place / "grid.toml").write_text(text)
    coco = shared_coco()
    return [
        *(sys.executable, "-m", "toolchain.cli", "study", "--weights", "yolov5s-seg"),
        *("--imgsz", str(IMGSZ[0]), str(IMGSZ[1]), "--grid", str(place / "grid.toml")),
        *("--images", str(coco / "dev" / "images"), "--limit", str(IMAGES)),
        *("--annotations", str(coco / "dev" / "instances.json")),
        *("--calibration", str(coco / "calib" / "images")),
        *("--calibration-limit", str(CALIBRATION), "--out", str(place / "out"), *more),
    ]


def wait_for(happened: Callable[[], Any], process: subprocess.Popen[Any], what: str) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.02)


def cells_in(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (place / "out" / "cells").glob("*.json")}


def test_a_killed_study_goes_on_where_it_was(
    source: Opened, tmp_path: Path, env: dict[str, str]
) -> None:
    words = command(PLAIN, tmp_path)
    process = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL)
    with process:
        wait_for(lambda: len(cells_in(tmp_path)) >= 2, process, "second cell")
        process.send_signal(signal.SIGKILL)
    before = cells_in(tmp_path)
    assert len(before) < 6
    done = subprocess.run([*words, "--json"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = cells_in(tmp_path)
    assert len(after) == 6
    assert {path: after[path] for path in before} == before
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "study.json").read_text()) == document
    assert all(cell["final"]["images"] == IMAGES for cell in document["cells"])


def test_without_a_scheduler_the_address_is_named() -> None:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("the package distributed is not installed (extra: study)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CONNECT_S", 0.5)
        with (
            pytest.raises(RunIncomplete, match=r"127\.0\.0\.1:9"),
            engine.cluster("tcp://127.0.0.1:9"),
        ):
            pass


@contextlib.contextmanager
def dask(place: Path, env: dict[str, str]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, as a user starts them."""
    start = [sys.executable, "-m", "distributed.cli."]
    file = place / "scheduler.json"
    scheduler = [*start[:2], start[2] + "dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = [*start[:2], start[2] + "dask_worker", "--nthreads", "1", "--no-dashboard"]
    env = {**env, "DASK_TEMPORARY_DIRECTORY": str(place)}
    processes = []
    try:
        for words in (
            [*scheduler, "--no-dashboard", "--scheduler-file", str(file)],
            *([*worker, "--no-nanny", "--scheduler-file", str(file)] for _ in range(2)),
        ):
            processes.append(
                subprocess.Popen(
                    words, env=env, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        wait_for(lambda: file.is_file() and file.read_text(), processes[0], "scheduler")
        yield json.loads(file.read_text())["address"], processes[1:]
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def test_two_workers_share_the_cells_and_the_death_of_one_is_no_loss(
    source: Opened, tmp_path: Path, env: dict[str, str]
) -> None:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("the package distributed is not installed (extra: study)")
    with dask(tmp_path, env) as (address, workers):
        words = command(PLAIN.replace("bits = [", "bits = [2, "), tmp_path, "--dask", address)
        process = subprocess.Popen(
            words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        with process:
            wait_for(lambda: len(cells_in(tmp_path)) >= 2, process, "second cell")
            os.kill(workers[0].pid, signal.SIGKILL)
            assert process.stderr is not None
            said = process.stderr.read().decode()
        assert process.returncode == 0, said
        assert workers[1].poll() is None
    document = json.loads((tmp_path / "out" / "study.json").read_text())
    assert len(document["cells"]) == 7
    assert all(cell["final"]["images"] == IMAGES for cell in document["cells"])
