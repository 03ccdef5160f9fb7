"""Identifiers: UUIDv7, made before the insert, ordered by time."""

from uuid import UUID

from uuid_utils.compat import uuid7

from . import clock


def new_id() -> UUID:
    """Return a new UUIDv7, dated by the one clock of the system.

    Those that a process makes are in order, also within a millisecond, while its own clock is right.
    """
    return new_ids(1)[0]


def new_ids(count: int) -> list[UUID]:
    """Return so many new UUIDv7, as ``new_id`` makes them, in order."""
    if clock.own_is_right():
        return [uuid7() for _ in range(count)]
    nanoseconds = int(clock.now().timestamp() * 1e9)
    return sorted(uuid7(nanoseconds=nanoseconds) for _ in range(count))
