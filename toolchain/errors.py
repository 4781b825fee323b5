"""The host's own errors; the base and the board's errors are in `targets.errors`.

InputError                          3
|- CheckpointError                  3   a .pt file that cannot be read as a detector
|  |- HostileCheckpoint             3
|  |- NotADetector                  3
|  `- UnsupportedFamily             3
|- LabelsDisagree                   3
|- NotFinite                        3   NaN or infinity in weights or ranges
|- OutOfRange                       3
|- ModelError                       3   a .tflite file
|  |- MalformedModel                3
|  |- UnsupportedModel              3
|  `- DoesNotRun                    3   the runtime of this machine refuses it
|- RecipeError                      3
|- ImageUnreadable                  3
|- DataError                        3   annotations, folders of images
|  `- EmptyCalibration              3
`- RunFolderError                   3
ConversionFailed (HalfbyteError)    1
MissingExtra (InputError)           3   torch or tensorflow is not installed
"""

from __future__ import annotations

from typing import Final

from targets.errors import HalfbyteError, InputError

INSTALL: Final = (
    "Install the packages that make models: scripts/environment .venv convert, or "
    'pip install -e ".[convert]" in the source folder.'
)


class CheckpointError(InputError):
    """A checkpoint that cannot be read."""


class HostileCheckpoint(CheckpointError):
    """A checkpoint that asks for more than weights."""


class NotADetector(CheckpointError):
    """A checkpoint that holds something else."""


class UnsupportedFamily(CheckpointError):
    """A detector of a family that we do not convert."""


class LabelsDisagree(InputError):
    """Labels and head differ in number."""


class NotFinite(InputError):
    """NaN or infinity where numbers are needed."""


class OutOfRange(InputError):
    """A value that its type cannot hold."""


class ModelError(InputError):
    """A .tflite file that cannot be used."""


class MalformedModel(ModelError):
    """Bytes that are no valid flatbuffer of the TFLite schema."""


class UnsupportedModel(ModelError):
    """A valid model with something that we do not handle."""


class DoesNotRun(ModelError):
    """The runtime of this machine refuses a model, or crashes with it."""


class RecipeError(InputError):
    """A recipe name or file that cannot be read."""


class ImageUnreadable(InputError):
    """A picture that cannot be decoded whole."""


class DataError(InputError):
    """Annotations or image folders that cannot be used."""


class EmptyCalibration(DataError):
    """No usable calibration image."""


class RunFolderError(InputError):
    """A run folder that cannot be read or written."""


class MissingExtra(InputError):
    """An optional group of packages is needed."""


class ConversionFailed(HalfbyteError):
    """onnx2tf or the ONNX export ended with an error; `stderr_tail` is the end of what it said."""

    def __init__(self, message: str, *, hint: str = "", stderr_tail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stderr_tail = stderr_tail
