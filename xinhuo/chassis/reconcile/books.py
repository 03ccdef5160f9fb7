"""A book is a set of facts as one service has them; two services compare theirs without sending them all.

Facts are counted and hashed in 256 buckets by the last byte of their ids. Where a bucket differs it is taken apart
once more, and only then single facts travel: of ten million, a hundred and fifty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..db import Database

#: A bucket with at most so many facts is not taken apart any more.
SMALL = 1000
_DEEPEST = 2


@dataclass(frozen=True)
class Book:
    """Facts by their ids: ``facts`` is a SELECT of ``key`` (uuid) and ``value`` (text, the same in every service).

    ``event`` is the type that announces them, its subject the key. ``ordered`` says that the keys are UUIDv7, so that
    those of the last minutes, whose events are still on their way, can be left out by their ids.
    """

    name: str
    facts: str
    event: str
    ordered: bool = True


@dataclass(frozen=True)
class Bucket:
    """How many facts there are, and a digest that differs when one of them does."""

    facts: int
    digest: str


@dataclass(frozen=True)
class Fact:
    """What a service says of one key; ``fresh`` while its event is unpublished or younger than the cut."""

    value: str
    fresh: bool = False


@dataclass(frozen=True)
class Announced:
    """The event by which a fact was announced."""

    event_id: UUID
    recorded_at: datetime
    published_at: datetime | None


class Source(Protocol):
    """Where a service's books can be read: its database, or its HTTP interface."""

    def buckets(self, book: str, cut: UUID, suffix: str) -> dict[str, Bucket]:
        """Return the buckets of the facts whose ids end with ``suffix`` (0 or 2 hexadecimal digits)."""

    def facts(self, book: str, cut: UUID, suffix: str) -> dict[UUID, Fact]:
        """Return the facts whose ids end with ``suffix`` (2 or 4 hexadecimal digits)."""

    def announced(self, book: str, key: UUID) -> Announced | None:
        """Return the event of a fact, or None when the service recorded none."""


class DatabaseSource:
    """Reads books from the database of the service itself."""

    def __init__(self, db: Database, books: Mapping[str, Book]) -> None:
        self.db, self.books = db, books

    def buckets(self, book: str, cut: UUID, suffix: str) -> dict[str, Bucket]:
        """See ``Source``."""
        with self.db.transaction() as session:
            return buckets(session, self.books[book], cut, suffix)

    def facts(self, book: str, cut: UUID, suffix: str) -> dict[UUID, Fact]:
        """See ``Source``."""
        with self.db.transaction() as session:
            return facts(session, self.books[book], cut, suffix)

    def announced(self, book: str, key: UUID) -> Announced | None:
        """See ``Source``."""
        with self.db.transaction() as session:
            return announced(session, self.books[book], key)


def buckets(session: Session, book: Book, cut: UUID, suffix: str) -> dict[str, Bucket]:
    """See ``Source``; one pass over the book, inside the database."""
    byte = 15 - len(suffix) // 2
    found = session.execute(
        sa.text(
            f"SELECT get_byte(uuid_send(key), {byte}), count(*),"  # noqa: S608  (our own text; values are bound)
            " sum(('x' || left(md5(key::text || ' ' || value), 15))::bit(60)::bigint)"
            f" FROM ({book.facts}) AS book WHERE {_within(book, suffix)} GROUP BY 1"
        ),
        _parameters(cut, suffix),
    )
    return {f"{part:02x}{suffix}": Bucket(count, str(digest)) for part, count, digest in found}


def facts(session: Session, book: Book, cut: UUID, suffix: str) -> dict[UUID, Fact]:
    """See ``Source``."""
    found = session.execute(
        sa.text(
            "WITH fresh AS MATERIALIZED ("  # noqa: S608  (our own text; values are bound)
            " SELECT aggregateid FROM outbox WHERE published_at IS NULL UNION SELECT aggregateid FROM outbox"
            " WHERE id >= :cut)"
            " SELECT key, value, EXISTS (SELECT FROM fresh WHERE aggregateid = key::text)"
            f" FROM ({book.facts}) AS book WHERE {_within(book, suffix)}"
        ),
        _parameters(cut, suffix),
    )
    return {key: Fact(value, fresh) for key, value, fresh in found}


def announced(session: Session, book: Book, key: UUID) -> Announced | None:
    """See ``Source``."""
    # The event is made right after its fact, in the same process: the index on ids finds its neighbourhood.
    near = " AND id >= :key AND id < CAST(:later AS uuid)" if book.ordered else ""
    found: Any = session.execute(
        sa.text(
            "SELECT id, recorded_at, published_at FROM outbox"  # noqa: S608  (our own text; values are bound)
            f" WHERE type = :type AND aggregateid = :subject{near} ORDER BY seq LIMIT 1"
        ),
        {"type": book.event, "subject": str(key)} | ({"key": key, "later": _minutes_after(key)} if near else {}),
    ).one_or_none()
    return Announced(*found) if found else None


def goes_deeper(suffix: str, bucket: Bucket | None) -> bool:
    """Tell whether a bucket is better taken apart than looked at fact by fact."""
    return bucket is not None and bucket.facts > SMALL and len(suffix) < 2 * _DEEPEST


def id_at(instant: datetime) -> UUID:
    """Return the smallest UUIDv7 that can be made at an instant."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def _within(book: Book, suffix: str) -> str:
    conditions = ["key < :cut"] if book.ordered else []
    conditions += [f"get_byte(uuid_send(key), {15 - place}) = :byte{place}" for place in range(len(suffix) // 2)]
    return " AND ".join(conditions) or "true"


def _parameters(cut: UUID, suffix: str) -> dict[str, Any]:
    numbers = bytes.fromhex(suffix)[::-1]
    return {"cut": cut} | {f"byte{place}": number for place, number in enumerate(numbers)}


def _minutes_after(key: UUID) -> UUID:
    return UUID(int=min(key.int + (120_000 << 80), (1 << 128) - 1))
