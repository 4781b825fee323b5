"""How a model's outputs become boxes, decided from its metadata and the shapes of its tensors."""

from __future__ import annotations

from pathlib import Path

from targets.agent.heads import Head
from toolchain.tflite.facts import ModelFacts, facts


def understand(path: Path, found: ModelFacts | None = None) -> Head | None:
    """The head of the model at `path`; None where its outputs are not understood.

    found: its facts, if they are at hand.  Raises MalformedModel, UnsupportedModel, OSError.
    """
    found = facts(path) if found is None else found
    return None if found.metadata is None else found.metadata.head
