"""Old months of outbox and inbox go as the office wants it, and nobody waits for that, or is told anything twice."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tests.integration.chassis.services import (
    Desk,
    database,
    event,
    execute,
    fetch,
    id_of_month,
    note_all,
    words,
)
from tests.support.postgres import create_database, drop_database
from tests.support.services import delivery_of
from tests.support.threads import together
from xinhuo.chassis import inbox, ladder, outbox, partitions, roles, tables
from xinhuo.chassis.db import Database, database_now

OLD = 2001  # a year in which nothing was made
HANDLER = "volunteers.count"


@pytest.fixture(autouse=True)
def _no_old_partitions(db: Database) -> Iterator[None]:
    yield
    for name in [*months_of(db, "outbox"), *months_of(db, "inbox")]:
        if f"_{OLD // 10}" in name:
            execute(db, f"DROP TABLE {name}")


def months_of(db: Database, table: str) -> list[str]:
    """Return the months of which there is a table, attached or not."""
    return [
        row.name
        for row in fetch(
            db,
            "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            " AND relname ~ :pattern ORDER BY 1",
            pattern=f"^{table}_[0-9]",
        )
    ]


def recorded(db: Database, event_id: UUID, *, published: bool = True) -> None:
    """Put an event of a month into the outbox."""
    execute(
        db,
        "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, public, published_at, public_published_at)"
        " SELECT :id, 'volunteers', '', 't', '', true, at, at FROM (SELECT CASE WHEN :done THEN now() END AS at) AS x",
        id=event_id, done=published,
    )  # fmt: skip


def months(db: Database, what: partitions.Partitioned, first: date, ahead: int) -> None:
    with db.transaction() as session:
        partitions.ensure(session, what, first, months_ahead=ahead)


def expire(db: Database, what: partitions.Partitioned, before: date) -> list[str]:
    with db.transaction() as session:
        return partitions.expire(session, what, before)


def ids(db: Database) -> set[UUID]:
    return {row.id for row in fetch(db, "SELECT id FROM outbox")}


def test_the_months_before_are_taken_out_at_once_and_dropped_by_the_next_run(db: Database) -> None:
    months(db, partitions.OUTBOX, date(OLD, 1, 1), 3)
    january, march = id_of_month(OLD, 1), id_of_month(OLD, 3)
    for event_id in (january, march):
        recorded(db, event_id)

    assert expire(db, partitions.OUTBOX, date(OLD, 3, 20)) == [f"outbox_{OLD}_01", f"outbox_{OLD}_02"]
    assert ids(db) == {march}
    assert f"outbox_{OLD}_01" in months_of(db, "outbox")

    assert expire(db, partitions.OUTBOX, date(OLD, 3, 20)) == []
    assert [name for name in months_of(db, "outbox") if f"_{OLD}_" in name] == [f"outbox_{OLD}_03", f"outbox_{OLD}_04"]
    assert ids(db) == {march}


@pytest.mark.parametrize("lane", ["published_at", "public_published_at"])
def test_a_month_with_an_event_that_did_not_go_out_stays(db: Database, lane: str) -> None:
    months(db, partitions.OUTBOX, date(OLD, 1, 1), 1)
    waiting = id_of_month(OLD, 1)
    recorded(db, waiting)
    execute(db, f"UPDATE outbox SET {lane} = NULL")  # noqa: S608

    assert expire(db, partitions.OUTBOX, date(OLD, 3, 1)) == [f"outbox_{OLD}_02"]
    assert ids(db) == {waiting}

    execute(db, f"UPDATE outbox SET {lane} = now()")  # noqa: S608
    assert expire(db, partitions.OUTBOX, date(OLD, 3, 1)) == [f"outbox_{OLD}_01"]
    assert ids(db) == set()


def test_what_is_of_no_month_goes_by_the_time_in_its_id(db: Database) -> None:
    old, undone, late = id_of_month(OLD, 1), id_of_month(OLD, 2), id_of_month(OLD, 9)
    recorded(db, old)
    recorded(db, undone, published=False)
    recorded(db, late)
    assert {row.place for row in fetch(db, "SELECT tableoid::regclass::text AS place FROM outbox")} == {"outbox_rest"}

    expire(db, partitions.OUTBOX, date(OLD, 6, 1))

    assert ids(db) == {undone, late}


def test_who_uses_the_table_for_long_is_not_waited_for_and_others_hardly_notice(
    db: Database, other_db: Database
) -> None:
    months(db, partitions.OUTBOX, date(OLD, 1, 1), 0)

    def try_to_expire() -> object:
        with pytest.raises(OperationalError, match="lock timeout"):
            expire(db, partitions.OUTBOX, date(OLD, 2, 1))
        return "refused"

    def go_on() -> object:
        for _ in range(20):
            with other_db.transaction() as session:
                outbox.record(session, event("meanwhile"))
        return "written"

    with db.engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL search_path = volunteers"))
        connection.execute(sa.text("LOCK TABLE outbox IN ROW EXCLUSIVE MODE"))
        assert together(try_to_expire, go_on) == ["refused", "written"]

    assert expire(db, partitions.OUTBOX, date(OLD, 2, 1)) == [f"outbox_{OLD}_01"]


def test_a_late_event_whose_claim_was_dropped_is_a_dead_letter_and_has_no_second_effect(desk_url: str) -> None:
    db = database(desk_url, keep_events_months=3)
    with db.transaction() as session:
        today = database_now(session).date()
    known = partitions.inbox_begins(today, 3)
    forgotten = known - timedelta(days=1)
    deliveries = {
        day: delivery_of(event(str(day)), event_id=id_of_month(day.year, day.month, day.day))
        for day in (known, forgotten)
    }

    ladder.take(db, HANDLER, note_all, list(deliveries.values()))

    assert words(db) == [str(known)]
    (letter,) = fetch(db, "SELECT event_id, reason FROM dead_letters")
    assert tuple(letter) == (deliveries[forgotten].envelope.id, "event.too_old")
    db.close()


def test_effects_are_remembered_longer_than_events_can_be_replayed() -> None:
    today = date(2026, 3, 5)
    assert partitions.outbox_begins(today, 3) == date(2025, 12, 1)
    assert partitions.inbox_begins(today, 3) == date(2025, 10, 1)
    assert partitions.outbox_begins(today, 0) == date(2026, 3, 1)
    assert partitions.outbox_begins(today, 14) == date(2025, 1, 1)


@pytest.mark.parametrize(("keep", "left"), [(0, [f"_{OLD}_01"]), (1, [])])
def test_the_job_drops_only_when_the_office_set_how_much_it_keeps(desk: Desk, keep: int, left: list[str]) -> None:
    db = desk.runtime.db
    desk.runtime.settings = replace(desk.runtime.settings, keep_events_months=keep)
    for what in (partitions.OUTBOX, partitions.INBOX):
        months(db, what, date(OLD, 1, 1), 0)
    for _ in range(2):
        with db.transaction() as session:
            desk.drop_old_partitions(session)
    assert [name for name in months_of(db, "outbox") if f"_{OLD}_" in name] == [f"outbox{name}" for name in left]
    assert [name for name in months_of(db, "inbox") if f"_{OLD}_" in name] == [f"inbox{name}" for name in left]


def test_a_claim_goes_with_its_month(db: Database) -> None:
    months(db, partitions.INBOX, date(OLD, 1, 1), 0)
    old = id_of_month(OLD, 1)

    def claim() -> Any:
        with db.transaction() as session:
            return inbox.claim(session, HANDLER, [(old, b"1")]).fresh

    assert claim() == {old}
    assert claim() == frozenset()
    expire(db, partitions.INBOX, date(OLD, 2, 1))
    assert fetch(db, "SELECT 1 FROM inbox WHERE event_id = :id", id=old) == []


@pytest.fixture
def undivided(postgres_url: str) -> Iterator[Database]:
    """A database whose outbox is still of one piece."""
    url = create_database(postgres_url)
    db = database(url)
    with db.as_owner() as connection:
        connection.execute(sa.text("CREATE SCHEMA volunteers"))
        tables.create_first(connection)
        roles.allow(connection, "volunteers")
    yield db
    db.close()
    drop_database(url)


def test_an_outbox_of_one_piece_keeps_its_events_positions_and_numbers_when_it_is_divided_and_back(
    undivided: Database,
) -> None:
    db = undivided
    for month in (1, 2):
        recorded(db, id_of_month(OLD, month))
    execute(db, "UPDATE outbox SET position = seq, recorded_at = recorded_at - interval '40 days'")
    with db.transaction() as session:
        outbox.record(session, event("new"))
    everything = "SELECT to_jsonb(o) AS row FROM outbox o ORDER BY seq"
    before = fetch(db, everything)

    with db.as_owner() as connection:
        tables.partition_outbox(connection)
        roles.allow(connection, "volunteers")
    assert fetch(db, everything) == before
    with db.transaction() as session:
        this_month = partitions.OUTBOX.partition_of(database_now(session).date())
    assert this_month in months_of(db, "outbox")
    with db.transaction() as session:
        outbox.record(session, event("newer"))
    assert [row.seq for row in fetch(db, "SELECT seq FROM outbox ORDER BY seq")] == [1, 2, 3, 4]

    with db.as_owner() as connection:
        tables.unite_outbox(connection)
        roles.allow(connection, "volunteers")
    assert fetch(db, everything)[:3] == before
    with db.transaction() as session:
        outbox.record(session, event("newest"))
    assert [row.seq for row in fetch(db, "SELECT seq FROM outbox ORDER BY seq")] == [1, 2, 3, 4, 5]
