import threading

import pytest

from targets.deadline import Deadline, enforced
from targets.errors import DeadlineExceeded


def test_a_step_cannot_outlive_the_whole() -> None:
    whole = Deadline.after(0.5)
    assert whole.sooner(60) == whole
    assert whole.sooner(0.01).remaining_s() <= 0.01


def test_an_expired_deadline_says_what_was_awaited() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        Deadline.after(0).wait_s("the model to load")
    assert caught.value.message == "Waited 0.0 s for the model to load, in vain."
    assert caught.value.hint


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_only_a_finite_time_is_a_deadline(seconds: float) -> None:
    with pytest.raises(ValueError, match="deadline"):
        Deadline.after(seconds)


def test_a_call_without_a_timeout_is_aborted_in_time() -> None:
    closed = threading.Event()

    def read_from_a_dead_link() -> None:
        with enforced(Deadline.after(0.05), "an answer", closed.set):
            assert closed.wait(10)
            raise OSError("Socket is closed")

    with pytest.raises(DeadlineExceeded, match="an answer"):
        read_from_a_dead_link()


def test_an_error_before_the_deadline_leaves_as_it_is() -> None:
    with pytest.raises(OSError, match="refused"), enforced(Deadline.after(9), "x", lambda: None):
        raise ConnectionRefusedError("refused")
