"""The line's first half: weights -> detector -> float flatbuffer -> calibration -> few bits.

Every step is kept under the hash of what decides it, so a second call finds what the first made.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from pathlib import Path
from typing import Any, Final, Protocol

from targets.files import sha256_file, write_whole
from targets.places import cache_dir
from targets.progress import SILENT, Progress
from toolchain.cache import Cache, content_key
from toolchain.calibrationset import SENSITIVITY_IMAGES, Pictures, seen
from toolchain.convert import Agreement, FloatModel
from toolchain.detector import Detector
from toolchain.makingcode import quantizer_sha256
from toolchain.quantize import Calibration, Options, Recipe
from toolchain.quantize.sensitivity import Sensitivity

AGREEMENT_IMAGES: Final = 2
_TFLITE, _RECORD = "model.tflite", "record.json"
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights as read.  name: of the catalogue, or the file's stem."""

    name: str
    detector: Detector


class FloatFile(Protocol):
    """A float flatbuffer.  tflite_sha256: of its bytes."""

    @property
    def tflite(self) -> Path:
        """Where it lies."""

    @property
    def tflite_sha256(self) -> str:
        """Of its bytes."""


@dataclasses.dataclass(frozen=True)
class EqualizedModel:
    """A float model of the same outputs.  units: what the record says of what was moved."""

    tflite: Path
    tflite_sha256: str
    units: list[Any]


@dataclasses.dataclass(frozen=True)
class Made:
    """A model file.  record: every choice of the quantizer, None for the float model."""

    weights: str
    recipe: Recipe
    path: Path
    record: Path | None = None
    cached: bool = False


def read_weights(
    name_or_path: str, *, names: Path | None = None, progress: Progress = SILENT
) -> Source:
    """The detector behind a catalogue name or a checkpoint's path.

    names: a file of labels, one a line, in place of the checkpoint's own.
    Raises CheckpointError and its kin, LabelsDisagree, FetchError.
    """
    from toolchain.detector import load_detector
    from toolchain.weights import resolve

    found = resolve(name_or_path, progress=progress)
    labels = None if names is None else read_labels(names)
    with progress.task(f"reading {found.name}"):
        detector = load_detector(found.path, names=labels, licence=found.licence)
    for line in detector.notes:
        _log.info("%s: %s", found.name, line)
    return Source(found.name, detector)


def make_float(
    source: Source, imgsz: tuple[int, int], *, progress: Progress = SILENT
) -> FloatModel:
    """The float flatbuffer at (height, width).  Raises ConversionFailed, MissingExtra."""
    from toolchain.convert import to_float_tflite

    return to_float_tflite(source.detector, imgsz, progress=progress)


def check_float(
    source: Source, made: FloatModel, pictures: Pictures, *, progress: Progress = SILENT
) -> Agreement:
    """How far the float flatbuffer is from torch on real pictures.

    Raises CheckFailed above the tolerance.
    """
    from toolchain.convert import agree

    return agree(source.detector, made, pictures.paths[:AGREEMENT_IMAGES], progress=progress)


def make_calibration(
    made: FloatFile, pictures: Pictures, *, progress: Progress = SILENT
) -> Calibration:
    """Ranges of all activations on `pictures`.  Raises EmptyCalibration, NotFinite."""
    from toolchain import quantize

    key = content_key(
        {"float": made.tflite_sha256, "pictures": pictures.hashes, "code": quantizer_sha256()}
    )

    def make(folder: Path) -> None:
        found = quantize.calibrate(made.tflite, pictures.paths, progress=progress)
        quantize.save(found, folder / "calibration.npz")

    entry = Cache(cache_dir(), "calibration").get_or_make(key, make)
    return quantize.load(entry.folder / "calibration.npz")


def make_sensitivity(
    made: FloatFile, pictures: Pictures, *, progress: Progress = SILENT
) -> Sensitivity:
    """What errors cost, on an even choice of `pictures`.  Raises as `gradients.measure`."""
    from toolchain.quantize import device, gradients, sensitivity

    chosen = pictures.spread(SENSITIVITY_IMAGES)
    key = content_key(
        {
            "float": made.tflite_sha256,
            "pictures": chosen.hashes,
            "device": device.asked(),
            "code": quantizer_sha256(),
        }
    )

    def make(folder: Path) -> None:
        found = gradients.measure(made.tflite, chosen.paths, progress=progress)
        sensitivity.save(found, folder / "sensitivity.npz")

    entry = Cache(cache_dir(), "sensitivity").get_or_make(key, make)
    return sensitivity.load(entry.folder / "sensitivity.npz")


def make_equalized(
    made: FloatFile,
    pictures: Pictures,
    recipe: Recipe,
    options: Options,
    *,
    progress: Progress = SILENT,
) -> EqualizedModel | None:
    """The float model that is quantized in place of `made`; None where it is `made` itself.

    Raises as `equalize.equalize`.
    """
    from toolchain.quantize import equalize

    # Float activations have no step that channels share.
    wanted = options.equalize and recipe.activation_bits is not None
    if not wanted or not _equalizable(made.tflite, made.tflite_sha256):
        return None
    chosen = pictures.spread(SENSITIVITY_IMAGES)
    key = content_key(
        {
            "float": made.tflite_sha256,
            "pictures": chosen.hashes,
            "recipe": str(recipe),
            "plan": repr(options.plan),
            "float_boxes": options.float_boxes,
            "code": quantizer_sha256(),
        }
    )

    def make(folder: Path) -> None:
        found = equalize.equalize(made.tflite, chosen.paths, recipe, options, progress=progress)
        if found is not None:
            write_whole(folder / _TFLITE, found.model)
        write_whole(folder / _RECORD, _json([] if found is None else found.units))

    folder = Cache(cache_dir(), "equalized").get_or_make(key, make).folder
    model, units = folder / _TFLITE, json.loads((folder / _RECORD).read_bytes())
    return EqualizedModel(model, sha256_file(model), units) if units else None


def check_asked(made: FloatModel, recipe: Recipe, options: Options) -> None:
    """What can be said before calibration, which takes minutes.  Raises as `check_model`.

    Of a recipe as it comes there is nothing to say.
    """
    if options.plan is not None or options.budget is not None:
        _check_once(made.tflite, made.tflite_sha256, recipe, options)


@functools.lru_cache(maxsize=64)
def _check_once(tflite: Path, _sha256: str, recipe: Recipe, options: Options) -> None:
    """Some seconds for a large model, and all recipes are checked before the first is made."""
    from toolchain import quantize

    quantize.check_model(tflite.read_bytes(), recipe, options)


@functools.lru_cache(maxsize=64)
def _equalizable(tflite: Path, _sha256: str) -> bool:
    """A second for a large model, the same for all recipes."""
    from toolchain.quantize import equalize

    return equalize.is_possible(tflite)


def make_quantized(
    source: Source,
    made: FloatModel,
    pictures: Pictures,
    recipe: Recipe,
    options: Options | None = None,
    *,
    progress: Progress = SILENT,
) -> Made:
    """The model of one recipe, checked before it is calibrated.

    Raises RecipeError, NotFinite, UnsupportedModel, OutOfRange (an impossible budget), InputError
    (`device.chosen`).
    """
    from toolchain import quantize
    from toolchain.quantize import device

    options = options or quantize.Options()
    key = content_key(
        {
            "float": made.tflite_sha256,
            "pictures": pictures.hashes,
            "recipe": str(recipe),
            "options": repr(options),
            "device": device.asked(),
            "code": quantizer_sha256(),
        }
    )

    def make(folder: Path) -> None:
        check_asked(made, recipe, options)
        equalized = make_equalized(made, pictures, recipe, options, progress=progress)
        used: FloatFile = equalized or made
        calibration = make_calibration(used, pictures, progress=progress)
        sensitivity = make_sensitivity(used, pictures, progress=progress)
        with progress.task(f"quantizing to {recipe}"):
            result = quantize.quantize(
                used.tflite.read_bytes(),
                calibration,
                recipe,
                sensitivity=sensitivity,
                pictures=list(seen(pictures, made.imgsz)) if options.recovery else (),
                options=options,
                progress=progress,
            )
        write_whole(folder / _TFLITE, result.model)
        told = {"equalized": equalized.units} if equalized else {}
        write_whole(folder / _RECORD, _json(result.record | told))

    entry = Cache(cache_dir(), "quantized").get_or_make(key, make)
    return Made(
        source.name, recipe, entry.folder / _TFLITE, entry.folder / _RECORD, cached=entry.found
    )


def read_labels(path: Path) -> list[str]:
    """Labels out of a file, one a line; empty lines are passed over."""
    lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    return [line for line in lines if line]


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()
