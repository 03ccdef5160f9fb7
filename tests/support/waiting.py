"""Waiting for conditions, in place of sleeping."""

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


def wait_for(condition: Callable[[], T], timeout: float = 10, what: str = "") -> T:
    """Return the first true answer of `condition`, or fail after `timeout` seconds naming `what`."""
    never = Event()
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", repr(condition))
            raise AssertionError(f"waited {timeout:g} s in vain for: {name} (last answer: {answer!r})")
        never.wait(POLL_SECONDS)
