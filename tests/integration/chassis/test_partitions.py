"""The inbox is partitioned by the month of the event's id, and months are made before they come."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from tests.integration.chassis.services import execute, fetch, id_of_month
from tests.support.threads import together
from xinhuo.chassis import inbox, partitions
from xinhuo.chassis.db import Database

ROOT = Path(__file__).resolve().parents[3]
FAR = 2070  # years that no other test and no migration has made partitions for


@pytest.fixture(autouse=True)
def _no_far_partitions(db: Database) -> Iterator[None]:
    """Remove the partitions of far years, with the rows in them."""
    yield
    for row in fetch(
        db, "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'inbox'::regclass"
    ):
        if row.name.startswith(f"inbox_{FAR // 10}"):
            execute(db, f"DROP TABLE {row.name}")


def claim(db: Database, *ids: UUID) -> frozenset[UUID]:
    with db.transaction() as session:
        return inbox.claim(session, "h", [(event_id, b"1") for event_id in ids]).fresh


def ensure(db: Database, first: date, months_ahead: int = 0) -> list[str]:
    with db.transaction() as session:
        return partitions.ensure(session, partitions.INBOX, first, months_ahead=months_ahead)


def places(db: Database) -> dict[UUID, str]:
    return {
        row.event_id: row.place for row in fetch(db, "SELECT event_id, tableoid::regclass::text AS place FROM inbox")
    }


def test_a_new_installation_has_the_months_of_a_year_and_the_rest(db: Database) -> None:
    found = {
        row.name
        for row in fetch(
            db, "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'inbox'::regclass"
        )
    }
    today = datetime.now(UTC).date()
    assert "inbox_rest" in found
    assert f"inbox_{today:%Y_%m}" in found
    assert len(found - {"inbox_rest"}) >= 13


def test_the_ids_of_every_month_land_in_its_partition(db: Database) -> None:
    made = ensure(db, date(FAR, 1, 31), 23)
    assert made == [f"inbox_{year}_{month:02}" for year in (FAR, FAR + 1) for month in range(1, 13)]
    ids = {
        id_of_month(year, month, day): f"inbox_{year}_{month:02}"
        for year in (FAR, FAR + 1) for month in range(1, 13) for day in (1, 28)
    }  # fmt: skip
    assert claim(db, *ids) == set(ids)
    assert places(db) == ids


@pytest.mark.parametrize(
    ("event_id", "place"),
    [
        (partitions.first_id_of(date(FAR, 3, 1)), f"inbox_{FAR}_03"),
        (UUID(int=partitions.first_id_of(date(FAR, 3, 1)).int - 1), f"inbox_{FAR}_02"),
        (UUID(int=partitions.first_id_of(date(FAR, 4, 1)).int - 1), f"inbox_{FAR}_03"),
        (partitions.first_id_of(date(FAR, 4, 1)), "inbox_rest"),
        (UUID(int=partitions.first_id_of(date(FAR, 2, 1)).int - 1), "inbox_rest"),
        (UUID(int=0), "inbox_rest"),
        (UUID(int=(1 << 128) - 1), "inbox_rest"),
        (id_of_month(1999, 1), "inbox_rest"),
    ],
)
def test_a_month_begins_and_ends_with_utc_and_what_no_month_has_is_in_the_rest(
    db: Database, event_id: UUID, place: str
) -> None:
    ensure(db, date(FAR, 2, 1), 1)
    assert claim(db, event_id) == {event_id}
    assert places(db) == {event_id: place}
    assert claim(db, event_id) == frozenset()


def test_making_them_again_makes_nothing_and_waits_for_nobody(db: Database, other_db: Database) -> None:
    assert ensure(db, date(FAR, 1, 1), 2) == [f"inbox_{FAR}_01", f"inbox_{FAR}_02", f"inbox_{FAR}_03"]
    with other_db.transaction() as session:
        inbox.claim(session, "h", [(id_of_month(FAR, 1), b"1")])  # a handler at work would hold a lock up
        assert ensure(db, date(FAR, 1, 20), 2) == []
        assert ensure(db, date(FAR, 2, 28), 1) == []
    assert ensure(db, date(FAR, 2, 28), 2) == [f"inbox_{FAR}_04"]


def test_the_rows_of_a_month_that_came_too_early_move_into_its_partition(db: Database) -> None:
    """A default partition that holds rows of a new range makes PostgreSQL refuse the range."""
    early = [id_of_month(FAR, month, day) for month in (5, 6, 7) for day in (1, 30)]
    assert claim(db, *early, UUID(int=5)) == {*early, UUID(int=5)}
    assert set(places(db).values()) == {"inbox_rest"}
    before = fetch(db, "SELECT * FROM inbox ORDER BY event_id")
    low, high = partitions.first_id_of(date(FAR, 6, 1)), partitions.first_id_of(date(FAR, 7, 1))
    with pytest.raises(sa.exc.IntegrityError):
        execute(db, f"CREATE TABLE june PARTITION OF inbox FOR VALUES FROM ('{low}') TO ('{high}')")
    assert ensure(db, date(FAR, 5, 1), 1) == [f"inbox_{FAR}_05", f"inbox_{FAR}_06"]
    wanted = [f"inbox_{FAR}_05"] * 2 + [f"inbox_{FAR}_06"] * 2 + ["inbox_rest"] * 2
    assert places(db) == {**dict(zip(early, wanted, strict=True)), UUID(int=5): "inbox_rest"}
    assert fetch(db, "SELECT * FROM inbox ORDER BY event_id") == before
    assert claim(db, *early, UUID(int=5)) == frozenset(), "and nothing takes effect a second time"


def test_nothing_has_moved_when_the_transaction_fails(db: Database) -> None:
    early = id_of_month(FAR, 5)
    claim(db, early)

    def fail() -> None:
        with db.transaction() as session:
            assert partitions.ensure(session, partitions.INBOX, date(FAR, 5, 1), months_ahead=0) == [f"inbox_{FAR}_05"]
            session.execute(sa.text("SELECT 1 / 0"))

    with pytest.raises(sa.exc.DataError):
        fail()
    assert places(db) == {early: "inbox_rest"}


def test_partitions_look_all_the_same(db: Database) -> None:
    """One made by the job refuses duplicates and nothings like those of the first migration."""
    ensure(db, date(FAR, 1, 1))
    facts = [
        {
            (row.attname, row.attnotnull, row.default)
            for row in fetch(
                db,
                "SELECT attname, attnotnull, pg_get_expr(adbin, adrelid) AS default FROM pg_attribute"
                " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
                " WHERE attrelid = CAST(:name AS regclass) AND attnum > 0",
                name=name,
            )
        }
        for name in ("inbox", "inbox_rest", f"inbox_{FAR}_01")
    ]
    assert facts[0] == facts[1] == facts[2]
    keys = fetch(
        db, "SELECT 1 FROM pg_index WHERE indrelid = CAST(:n AS regclass) AND indisprimary", n=f"inbox_{FAR}_01"
    )
    assert len(keys) == 1


def test_events_are_claimed_while_their_month_is_made_and_none_twice(db: Database, other_db: Database) -> None:
    ids = [id_of_month(FAR, 8, 1 + number % 28) for number in range(400)]
    parts = [ids[number::20] for number in range(20)]

    def claim_all(database: Database) -> int:
        return sum(len(claim(database, *part)) for part in parts)

    results = together(
        lambda: claim_all(db),
        lambda: claim_all(other_db),
        lambda: ensure(db, date(FAR, 8, 1)),
        lambda: ensure(other_db, date(FAR, 7, 1), 2),
    )
    assert all(not isinstance(result, BaseException) for result in results), results
    assert [result for result in results if isinstance(result, int)] != []
    assert sum(result for result in results if isinstance(result, int)) == 400
    assert set(places(db).values()) == {f"inbox_{FAR}_08"}


MAKE = """
import sys
from datetime import date
from tests.integration.chassis.services import database
from xinhuo.chassis import partitions
db = database(sys.argv[1])
sys.stdin.readline()
with db.transaction() as session:
    print(len(partitions.ensure(session, partitions.INBOX, date(int(sys.argv[2]), 1, 1), months_ahead=11)))
db.close()
"""


def test_two_processes_at_once_make_each_partition_once(db: Database, desk_url: str) -> None:
    claim(db, *(id_of_month(FAR, month) for month in range(1, 13)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", MAKE, desk_url, str(FAR)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    made = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert sorted(made) == [0, 12]
    assert set(places(db).values()) == {f"inbox_{FAR}_{month:02}" for month in range(1, 13)}


def test_threads_at_once_make_each_partition_once(db: Database, other_db: Database) -> None:
    results = together(*(lambda each=each: ensure(each, date(FAR, 1, 1), 11) for each in (db, other_db) * 3))
    assert sorted(len(result) for result in results if isinstance(result, list)) == [0, 0, 0, 0, 0, 12], results


def test_the_daily_job_makes_the_months_to_come(db: Database, desk: object) -> None:
    name = fetch(db, "SELECT max(inhrelid::regclass::text) AS n FROM pg_inherits WHERE inhparent = 'inbox'::regclass"
                     " AND inhrelid::regclass::text <> 'inbox_rest'")[0].n  # fmt: skip
    execute(db, f"DROP TABLE {name}")
    with db.transaction() as session:
        desk.make_partitions(session)  # type: ignore[attr-defined]
    assert fetch(db, "SELECT to_regclass(:name) IS NOT NULL AS there", name=name)[0].there is True
