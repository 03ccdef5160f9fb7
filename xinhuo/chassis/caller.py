"""From which network address a request comes, for what is written down of it; nothing else is decided by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_address: ContextVar[str | None] = ContextVar("address", default=None)


@contextmanager
def at(address: str) -> Iterator[None]:
    """Do the work inside for whoever asks from an address."""
    before = _address.set(address or None)
    try:
        yield
    finally:
        _address.reset(before)


def address() -> str | None:
    """Return the address for which the work here is done; None for what nobody asked for over HTTP."""
    return _address.get()
