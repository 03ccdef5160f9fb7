"""A process says that it will stop before it does."""

import time

from tests.support.waiting import wait_for
from xinhuo.chassis.leaving import Leaving


def test_leaving_begins_at_once_and_ends_some_time_later() -> None:
    flag = Leaving(0.2)
    assert not flag.begun()
    assert not flag.is_set()
    asked = time.monotonic()
    flag.set()
    assert flag.begun()
    assert not flag.is_set()
    wait_for(flag.is_set, 5, "the time to be over")
    assert time.monotonic() - asked >= 0.2


def test_without_time_to_leave_it_is_over_at_once() -> None:
    flag = Leaving(0)
    flag.set()
    assert flag.is_set()


def test_whoever_is_told_twice_goes_at_once() -> None:
    flag = Leaving(60)
    flag.set()
    flag.set()
    assert flag.is_set()
