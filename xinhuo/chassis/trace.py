"""The trace a piece of work belongs to, in W3C ``traceparent`` form, carried over HTTP, events and logs."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORM = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def new_traceparent() -> str:
    """Return a fresh trace with a fresh span."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_of(traceparent: str | None) -> str:
    """Return a new span in the given trace, or in a new trace when none or a malformed one is given."""
    match = _FORM.match(traceparent or "")
    if match is None or set(match[1]) == {"0"}:
        return new_traceparent()
    return f"00-{match[1]}-{secrets.token_hex(8)}-01"


def current() -> str | None:
    """Return the traceparent of the work going on here, if any."""
    return _current.get()


def trace_id() -> str | None:
    """Return the 32 hexadecimal digits that name the current trace, if any."""
    now = _current.get()
    return now.split("-")[1] if now else None


@contextmanager
def traced(traceparent: str | None) -> Iterator[str]:
    """Do the work inside as a new span of the given trace."""
    span = child_of(traceparent)
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)
