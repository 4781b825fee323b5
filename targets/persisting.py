"""Work over a bad link: when it breaks, connect again and let the work go on where it was.

persisting(connection, lambda: send(connection, items, ...), deadline=deadline)
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from targets.deadline import Deadline
from targets.errors import DeadlineExceeded, HalfbyteError, LinkLost, Unreachable
from targets.ssh import Connection

log = logging.getLogger(__name__)
_T = TypeVar("_T")
PATIENCE_S: Final = 600.0
"""A board restarts in a minute or two; somebody carries a cable for longer."""
CONNECT_S: Final = 30.0
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0

Tell = Callable[[str], None]


def persisting(
    connection: Connection,
    work: Callable[[], _T],
    *,
    deadline: Deadline,
    patience_s: float = PATIENCE_S,
    tell: Tell = log.warning,
) -> _T:
    """What `work` returns; after a break it is called again on the same, renewed connection.

    work: must be able to go on where it broke off.  patience_s: the longest time without a
    connection, after which the error of the break is raised.  tell: called with each change.
    """
    while True:
        try:
            return work()
        except (LinkLost, DeadlineExceeded) as error:
            if deadline.expired or not is_broken(connection, error):
                raise
            renewed(connection, error, deadline=deadline, patience_s=patience_s, tell=tell)


def is_broken(connection: Connection, error: HalfbyteError) -> bool:
    """Whether it was the link that failed, and not something on the other side of it."""
    return isinstance(error, LinkLost) or not connection.is_open


def renewed(
    connection: Connection,
    broken: HalfbyteError,
    *,
    deadline: Deadline,
    patience_s: float = PATIENCE_S,
    tell: Tell = log.warning,
) -> None:
    """Connect again, with longer and longer waits between the tries.

    Raises `broken` where `patience_s` or `deadline` ends, and at once what no wait will mend
    (a changed host key, a refused login).
    """
    patience = deadline.sooner(patience_s)
    wait_s = _FIRST_WAIT_S
    tell(f"{connection.name}: the connection broke ({broken.message}); connecting again")
    began_at_s = time.monotonic()
    while True:
        try:
            connection.renew(deadline=patience.sooner(CONNECT_S))
        except (Unreachable, LinkLost, DeadlineExceeded) as error:
            log.info("%s: %s", connection.name, error.message)
            if patience.remaining_s() <= wait_s:
                raise broken from error
        else:
            tell(f"{connection.name}: connected again after {time.monotonic() - began_at_s:.0f} s")
            return
        # Boards that lost the same access point should not all come back in the same moment.
        time.sleep(wait_s * random.uniform(0.7, 1.0))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
