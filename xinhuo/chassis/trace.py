"""The trace a piece of work belongs to, in W3C ``traceparent`` form, carried over HTTP, events and logs.

Whether anything is recorded of it is another matter: a process that is told where to sets a ``Recorder``
(``xinhuo.chassis.otel``). In all others nothing but the identifiers exists.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

_FORM = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)
#: How a span stands to what it is about, by the names of OpenTelemetry.
SERVER, CLIENT, PRODUCER, CONSUMER, INTERNAL = "server", "client", "producer", "consumer", "internal"
Facts = Mapping[str, str | int]


class Recorder(Protocol):
    """Records spans; facts are never personal data: patterns of routes, types and ids of events, counts."""

    def span(
        self, kind: str, name: str, facts: Facts, parent: str | None, about: Sequence[str] = ()
    ) -> AbstractContextManager[str]:
        """Record what is done inside as a span and give its traceparent.

        It belongs to ``parent``, else to the first of the work that it is ``about``. The traces of the others show it,
        too. An error that comes out of it is recorded by its type.
        """

    def moment(self, kind: str, name: str, facts: Facts, parent: str | None) -> str:
        """Record a span that takes no time and return its traceparent."""

    def note(self, facts: Facts, name: str | None = None, *, failed: bool = False) -> None:
        """Add to the span that goes on here."""


_recorder: Recorder | None = None


def record_by(recorder: Recorder | None) -> None:
    """Have spans recorded from now on, or no more."""
    global _recorder
    _recorder = recorder


def recorded() -> bool:
    """Tell whether spans are recorded, and what is to be said of them is worth collecting."""
    return _recorder is not None


def read(traceparent: str | None) -> tuple[str, str, str] | None:
    """Return the ids of trace and span, and the flags, or None when it is none or malformed."""
    match = _FORM.fullmatch(traceparent or "")
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return match[1], match[2], match[3]


def new_traceparent() -> str:
    """Return a fresh trace with a fresh span."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def child_of(traceparent: str | None) -> str:
    """Return a new span in the given trace, or in a new trace when none or a malformed one is given."""
    known = read(traceparent)
    if known is None:
        return new_traceparent()
    return f"00-{known[0]}-{secrets.token_hex(8)}-01"


def moment(kind: str, name: str, facts: Facts, traceparent: str | None) -> str:
    """Return a new span, as ``child_of``, which is recorded as one that takes no time."""
    return _recorder.moment(kind, name, facts, traceparent) if _recorder else child_of(traceparent)


def current() -> str | None:
    """Return the traceparent of the work going on here, if any."""
    return _current.get()


def trace_id() -> str | None:
    """Return the 32 hexadecimal digits that name the current trace, if any."""
    now = _current.get()
    return now.split("-")[1] if now else None


def note(facts: Facts, name: str | None = None, *, failed: bool = False) -> None:
    """Add to the span that goes on here what its end has shown."""
    if _recorder is not None:
        _recorder.note(facts, name, failed=failed)


def traced(traceparent: str | None, kind: str = INTERNAL, name: str = "") -> AbstractContextManager[str]:
    """Do the work inside as a new span of the given trace; with a name it is recorded."""
    if _recorder is None or not name:
        return _as_current(child_of(traceparent))
    return _recording(_recorder.span(kind, name, {}, traceparent))


def about(
    traceparents: Sequence[str | None], kind: str, name: str, facts: Callable[[], Facts]
) -> AbstractContextManager[str]:
    """Do the work inside as a span that concerns all of these; what is logged of it has the trace of the first."""
    if _recorder is None:
        return _as_current(child_of(traceparents[0] if traceparents else None))
    return _recording(_recorder.span(kind, name, facts(), None, [one for one in traceparents if one]))


def within(kind: str, name: str, facts: Callable[[], Facts]) -> AbstractContextManager[object]:
    """Record the work inside as a part of the work that goes on here; nothing begins a trace by it."""
    if _recorder is None or (here := _current.get()) is None:
        return _NOTHING
    return _recording(_recorder.span(kind, name, facts(), here))


_NOTHING: AbstractContextManager[None] = nullcontext()


@contextmanager
def _as_current(span: str) -> Iterator[str]:
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)


@contextmanager
def _recording(recording: AbstractContextManager[str]) -> Iterator[str]:
    with recording as span, _as_current(span):
        yield span
