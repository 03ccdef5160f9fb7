"""The two comparisons: tables within one service by SQL, books of two services by buckets."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..db import Database, database_now
from . import books, handling
from .books import MOST_SUFFIXES, Book, Bucket, DatabaseSource, Fact, Source, id_at
from .results import Difference, Result

#: Events younger than this may still be on their way; how long an entry may take to reach everybody.
PATIENCE = timedelta(minutes=5)
#: So many facts are looked at one by one; when more differ, the count is a lower bound.
_MOST_FACTS = 200_000
_AT_ONCE = 50_000


@dataclass(frozen=True)
class Copy:
    """What a service keeps of another one's facts: the other's book, its own, and the handler that keeps it."""

    comparison: str
    publisher: str
    book: str
    own: Book
    handler: str


@contextmanager
def snapshot(db: Database) -> Iterator[Session]:
    """Give a session in which every statement sees the database as it was at the first one."""
    with db.transaction() as session:
        session.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield session


def compare_tables(
    session: Session,
    service: str,
    comparison: str,
    *,
    expected: str,
    found: str,
    parameters: Mapping[str, Any] | None = None,
    explain: Callable[[str], tuple[str, str, str]],
) -> Result:
    """Compare two SELECTs of ``key`` and ``value`` (text) with one statement, inside the database.

    ``explain(kind)`` gives cause, detail and remedy of the first difference.
    """
    row: Any = session.execute(
        sa.text(
            f"WITH expected AS MATERIALIZED ({expected}), found AS MATERIALIZED ({found}), differing AS MATERIALIZED ("  # noqa: S608  (our own text)
            " SELECT coalesce(e.key, f.key) AS key, e.value AS expected, f.value AS found"
            " FROM expected AS e FULL JOIN found AS f ON f.key = e.key WHERE e.value IS DISTINCT FROM f.value)"
            " SELECT (SELECT count(*) FROM expected), (SELECT count(*) FROM found), (SELECT count(*) FROM differing),"
            " first.key, first.expected, first.found FROM (VALUES (1)) AS one"
            " LEFT JOIN LATERAL (SELECT * FROM differing ORDER BY key LIMIT 1) AS first ON true"
        ),
        parameters or {},
    ).one()
    expected_rows, found_rows, differences, key, wanted, there = row
    first = None
    if differences:
        kind = _kind(wanted, there)
        first = handling.difference(kind, key, wanted, there, explain(kind))
    return Result(service, comparison, expected_rows, found_rows, differences, first=first)


def compare_copy(db: Database, copy: Copy, theirs: Source, patience: timedelta = PATIENCE) -> Result:
    """Compare a service's copy of facts with the book of the service that owns them.

    Facts whose events are younger than ``patience``, unpublished, or parked here are on their way and no difference.
    Whatever differs is looked at a second time, since both sides go on working.
    """
    with db.transaction() as session:
        cut = id_at(database_now(session) - patience)
    sides = _Sides(DatabaseSource(db, {copy.own.name: copy.own}), theirs, copy, cut)
    differing, complete = sides.differing()
    if not differing and complete:
        return Result(db.service, copy.comparison, *sides.totals, differences=0)
    with db.transaction() as session:
        failed = handling.failed_by_subject(session, copy.handler)
        real, waiting = _without_waiting(differing, failed)
        first = None
        if real:
            key = min(real, key=lambda one: one.int)
            first = _explained(session, copy, theirs, key, *real[key], failed)
    return Result(db.service, copy.comparison, *sides.totals, len(real), waiting, complete, first)


_Pair = tuple[Fact | None, Fact | None]


@dataclass
class _Sides:
    """The two books that are compared, and the way down from buckets to facts."""

    own: Source
    theirs: Source
    copy: Copy
    cut: UUID
    totals: tuple[int, int] = (0, 0)
    """How many facts they have and we have."""

    def differing(self) -> tuple[dict[UUID, _Pair], bool]:
        """Return what differs (theirs, ours) by key, and whether that is all."""
        unequal = self._unequal(())
        if unequal and sum(unequal.values()) > books.SMALL:
            apart = self._unequal(unequal)
            # Where almost everything differs, small buckets only make more questions of it.
            if sum(apart.values()) < sum(unequal.values()) / 4:
                unequal = apart
        differing: dict[UUID, _Pair] = {}
        looked_at = 0
        for portion in _portions(unequal):
            if looked_at > _MOST_FACTS:
                return differing, False
            looked_at += sum(unequal[suffix] for suffix in portion)
            differing.update(self._look(portion))
        return differing, True

    def _unequal(self, suffixes: Collection[str]) -> dict[str, int]:
        """Return the buckets that differ, with how many facts they have on the side that has more."""
        # Theirs first: what is new since then is more than enough on our side, and the second look knows it.
        theirs = self.theirs.buckets(self.copy.book, self.cut, suffixes)
        ours = self.own.buckets(self.copy.own.name, self.cut, suffixes)
        if not suffixes:
            self.totals = _facts_in(theirs), _facts_in(ours)
        return {
            name: max(side[name].facts for side in (theirs, ours) if name in side)
            for name in sorted(theirs.keys() | ours.keys())
            if theirs.get(name) != ours.get(name)
        }

    def _look(self, suffixes: Collection[str]) -> dict[UUID, _Pair]:
        first = _unequal_facts(self._their_facts(suffixes), self._our_facts(suffixes))
        if not first:
            return {}
        ours = self._our_facts(suffixes)  # later than theirs: what they had then must be here now
        second = _unequal_facts(self._their_facts(suffixes), ours)  # and theirs later than ours, for what we have more
        return {key: pair for key, pair in second.items() if key in first}

    def _their_facts(self, suffixes: Collection[str]) -> dict[UUID, Fact]:
        return self.theirs.facts(self.copy.book, self.cut, suffixes)

    def _our_facts(self, suffixes: Collection[str]) -> dict[UUID, Fact]:
        return self.own.facts(self.copy.own.name, self.cut, suffixes)


def _portions(unequal: Mapping[str, int]) -> Iterator[list[str]]:
    """Put buckets together to questions that are neither too long nor too much at once."""
    portion: list[str] = []
    facts = 0
    for suffix, count in unequal.items():
        if portion and (len(portion) >= MOST_SUFFIXES or facts + count > _AT_ONCE):
            yield portion
            portion, facts = [], 0
        portion.append(suffix)
        facts += count
    if portion:
        yield portion


def _facts_in(buckets: Mapping[str, Bucket]) -> int:
    return sum(bucket.facts for bucket in buckets.values())


def _unequal_facts(theirs: dict[UUID, Fact], ours: dict[UUID, Fact]) -> dict[UUID, _Pair]:
    found: dict[UUID, _Pair] = {}
    for key in theirs.keys() | ours.keys():
        their, our = theirs.get(key), ours.get(key)
        if their is None or our is None or their.value != our.value:
            found[key] = their, our
    return found


def _without_waiting(
    differing: dict[UUID, _Pair], failed: Mapping[str, handling.Failed]
) -> tuple[dict[UUID, _Pair], int]:
    real = {}
    for key, (their, our) in differing.items():
        ladder = failed.get(str(key))
        if their is not None and our is None and (their.fresh or (ladder is not None and ladder.parked)):
            continue
        real[key] = their, our
    return real, len(differing) - len(real)


def _explained(
    session: Session,
    copy: Copy,
    theirs: Source,
    key: UUID,
    their: Fact | None,
    our: Fact | None,
    failed: Mapping[str, handling.Failed],
) -> Difference:
    kind = _kind(their, our)
    service = copy.handler.partition(".")[0]
    if kind == "missing":
        why = handling.why_missing(
            session, copy.handler, failed.get(str(key)), lambda: theirs.announced(copy.book, key)
        )
    else:
        why = ("unfounded" if kind == "extra" else "changed", "", handling.rebuild_of(service))
    return handling.difference(kind, str(key), their.value if their else None, our.value if our else None, why)


def _kind(expected: object, found: object) -> str:
    return "missing" if found is None else "extra" if expected is None else "different"
