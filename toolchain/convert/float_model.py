"""Detector -> float TFLite and ONNX files, made once for each content."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.files import sha256_file, write_whole
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain.cache import Cache, content_key
from toolchain.convert.agreement import Agreement, OutputAgreement, compare
from toolchain.convert.canonical import canonical
from toolchain.convert.onnx_file import export_onnx
from toolchain.convert.process import convert, require
from toolchain.detector.model import Detector, head_of, output_names
from toolchain.errors import OutOfRange
from toolchain.tflite import flatbuffer
from toolchain.tflite.metadata import MAX_SIDE, Metadata, embed, to_json

FORM: Final = 1
"""Raised whenever this package would write other bytes for the same detector."""
MULTIPLE: Final = 32
NEEDED: Final = ("torch", "onnx", "tensorflow", "onnx2tf")
_VERSIONS: Final = ("torch", "onnx", "tensorflow", "tf_keras", "onnx2tf")
_TFLITE, _ONNX, _RECORD = "float32.tflite", "float32.onnx", "conversion.json"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FloatModel:
    """The float model of a detector at one input size.

    tflite: NHWC float32 input "images" in 0..1, outputs as `output_names`, signature "detect",
    our metadata.  onnx: the same, NCHW.  imgsz: (height, width).  agreement: with torch, on one
    made picture, checked before the model was kept.  rss_peak_bytes: of the process that made it.
    cached: it had been made before.
    """

    tflite: Path
    onnx: Path
    imgsz: tuple[int, int]
    tflite_sha256: str
    onnx_sha256: str
    agreement: Agreement
    rss_peak_bytes: int
    cached: bool


def to_float_tflite(
    detector: Detector,
    imgsz: tuple[int, int],
    *,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> FloatModel:
    """The float model of `detector`, from the cache or made now; the same input, the same bytes.

    imgsz: (height, width) of the input in pixels, multiples of 32.  cache: a folder in place of
    `cache_dir()`; the model stays in it.
    Raises OutOfRange (imgsz), MissingExtra, ConversionFailed, CheckFailed (not what torch says).
    """
    check_imgsz(imgsz)
    metadata = metadata_of(detector, imgsz)
    require(NEEDED)  # their versions are part of the key
    key = content_key(
        {
            "form": FORM,
            "detector": detector_sha256(detector),
            "metadata": to_json(metadata).decode(),
            "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
        }
    )

    def make(folder: Path) -> None:
        _make(detector, metadata, folder, progress)

    entry = Cache(cache or cache_dir(), "float").get_or_make(key, make)
    if entry.found:
        _log.info("the float model was made before: %s", entry.folder)
    return _read(entry.folder, imgsz, cached=entry.found)


def metadata_of(detector: Detector, imgsz: tuple[int, int], recipe: str = "float32") -> Metadata:
    """What a model made from `detector` says about itself."""
    return Metadata(
        head=head_of(detector),
        imgsz=imgsz,
        family=detector.family,
        recipe=recipe,
        parameters=detector.parameters,
        source_sha256=detector.source_sha256,
        licence=detector.licence,
    )


def check_imgsz(imgsz: tuple[int, int]) -> None:
    """Raises OutOfRange where height or width is no multiple of 32."""
    if all(0 < side <= MAX_SIDE and side % MULTIPLE == 0 for side in imgsz):
        return
    height, width = imgsz
    nearest = [max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in imgsz]
    raise OutOfRange(
        f"an input of height {height} and width {width} is no multiple of {MULTIPLE}",
        hint=f"Nearest: height {nearest[0]} and width {nearest[1]}.",
    )


def detector_sha256(detector: Detector) -> str:
    """Of everything in a detector that decides the model: its graph, head and weights."""
    digest = hashlib.sha256()
    plan = {
        "layers": [[type(layer).__name__, dataclasses.astuple(layer)] for layer in detector.layers],
        "levels": [dataclasses.astuple(level) for level in detector.levels],
    }
    digest.update(json.dumps(plan, sort_keys=True).encode())
    for name, conv in sorted(detector.weights.items()):
        digest.update(json.dumps([name, conv.weight.shape, conv.bias.shape]).encode())
        digest.update(np.ascontiguousarray(conv.weight, "<f4").data)
        digest.update(np.ascontiguousarray(conv.bias, "<f4").data)
    return digest.hexdigest()


def _make(detector: Detector, metadata: Metadata, folder: Path, progress: Progress) -> None:
    names = output_names(detector)
    onnx, tflite, raw = folder / _ONNX, folder / _TFLITE, folder / "raw.tflite"
    with progress.task("export ONNX"):
        export_onnx(detector, metadata, onnx)
    converted = convert(onnx, raw, names, progress=progress)
    model = canonical(flatbuffer.read(raw), detector.weights, names)
    write_whole(tflite, flatbuffer.serialize(embed(model, metadata)))
    raw.unlink()
    agreement = compare(
        detector, tflite, [made_picture(metadata.imgsz)], total=1, progress=progress
    )
    record = {
        "schema": "halfbyte.conversion",
        "version": 1,
        "rss_peak_bytes": converted.rss_peak_bytes,
        "agreement": dataclasses.asdict(agreement),
        "sha256": {"tflite": sha256_file(tflite), "onnx": sha256_file(onnx)},
    }
    write_whole(folder / _RECORD, json.dumps(record, indent=1, allow_nan=False).encode())


def _read(folder: Path, imgsz: tuple[int, int], *, cached: bool) -> FloatModel:
    record = json.loads((folder / _RECORD).read_bytes())
    return FloatModel(
        tflite=folder / _TFLITE,
        onnx=folder / _ONNX,
        imgsz=imgsz,
        tflite_sha256=record["sha256"]["tflite"],
        onnx_sha256=record["sha256"]["onnx"],
        agreement=_agreement(record["agreement"]),
        rss_peak_bytes=record["rss_peak_bytes"],
        cached=cached,
    )


def _agreement(fields: dict[str, Any]) -> Agreement:
    outputs = tuple(OutputAgreement(**output) for output in fields["outputs"])
    return Agreement(**{**fields, "outputs": outputs})


def made_picture(imgsz: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture with smooth areas, edges and noise; uint8 [height, width, 3], always the same."""
    height, width = imgsz
    random = np.random.default_rng(20240707)
    rows, columns = np.linspace(0, 6, height)[:, None], np.linspace(0, 6, width)[None, :]
    waves = np.stack([np.sin(rows + k) * np.cos(columns - k) for k in range(3)], axis=2)
    picture = 127 + 90 * waves + random.normal(0, 12, (height, width, 3))
    for _ in range(12):
        top, left = random.integers(0, (height - 8, width - 8))
        bottom, right = top + random.integers(8, height // 2), left + random.integers(8, width // 2)
        picture[top:bottom, left:right] = random.integers(0, 256, 3)
    pixels: NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels
