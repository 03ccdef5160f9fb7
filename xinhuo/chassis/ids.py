"""Identifiers: UUIDv7, made before the insert, ordered by time."""

from uuid import UUID

from uuid_utils.compat import uuid7

from . import clock


def new_id() -> UUID:
    """Return a new UUIDv7, dated by the one clock of the system.

    Those that a process makes are in order, also within a millisecond, while its own clock is right.
    """
    made: UUID = uuid7() if clock.own_is_right() else uuid7(nanoseconds=int(clock.now().timestamp() * 1e9))
    return made
