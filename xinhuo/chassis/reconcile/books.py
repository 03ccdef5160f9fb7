"""A book is a set of facts as one service has them; two services compare theirs without sending them all.

Facts are counted and hashed in 256 buckets by the last byte of their ids. Where large buckets differ they are taken
apart once more, and only then single facts travel: of ten million, a hundred and fifty. Each question reads the whole
book, so it is about many buckets at once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..db import Database

#: Buckets that together have at most so many facts are looked at fact by fact.
SMALL = 5000
#: As many suffixes as one question may name.
MOST_SUFFIXES = 400


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

    def buckets(self, book: str, cut: UUID, suffixes: Collection[str]) -> dict[str, Bucket]:
        """Return the buckets of all facts or, taken apart, of those whose ids end with suffixes of two digits."""

    def facts(self, book: str, cut: UUID, suffixes: Collection[str]) -> dict[UUID, Fact]:
        """Return the facts whose ids end with one of the suffixes (2 or 4 hexadecimal digits, all alike)."""

    def announced(self, book: str, key: UUID) -> Announced | None:
        """Return the event of a fact, or None when the service recorded none."""


class DatabaseSource:
    """Reads books from the database of the service itself."""

    def __init__(self, db: Database, books: Mapping[str, Book]) -> None:
        self.db, self.books = db, books

    def buckets(self, book: str, cut: UUID, suffixes: Collection[str]) -> dict[str, Bucket]:
        """See ``Source``."""
        with self.db.transaction() as session:
            return buckets(session, self.books[book], cut, suffixes)

    def facts(self, book: str, cut: UUID, suffixes: Collection[str]) -> dict[UUID, Fact]:
        """See ``Source``."""
        with self.db.transaction() as session:
            return facts(session, self.books[book], cut, suffixes)

    def announced(self, book: str, key: UUID) -> Announced | None:
        """See ``Source``."""
        with self.db.transaction() as session:
            return announced(session, self.books[book], key)


def buckets(session: Session, book: Book, cut: UUID, suffixes: Collection[str]) -> dict[str, Bucket]:
    """See ``Source``; one pass over the book, inside the database."""
    condition, parameters = _within(book, cut, suffixes)
    digits = 4 if suffixes else 2
    found = session.execute(
        sa.text(
            f"SELECT {_suffix(digits)}, count(*),"  # noqa: S608  (our own text; values are bound)
            " sum(('x' || left(md5(key::text || ' ' || value), 15))::bit(60)::bigint)"
            f" FROM ({book.facts}) AS book WHERE {condition} GROUP BY 1"
        ),
        parameters,
    )
    return {f"{number:0{digits}x}": Bucket(count, str(digest)) for number, count, digest in found}


def facts(session: Session, book: Book, cut: UUID, suffixes: Collection[str]) -> dict[UUID, Fact]:
    """See ``Source``."""
    condition, parameters = _within(book, cut, suffixes)
    found = session.execute(
        sa.text(
            "WITH fresh AS MATERIALIZED ("  # noqa: S608  (our own text; values are bound)
            " SELECT aggregateid FROM outbox WHERE published_at IS NULL UNION SELECT aggregateid FROM outbox"
            " WHERE id >= :cut)"
            " SELECT key, value, key::text IN (SELECT aggregateid FROM fresh)"
            f" FROM ({book.facts}) AS book WHERE {condition}"
        ),
        {"cut": cut} | parameters,
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


def id_at(instant: datetime) -> UUID:
    """Return the smallest UUIDv7 that can be made at an instant."""
    return UUID(int=int(instant.timestamp() * 1000) << 80)


def _within(book: Book, cut: UUID, suffixes: Collection[str]) -> tuple[str, dict[str, Any]]:
    conditions = ["true"]
    parameters: dict[str, Any] = {}
    if book.ordered:
        conditions.append("key < :cut")
        parameters["cut"] = cut
    if suffixes:
        conditions.append(f"{_suffix(len(next(iter(suffixes))))} = ANY(CAST(:suffixes AS integer[]))")
        parameters["suffixes"] = [int(suffix, 16) for suffix in suffixes]
    return " AND ".join(conditions), parameters


def _suffix(digits: int) -> str:
    """Return the last digits of a key as a number: to group by text would take half as long again."""
    last = "get_byte(uuid_send(key), 15)"
    return last if digits == 2 else f"get_byte(uuid_send(key), 14) * 256 + {last}"


def _minutes_after(key: UUID) -> UUID:
    return UUID(int=min(key.int + (120_000 << 80), (1 << 128) - 1))
