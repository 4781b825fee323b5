"""Every error a user can meet has a message (what), a hint (what to do next) and an exit code.

    HalfbyteError                       1
    |- InputError                       3   weights, models, images, annotations, settings
    |  |- (toolchain.errors adds the host's own below this)
    |  |- FirmwareConfigError           3   files of firmware settings
    |  `- InventoryError                3   targets.toml
    |     `- UnknownTarget              3
    |- TargetError                      4   the way to the board
    |  |- Unreachable                   4
    |  |- HostKeyUnknown                4
    |  |- HostKeyChanged                4
    |  |- HostKeyRevoked                4
    |  |- KeyRefused                    4
    |  |- LinkLost                      4
    |  |- DeadlineExceeded              4
    |  `- CommandFailed                 4
    |- BoardError                       5   what the board has or lacks
    |  |- NoPython                      5
    |  |- NoRuntime                     5
    |  |- NoSpace                       5
    |  |- NoMemory                      5
    |  |- CorruptUpload                 5
    |  |- AgentMismatch                 5
    |  |- NotRestored                   5
    |  `- BoardBusy                     5
    |- FetchError                       6   a package or file from the network
    |  |- ChecksumMismatch              6
    |  `- NotReachable                  6
    |- RunIncomplete                    7   what was measured so far is kept
    |  |- AgentFailed                   7
    |  |- AgentKilled                   7
    |  `- StreamBroken                  7
    `- CheckFailed                      8   a result is outside what was asked for

Exit codes 0 (fine), 1 (a fault of ours), 2 (the command line was not understood) and 130 (Ctrl-C)
are not errors of this tree.  This module imports nothing else of the project.
"""

from __future__ import annotations


class HalfbyteError(Exception):
    """Base of all errors shown to users: what happened, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(HalfbyteError):
    """Something that the user gave cannot be used."""

    exit_code = 3


class FirmwareConfigError(InputError):
    """A file of firmware settings, or a value given for one, cannot be used."""


class InventoryError(InputError):
    """`targets.toml` cannot be used."""


class UnknownTarget(InventoryError):
    """A target name that nobody defined."""


class TargetError(HalfbyteError):
    """The way to the board is shut."""

    exit_code = 4


class Unreachable(TargetError):
    """No connection: refused, unknown name, no route."""


class HostKeyUnknown(TargetError):
    """First contact, and nobody said that the key is right."""


class HostKeyChanged(TargetError):
    """The host key differs from the recorded one."""


class HostKeyRevoked(TargetError):
    """The host key is marked @revoked."""


class KeyRefused(TargetError):
    """The server took none of our keys or passwords."""


class LinkLost(TargetError):
    """The connection broke while in use."""


class DeadlineExceeded(TargetError):
    """Something on the other side did not answer in time."""


class CommandFailed(TargetError):
    """A command on the board ended with an error."""


class BoardError(HalfbyteError):
    """The board lacks something that the run needs."""

    exit_code = 5


class NoPython(BoardError):
    """No interpreter on the board that the agent can run in."""


class NoRuntime(BoardError):
    """No TFLite runtime exists for the board's interpreter."""


class NoSpace(BoardError):
    """Not enough room on the board."""


class NoMemory(BoardError):
    """Not enough memory on the board."""


class CorruptUpload(BoardError):
    """What arrived is not what was sent."""


class AgentMismatch(BoardError):
    """The agent on the board is not the one that was sent."""


class NotRestored(BoardError):
    """Settings of the board could not be put back; what they were is kept."""


class BoardBusy(BoardError):
    """Another run holds the board."""


class FetchError(HalfbyteError):
    """Something needed from the network did not come, or was not what it should be."""

    exit_code = 6


class ChecksumMismatch(FetchError):
    """The bytes that came are not the pinned ones."""


class NotReachable(FetchError):
    """The network or the file on it cannot be reached."""


class RunIncomplete(HalfbyteError):
    """A run ended early; its records are kept."""

    exit_code = 7


class AgentFailed(RunIncomplete):
    """The agent said why it could not go on."""


class StreamBroken(RunIncomplete):
    """What came from the board is no stream of records."""


class AgentKilled(RunIncomplete):
    """The agent's process was killed by a signal.

    signal: its number.  phase: what it was doing ("loading the model").  rss_bytes, hwm_bytes: its
    memory as last seen.  oom: whether the kernel counted an out-of-memory kill meanwhile; None
    where it does not count them.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        signal: int = 9,
        phase: str = "",
        rss_bytes: int | None = None,
        hwm_bytes: int | None = None,
        oom: bool | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.signal = signal
        self.phase = phase
        self.rss_bytes = rss_bytes
        self.hwm_bytes = hwm_bytes
        self.oom = oom


class CheckFailed(HalfbyteError):
    """A result lies outside what was asked for."""

    exit_code = 8
