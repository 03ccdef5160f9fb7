"""How a green thread waits for PostgreSQL: at eventlet's hub, at once when there is nothing to wait for.

psycopg's own ``wait_selector`` makes a selector for every statement; under eventlet that cost as much as the statement.
Imports eventlet: only for processes that are patched.
"""

import time
from collections.abc import Generator
from typing import Any

from eventlet import patcher
from eventlet.green import select as green_select
from eventlet.hubs import trampoline
from psycopg import errors, waiting
from psycopg.waiting import READY_NONE, READY_R, READY_W, WAIT_R, WAIT_W

_real_select = patcher.original("select")
#: A server that is gone is found by the kernel's keep-alive; this is for a line that was closed under our feet.
_LOOK_AGAIN_SECONDS = 5.0


class _NothingYet(Exception):
    """The time is over and the socket not ready."""


def install() -> None:
    """Let every connection of this process wait so."""
    waiting.wait = wait  # type: ignore[assignment]  # whose type names a generic callable


def wait(generator: Generator[Any, Any, Any], fileno: int, interval: float = 0.0, timeout: float | None = None) -> Any:
    """Run a generator of psycopg's to its end and return what it returns (``psycopg.waiting.wait``).

    Raises psycopg's own time-out when it takes longer than ``timeout`` seconds, and what the generator raises.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        wanted = next(generator)
        while True:
            seconds = _LOOK_AGAIN_SECONDS
            if deadline is not None:
                seconds = min(seconds, max(0.0, deadline - time.monotonic()))
            wanted = generator.send(_wait_once(fileno, wanted, seconds))
            if deadline is not None and time.monotonic() >= deadline:
                raise errors._WaitTimeout("wait timeout expired")
    except StopIteration as end:
        return end.value


def _wait_once(fileno: int, wanted: int, seconds: float) -> int:
    """Return what the socket is ready for of what is wanted."""
    if wanted == WAIT_R:  # an answer is never there yet
        try:
            trampoline(fileno, read=True, timeout=seconds, timeout_exc=_NothingYet)
        except _NothingYet:
            waiting._check_fd_closed(fileno)
            return int(READY_NONE)
        return int(READY_R)
    poll = _real_select.poll()
    poll.register(
        fileno,
        (_real_select.POLLIN if wanted & WAIT_R else 0) | (_real_select.POLLOUT if wanted & WAIT_W else 0),
    )
    if found := poll.poll(0):
        [(_, events)] = found
        # What is neither, an error or a hang-up, is for the one who reads to find.
        readable = events & ~_real_select.POLLOUT
        return (READY_R if readable else 0) | (READY_W if events & _real_select.POLLOUT else 0)
    read, write, _ = green_select.select(
        [fileno] * bool(wanted & WAIT_R), [fileno] * bool(wanted & WAIT_W), [], seconds
    )
    return (READY_R if read else 0) | (READY_W if write else 0)
