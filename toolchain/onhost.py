"""The agent on this machine, without SSH: the same zipapp, in this host's own environment."""

from __future__ import annotations

import dataclasses
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator

from targets import zipapp
from targets.agent.wire import Envelope, Failed
from targets.errors import RunIncomplete
from targets.places import cache_dir
from targets.stream import LINE_LIMIT_BYTES, Stream
from toolchain.bundle import Bundle


def run(job: Bundle) -> Iterator[Envelope]:
    """Every record of one run on the host.  Raises RunIncomplete, StreamBroken."""
    paths = {item.sha256: str(item.source) for item in job.items}
    marker = f"halfbyte-{secrets.token_hex(8)}"
    plan = job.plan(paths.__getitem__, marker)
    # The model is the user's own file, maybe in a folder of theirs: nothing is put beside it.
    plan = dataclasses.replace(plan, keep_expanded=False)
    agent = zipapp.build(cache_dir())
    process = subprocess.Popen(
        [sys.executable, str(agent.path), "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    failed: Failed | None = None
    with process:
        try:
            process.stdin.write(plan.to_json())
            process.stdin.close()
            lines = iter(lambda: process.stdout.readline(LINE_LIMIT_BYTES), b"")  # type: ignore[union-attr]
            for envelope in Stream(marker).read(lines):
                if isinstance(envelope.record, Failed):
                    failed = envelope.record
                yield envelope
        except BaseException:
            process.kill()
            raise
    if failed is not None or process.returncode:
        why = failed.message if failed else f"exit status {process.returncode}"
        raise RunIncomplete(
            f"The model did not run on this machine: {why}",
            hint="`halfbyte inspect` says what is in it, `halfbyte doctor` what is here.",
        )


__all__ = ["run"]
