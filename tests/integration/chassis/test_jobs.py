"""A job is done once in each of its periods, by one process, and forgotten when the next period is done."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from tests.integration.chassis.services import Desk, execute, fetch, words, write
from tests.support.threads import together
from xinhuo.chassis import jobs, metrics
from xinhuo.chassis.db import Database
from xinhuo.chassis.worker import Worker

HOUR = timedelta(hours=1)


def periods(db: Database, name: str = "job") -> list[tuple[bool, bool]]:
    """Return, oldest first, whether each period is the current one and whether it is done."""
    rows = fetch(
        db,
        "SELECT period_start = date_bin('1 hour', now(), TIMESTAMPTZ '2000-01-01') AS current,"
        " finished_at IS NOT NULL AS done FROM jobs WHERE name = :name ORDER BY period_start",
        name=name,
    )
    return [tuple(row) for row in rows]  # type: ignore[misc]


def an_hour_passes(db: Database) -> None:
    execute(db, "UPDATE jobs SET period_start = period_start - interval '1 hour'")


def note(session: Session) -> None:
    write(session, "done")


def test_it_runs_once_in_a_period_however_many_ask(db: Database, other_db: Database) -> None:
    for hour in range(1, 4):
        results = together(*(lambda each=each: jobs.run_if_due(each, "job", HOUR, note) for each in (db, other_db) * 4))
        assert sorted(results, key=bool) == [False] * 7 + [True], results
        assert len(words(db)) == hour
        an_hour_passes(db)


def test_while_there_is_no_work_it_writes_nothing_and_has_succeeded(db: Database) -> None:
    since = metrics.JOB_LAST_SUCCESS.labels(db.service, "job")
    since.set(0)
    assert jobs.run_if_due(db, "job", HOUR, note, when=lambda _: False) is False
    assert (periods(db), words(db)) == ([], [])
    assert since._value.get() > 0
    assert jobs.run_if_due(db, "job", HOUR, note, when=lambda _: True) is True
    assert len(words(db)) == 1


def test_jobs_do_not_wait_for_each_other(db: Database) -> None:
    def other(session: Session) -> None:
        assert jobs.run_if_due(db, "other", HOUR, note) is True

    assert jobs.run_if_due(db, "job", HOUR, other) is True
    assert (periods(db), periods(db, "other")) == ([(True, True)], [(True, True)])


def test_periods_begin_at_round_times_so_that_all_processes_mean_the_same(db: Database) -> None:
    jobs.run_if_due(db, "job", timedelta(minutes=15), note)
    (row,) = fetch(
        db,
        "SELECT extract(minute FROM period_start)::int % 15 AS minute, extract(second FROM period_start) AS second,"
        " period_start <= now() AND now() - period_start < interval '16 min' AS now FROM jobs",
    )
    assert (row.minute, float(row.second), row.now) == (0, 0.0, True)


def test_the_lease_ends_with_the_transaction_and_the_work_is_tried_again(db: Database, other_db: Database) -> None:
    def fails(session: Session) -> None:
        write(session, "half")
        assert jobs.run_if_due(other_db, "job", HOUR, note) is False, "leased"
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  (the very one raised above)
        jobs.run_if_due(db, "job", HOUR, fails)
    assert (words(db), periods(db)) == ([], [(True, False)])
    assert jobs.run_if_due(other_db, "job", HOUR, note) is True
    assert (words(db), periods(db)) == (["done"], [(True, True)])
    assert jobs.run_if_due(db, "job", HOUR, note) is False


def test_the_lease_of_a_process_that_dies_ends_with_its_connection(db: Database, other_db: Database) -> None:
    def dies(session: Session) -> None:
        write(session, "half")
        pid = session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        execute(other_db, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
        write(session, "never")

    with pytest.raises(Exception, match=r"database\.unavailable"):
        jobs.run_if_due(db, "job", HOUR, dies)
    assert jobs.run_if_due(other_db, "job", HOUR, note) is True
    assert words(db) == ["done"]


def test_old_periods_are_forgotten(db: Database) -> None:
    for _ in range(5):
        assert jobs.run_if_due(db, "job", HOUR, note) is True
        an_hour_passes(db)
    assert jobs.run_if_due(db, "job", HOUR, note) is True
    assert periods(db) == [(True, True)]
    assert len(words(db)) == 6


def test_a_period_that_passed_while_all_were_down_is_not_made_up_for(db: Database) -> None:
    jobs.run_if_due(db, "job", HOUR, note)
    for _ in range(10):
        an_hour_passes(db)
    assert [jobs.run_if_due(db, "job", HOUR, note) for _ in range(3)] == [True, False, False]


def test_one_that_still_runs_from_the_last_period_does_not_hold_up_the_next(db: Database, other_db: Database) -> None:
    began, may_end = threading.Event(), threading.Event()

    def long(session: Session) -> None:
        began.set()
        may_end.wait(10)

    def second() -> tuple[bool, bool]:
        began.wait(10)
        # The row of the running one is locked: the next period comes as it comes with time, as a row of its own.
        execute(
            other_db, "INSERT INTO jobs (name, period_start) SELECT name, period_start + interval '1 hour' FROM jobs"
        )
        try:
            return jobs.run_if_due(other_db, "job", HOUR, note), jobs.run_if_due(other_db, "job", HOUR, note)
        finally:
            may_end.set()

    first_result, second_result = together(lambda: jobs.run_if_due(db, "job", HOUR, long), second)
    assert (first_result, second_result) == (True, (True, False))
    assert words(db) == ["done"]
    assert jobs.run_if_due(db, "job", HOUR, note) is False


def test_a_period_that_failed_is_not_done_beside_the_next_one(db: Database, other_db: Database) -> None:
    def fails(session: Session) -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  (the very one raised above)
        jobs.run_if_due(db, "job", HOUR, fails)
    an_hour_passes(db)
    assert periods(db) == [(False, False)]

    def works(session: Session) -> None:
        write(session, "done")
        assert jobs.run_if_due(other_db, "job", HOUR, note) is False, "one at a time"

    assert jobs.run_if_due(db, "job", HOUR, works) is True
    assert jobs.run_if_due(other_db, "job", HOUR, note) is False
    assert (words(db), periods(db)) == (["done"], [(True, True)])


def test_a_worker_does_its_services_jobs_and_goes_on_when_one_fails(
    desk: Desk, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(session: Session) -> None:
        raise ValueError

    monkeypatch.setattr(desk, "remove_what_is_due", fails)
    worker = Worker(desk)
    stop = threading.Event()
    thread = threading.Thread(target=worker.housekeep, args=(stop,), daemon=True)
    thread.start()
    from tests.support.waiting import wait_for

    done = "SELECT name FROM jobs WHERE finished_at IS NOT NULL ORDER BY name"
    others = ["drop_old_partitions", "make_partitions"]
    wait_for(lambda: [row.name for row in fetch(db, done)] == others, what="the other jobs")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert [row.name for row in fetch(db, "SELECT name FROM jobs WHERE finished_at IS NULL")] == ["remove_what_is_due"]
