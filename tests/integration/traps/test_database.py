"""Rows 13 and 14 of the traps: row counts that say nothing, and timers that run on every replica."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tests.integration.traps.running import running
from tests.integration.traps.services import database
from tests.support.threads import at_once
from tests.support.waiting import wait_for
from xinhuo.chassis import inbox, jobs
from xinhuo.chassis.db import Database

HOUR = timedelta(hours=1)
THINGS = sa.Table("things", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))


@pytest.fixture
def session(tally_database: Database) -> Iterator[Session]:
    """A session that is rolled back."""
    with Session(tally_database.engine) as session:
        session.execute(sa.text("CREATE TEMP TABLE things (number integer PRIMARY KEY) ON COMMIT DROP"))
        yield session
        session.rollback()


def test_13_the_row_count_of_on_conflict_do_nothing_is_minus_one_whether_rows_went_in_or_not(session: Session) -> None:
    """Of Core's `insert()`, which adds RETURNING by itself; textual SQL without RETURNING does count."""
    statement = insert(THINGS).on_conflict_do_nothing()
    connection = session.connection()
    assert connection.execute(statement.values(number=1)).rowcount == -1
    assert connection.execute(statement.values(number=1)).rowcount == -1
    assert connection.execute(statement, [{"number": 1}, {"number": 2}]).rowcount == -1


def test_13_remedy_with_returning_the_rows_that_went_in_are_named(session: Session) -> None:
    statement = insert(THINGS).on_conflict_do_nothing().returning(THINGS.c.number)
    connection = session.connection()
    assert connection.execute(statement.values(number=1)).scalars().all() == [1]
    assert connection.execute(statement.values(number=1)).scalars().all() == []
    assert connection.execute(statement, [{"number": 1}, {"number": 2}]).scalars().all() == [2]


def test_13_remedy_the_inbox_tells_what_is_new_and_what_is_not(session: Session) -> None:
    first, second = uuid4(), uuid4()
    assert inbox.claim(session, "h", [(first, b"1")]).fresh == {first}
    assert inbox.claim(session, "h", [(first, b"1"), (second, b"2"), (second, b"2")]).fresh == {second}
    assert inbox.claim(session, "h", [(first, b"1"), (second, b"2")]).fresh == frozenset()
    assert inbox.claim(session, "h", [(first, b"another")]).conflicting == {(first, b"another")}


def test_14_the_timers_of_plain_nameko_run_on_every_replica(amqp_uri: str) -> None:
    with ExitStack() as stack:
        replicas = [stack.enter_context(running("plain", "Ticks", AMQP_URI=amqp_uri)) for _ in range(2)]
        for replica in replicas:
            replica.wait_until_said("tick")


def test_14_remedy_a_job_that_is_due_runs_on_one_of_many_replicas(
    empty_database: str, tally_database: Database
) -> None:
    replicas = [database(empty_database) for _ in range(6)]
    runs: list[int] = []
    results: list[bool] = []

    def replica(number: int) -> None:
        for _ in range(5):
            results.append(jobs.run_if_due(replicas[number], "many", 24 * HOUR, lambda _: runs.append(number)))

    at_once([lambda number=number: replica(number) for number in range(len(replicas))])
    for db in replicas:
        db.close()
    assert len(results) == 30
    assert results.count(True) == len(runs) == 1


def test_14_remedy_while_one_replica_works_the_others_pass_by_and_take_over_when_it_fails(
    empty_database: str, tally_database: Database
) -> None:
    other = database(empty_database)
    began, may_fail, ended = threading.Event(), threading.Event(), threading.Event()

    def fails(_: Session) -> None:
        began.set()
        may_fail.wait(10)
        raise RuntimeError("no")

    def run() -> None:
        with pytest.raises(RuntimeError):
            jobs.run_if_due(tally_database, "takeover", HOUR, fails)
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert began.wait(10)
    assert jobs.run_if_due(other, "takeover", HOUR, lambda _: None) is False
    may_fail.set()
    thread.join(10)
    assert ended.is_set()
    done: list[datetime] = []
    assert wait_for(
        lambda: jobs.run_if_due(other, "takeover", HOUR, lambda _: done.append(datetime.now(UTC))),
        what="the other replica to do it",
    )
    assert jobs.run_if_due(tally_database, "takeover", HOUR, lambda _: done.append(datetime.now(UTC))) is False
    assert len(done) == 1
    other.close()
