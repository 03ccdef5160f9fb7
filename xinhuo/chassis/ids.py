"""Identifiers: UUIDv7, made before the insert, ordered by time."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7."""
    made: UUID = uuid7()
    return made
