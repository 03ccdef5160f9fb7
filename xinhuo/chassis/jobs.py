"""Timed work: each due period of a job is leased by one process, in the transaction that does the work."""

import time
from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from . import clock, logs, metrics
from .db import Database

log = logs.get("jobs")

_OPEN_PERIOD = sa.text(
    """
    INSERT INTO jobs (name, period_start)
    VALUES (:name, date_bin(CAST(:every AS interval), clock_timestamp(),
        TIMESTAMPTZ '2000-01-01 00:00Z' + CAST(:offset AS interval)))
    ON CONFLICT DO NOTHING
    """
)
_LEASE = sa.text(
    """
    SELECT period_start FROM jobs WHERE name = :name AND finished_at IS NULL
    AND period_start = (SELECT max(period_start) FROM jobs WHERE name = :name) FOR UPDATE SKIP LOCKED
    """
)
_FINISH = sa.text("UPDATE jobs SET finished_at = clock_timestamp() WHERE name = :name AND period_start = :period")
_FORGET = sa.text(
    """
    DELETE FROM jobs WHERE (name, period_start) IN (
        SELECT name, period_start FROM jobs WHERE name = :name AND period_start < :period FOR UPDATE SKIP LOCKED)
    """
)


def run_if_due(
    db: Database,
    name: str,
    every: timedelta,
    work: Callable[[Session], object],
    *,
    offset: timedelta = timedelta(0),
    when: Callable[[Session], bool] | None = None,
) -> bool:
    """Run a job when its current period is open and no other process has it; tell whether it ran.

    Opening the period is a transaction of its own; the lease is the row lock of the one that works, so it
    ends with the process that holds it. Raises what the work raises, after rolling back; the period stays
    open and is tried again. When ``when`` says that there is no work, the job has succeeded without a period.
    """
    if when is not None:
        with db.transaction() as session:
            if not when(session):
                _note_success(db, name)
                return False
    with db.transaction() as session:
        session.execute(_OPEN_PERIOD, {"name": name, "every": every, "offset": offset})
    started = time.monotonic()
    with db.transaction() as session:
        period = session.execute(_LEASE, {"name": name}).scalar_one_or_none()
        if period is None:
            return False
        work(session)
        session.execute(_FINISH, {"name": name, "period": period})
        session.execute(_FORGET, {"name": name, "period": period})
    _note_success(db, name)
    log.debug("job_done", job=name, seconds=round(time.monotonic() - started, 3))
    return True


def _note_success(db: Database, name: str) -> None:
    metrics.JOB_LAST_SUCCESS.labels(db.service, name).set(clock.now().timestamp())
