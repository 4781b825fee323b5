"""Why a run ends early; `kind` goes to the host as `Failed.kind`."""

from __future__ import annotations

CHANGED = "the file on the board is not the one that was sent"  # of a picture, in `Skipped.reason`


class Fault(Exception):
    """Base: a reason that has a name of its own."""

    kind = "fault"


class BadPlan(Fault):
    """The plan cannot be read, or contradicts itself or the model."""

    kind = "bad-plan"


class CpusRefused(Fault):
    """A CPU that the plan names is off, not there, or not for this process."""

    kind = "cpus-refused"


class NoRuntime(Fault):
    """numpy, Pillow or a TFLite runtime cannot be imported."""

    kind = "no-runtime"


class ModelRefused(Fault):
    """The runtime does not take the model."""

    kind = "model-refused"


class FileMissing(Fault):
    """The model is not where the plan says."""

    kind = "file-missing"


class FileChanged(Fault):
    """The model is not the one that the plan names."""

    kind = "file-changed"


class OutputNotUnderstood(Fault):
    """The model's outputs are not what the plan's head says, or hold NaN."""

    kind = "output-not-understood"


class Interrupted(Fault):
    """SIGTERM, SIGINT or SIGHUP came."""

    kind = "interrupted"
