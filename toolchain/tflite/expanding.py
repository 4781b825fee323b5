"""A packed or INT4 model file -> an ordinary one, by the code that does it on boards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from targets.agent import expand
from targets.files import replaced
from toolchain.errors import MalformedModel, UnsupportedModel
from toolchain.tflite.facts import facts


@dataclasses.dataclass(frozen=True)
class Expanded:
    """An ordinary model that was made.  filters: how many were expanded."""

    path: Path
    file_bytes: int
    packed_bytes: int
    filters: int


def expand_file(path: Path, out: Path) -> Expanded:
    """Write the ordinary form of the model at `path` to `out`, whole or not at all.

    Raises MalformedModel, UnsupportedModel (an ordinary one already), OSError.
    """
    facts(path)  # the same words about a damaged file as from every other command
    data = path.read_bytes()
    try:
        expansion = expand.read(data)
        if expansion is None:
            raise UnsupportedModel(
                f"{path.name}: nothing in it is packed",
                hint="It is an ordinary .tflite already: every runtime takes it as it is.",
            )
        with replaced(out) as stream:
            expand.write(expansion, stream.fileno())
    except expand.Malformed as error:
        raise MalformedModel(
            f"{path.name}: a damaged TFLite model: {error}",
            hint="The file is cut short or corrupted; copy or convert it again.",
        ) from error
    return Expanded(out, expansion.total_bytes, len(data), len(expansion.filters))
