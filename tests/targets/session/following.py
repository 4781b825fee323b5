"""Runs followed by tests: their records, and the agent that makes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from targets.agent.records import Hello
from targets.agent.wire import Envelope
from targets.deadline import Deadline
from targets.errors import (
    HalfbyteError,
)
from targets.ssh import Connection, connect
from targets.target import Target
from tests.agent import small_models
from toolchain.bundle import Bundle, Settings

_T = TypeVar("_T")
ENDLESS = Settings(head=small_models.HEAD, timed_runs=1_000_000, sample_period_s=0.05)


def after(seconds: float = 120) -> Deadline:
    return Deadline.after(seconds)


def link(target: Target) -> Connection:
    return connect(target, deadline=after(20))


def endless(bundle: Bundle) -> Bundle:
    return dataclasses.replace(bundle, settings=ENDLESS)


def collect(envelopes: Iterator[Envelope]) -> tuple[list[Any], HalfbyteError | None]:
    """The records, and the error at their end."""
    records = []
    try:
        for envelope in envelopes:
            records.append(envelope.record)
    except HalfbyteError as error:
        return records, error
    return records, None


def until(envelopes: Iterator[Envelope], kind: type) -> list[Any]:
    records = []
    for envelope in envelopes:
        records.append(envelope.record)
        if isinstance(envelope.record, kind):
            return records
    raise AssertionError(f"the run ended without {kind.__name__}")


def hello(records: Sequence[Any]) -> Hello:
    assert isinstance(records[0], Hello)
    return records[0]


def of(envelopes: Iterable[Envelope], kind: type[_T]) -> list[_T]:
    return [e.record for e in envelopes if isinstance(e.record, kind)]
