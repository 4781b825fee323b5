"""Run folders as a real run leaves them, with records made by the wire itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from targets.agent import wire
from tests.evaluate.sets import coco, picture
from toolchain.evaluate.datasets import load
from toolchain.evaluate.truth import Dataset
from toolchain.runmeta import CalibrationMeta, ModelMeta, Outcome, RunMeta, Settings, TargetMeta
from toolchain.runs import RunFolder

MIB = 2**20
PARAMETERS = 1_000_000
# The people of `sets.PEOPLE`, by picture, as x1, y1, x2, y2.
BOXES = {1: [(10, 10, 50, 50), (100, 20, 150, 70)], 2: [(20, 30, 80, 90)]}
Rows = tuple[tuple[float, ...], ...]


def dataset(folder: Path) -> Dataset:
    """Two pictures of 200 x 200 with three people."""
    return load(coco(folder))


def frames(folder: Path, count: int) -> Dataset:
    """Pictures without any labels."""
    for number in range(count):
        picture(folder / f"{number:03}.jpg", 200, 200)
    return load(None, folder)


def meta(recipe: str | None = "float32", bits: int | None = 32, **model: object) -> RunMeta:
    """A small model on a board called shed."""
    sizes = {32: 4_000_000, 8: 1_010_000, 4: 510_000}
    return RunMeta(
        model=dataclasses.replace(
            ModelMeta(
                weights="tiny",
                recipe=recipe,
                bits=bits,
                file_bytes=sizes.get(bits or 0, 2_000_000),
                sha256=f"{bits or 0:064x}",
                parameters=PARAMETERS,
                imgsz=(320, 320),
                names=("person",),
                source_sha256="5" * 64,
                licence="GPL-3.0",
            ),
            **model,
        ),
        target=TargetMeta("shed", "Raspberry Pi 5"),
        settings=Settings(threads=2, warmup=2, timed_runs=40),
        images=2,
        calibration=None if bits == 32 else CalibrationMeta(128, 0, "c" * 64),
    )


def facts(**changed: object) -> wire.Facts:
    """A quiet board with nothing to hold against it."""
    board = wire.Facts(
        board_model="Raspberry Pi 5 Model B Rev 1.0",
        machine="aarch64",
        cpu_model="Cortex-A76",
        cpus_online=4,
        cpus_allowed=4,
        cpu_max_khz={"policy0": 2_400_000},
        governors={"policy0": "performance"},
        mem_total_bytes=8 * 1024 * MIB,
        runtime="ai-edge-litert 2.3.0",
        python="3.11.2",
    )
    return dataclasses.replace(board, **changed)


def sample(**changed: object) -> wire.Sample:
    """A reading between two inferences."""
    reading = wire.Sample(
        memory=wire.Memory(100 * MIB, 90 * MIB, 120 * MIB, 0),
        temps_c={"cpu": 55.0, "off": None},
        cpu_khz={"policy0": 2_400_000},
        load_1min=2.0,
    )
    return dataclasses.replace(reading, **changed)


def perfect(image: int, score: float = 0.9) -> Rows:
    """The people on a picture, found exactly."""
    return tuple((*map(float, box), score, 0.0) for box in BOXES[image])


def detected(image: int, rows: Rows) -> wire.Detected:
    """Twenty milliseconds end to end."""
    return wire.Detected(
        index=image - 1,
        image=str(image),
        width=200,
        height=200,
        decode_ns=3_000_000,
        letterbox_ns=2_000_000,
        inference_ns=10_000_000,
        boxes_ns=5_000_000,
        detections=rows,
    )


def records(
    found: dict[int, Rows] | None = None,
    *,
    times_ms: Sequence[float] = (10.0,) * 40,
    board: wire.Facts | None = None,
    samples: Sequence[wire.Sample] = (),
    skipped: Sequence[wire.Skipped] = (),
    fed: str = "picture",
) -> list[object]:
    """All that one whole run sends, in its order."""
    found = {1: perfect(1), 2: perfect(2)} if found is None else found
    before = wire.Memory(40 * MIB, 40 * MIB, 40 * MIB, 0)
    after = wire.Memory(100 * MIB, 90 * MIB, 110 * MIB, 0)
    return [
        wire.Hello(pid=7),
        board or facts(),
        wire.Loading(file_bytes=4_000_000, memory=before),
        wire.Loaded(load_ns=250_000_000, before=before, after=after, threads=2),
        wire.TimedInput(source=fed, image="1"),
        *(wire.Warmed(n, 50_000_000) for n in range(2)),
        *(wire.Timed(n, int(ms * 1e6)) for n, ms in enumerate(times_ms)),
        *(samples or [sample()]),
        *(detected(image, rows) for image, rows in found.items()),
        *skipped,
        wire.Peak(wire.Memory(100 * MIB, 90 * MIB, 150 * MIB, 0), peak_pss_bytes=95 * MIB),
        wire.Finished(),
    ]


def keep(
    folder: RunFolder,
    key: str,
    run_meta: RunMeta,
    sent: Iterable[object],
    outcome: Outcome | None = Outcome(whole=True),  # noqa: B008  frozen
) -> None:
    """Write one run."""
    folder.start(key, run_meta)
    for seq, record in enumerate(sent):
        folder.append(key, wire.encode(record, seq, 10**9 + seq))
    if outcome is not None:
        folder.finish(key, outcome)


def create(path: Path, images: Dataset | None = None, **changed: object) -> RunFolder:
    """An empty run folder of a fixed day."""
    return RunFolder.create(
        path,
        command=["halfbyte", "run", "--bits", "4 8"],
        versions={"halfbyte": "0.1.0", "numpy": "1.26.4"},
        dataset=images,
        created="2026-11-20T14:03:11+00:00",
        **changed,
    )


def three_runs(tmp_path: Path) -> RunFolder:
    """The float model, int8 that finds all, int4 that misses the third and scores low."""
    folder = create(tmp_path / "run", dataset(tmp_path / "set"))
    keep(folder, "float", meta(), records())
    keep(folder, "int8", meta("w8c-a8", 8), records(times_ms=(4.0,) * 40))
    weaker = {1: perfect(1, 0.2), 2: ()}
    keep(folder, "int4", meta("w4c-a8", 4), records(weaker, times_ms=(5.0,) * 40))
    return folder
