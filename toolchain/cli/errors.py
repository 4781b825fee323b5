"""Errors that only a command line knows.

UsageError (HalfbyteError)          2   the command line was not understood
Interrupted (HalfbyteError)         130 Ctrl-C
PathError (InputError)              3   a path that is missing, or of the wrong kind
"""

from __future__ import annotations

from targets.errors import HalfbyteError, InputError


class UsageError(HalfbyteError):
    """Options and arguments that do not go together, or that nobody knows."""

    exit_code = 2


class Interrupted(HalfbyteError):
    """Somebody pressed Ctrl-C."""

    exit_code = 130


class PathError(InputError):
    """A path on the command line that names nothing, or something of another kind."""
