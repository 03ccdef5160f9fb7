"""Parked events, those on the steps of the failure ladder and those that the desk sends again: tried when due."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts import codec

from . import ladder, logs, metrics
from .db import Database, is_outage
from .ladder import Delivery, Handle

#: An event whose handling was begun so often and never ended takes its process down each time. The broker counts
#: the returns of messages; nobody else counts those of parked events.
STARTS_MAX = 10
#: As many retried events are handled in one transaction: their cause is mended, so that most of them go well.
BATCH = 50
#: A round ends after so long: jobs, gauges and a process that is to stop wait for it.
ROUND_SECONDS = 5.0

log = logs.get("parked")


def retry_parked(
    db: Database, handlers: Mapping[str, Handle], *, limit: int = 100, seconds: float = ROUND_SECONDS
) -> int:
    """Try parked events that are due again, each in its own transaction; return how many were tried.

    Those that the desk sends again come after the others, which a large retry is not to hold up.
    Raises DatabaseUnavailable when the database is away. Several processes may do this at once.
    """
    tried, deadline = 0, time.monotonic() + seconds
    with db.transaction() as session:
        if not session.execute(_ANY_DUE, {"handlers": list(handlers)}).scalar_one():
            return 0
    for work in (_retry_own, _retry_batch, _retry_one_of_desk):
        while tried < limit:
            count = work(db, handlers, min(BATCH, limit - tried))
            if count is None:
                break
            tried += count
            if time.monotonic() > deadline:
                break
    return tried


_DUE = "next_attempt_at <= statement_timestamp() AND handler = ANY(:handlers)"
#: Asked twice a second: of the own and of the retried ones, so that each half has its index.
_ANY_DUE = sa.text(
    f"SELECT EXISTS (SELECT FROM parked_events WHERE retry_of IS NULL AND {_DUE})"  # noqa: S608  (text from above)
    f" OR EXISTS (SELECT FROM parked_events WHERE retry_of IS NOT NULL AND {_DUE})"
)


def _start(whose: str, *, next_attempt: str, most: str = "1") -> sa.TextClause:
    """Return what takes the next events that are due; it is committed before they are handled."""
    # Materialized: a plan that ran this again for each row would take more of them than it may.
    return sa.text(
        "WITH due AS MATERIALIZED (SELECT event_id AS id, handler AS whose FROM parked_events"  # noqa: S608  (text from below)
        f" WHERE {_DUE} AND {whose}"
        f" ORDER BY next_attempt_at LIMIT {most} FOR UPDATE SKIP LOCKED)"
        f" UPDATE parked_events p SET starts = starts + 1, next_attempt_at = {next_attempt} FROM due"
        " WHERE p.event_id = due.id AND p.handler = due.whose RETURNING p.event_id, p.handler, p.starts"
    )


#: One that is tried alone is nobody else's for a while; if its process ends meanwhile, others get their turn first.
_LATER = "clock_timestamp() + (starts + 1) * interval '10 s'"
_START = _start("retry_of IS NULL", next_attempt=_LATER)
_START_RETRIED = _start("retry_of IS NOT NULL", next_attempt=_LATER)
#: Those of a batch that fails are tried alone at once.
_START_BATCH = _start("retry_of IS NOT NULL AND starts = 0", next_attempt="next_attempt_at", most=":most")


def _retry_own(db: Database, handlers: Mapping[str, Handle], _most: int) -> int | None:
    return _retry_one(db, handlers, _START)


def _retry_one_of_desk(db: Database, handlers: Mapping[str, Handle], _most: int) -> int | None:
    return _retry_one(db, handlers, _START_RETRIED)


def _retry_batch(db: Database, handlers: Mapping[str, Handle], most: int) -> int | None:
    """Handle retried events that were never begun together, by handler; None when none of them is due.

    When anything goes wrong nothing of it is left but the note that they were begun: each is then tried alone.
    """
    with db.transaction() as session:
        started = session.execute(_START_BATCH, {"handlers": list(handlers), "most": most}).all()
    if not started:
        return None
    done = 0
    for handler in {row.handler for row in started}:
        try:
            done += _handle_batch(db, handler, handlers[handler], [r.event_id for r in started if r.handler == handler])
        except Exception as error:  # each of them is tried alone, and what fails then goes on the ladder
            if is_outage(error):
                raise
            log.info("batch_split", handler=handler, events=len(started))
    return done


def _handle_batch(db: Database, handler: str, handle: Handle, ids: list[UUID]) -> int:
    with db.transaction() as session:
        rows = session.execute(
            sa.text(
                "SELECT event_id, body FROM parked_events WHERE handler = :handler AND event_id = ANY(:ids)"
                " ORDER BY next_attempt_at FOR UPDATE SKIP LOCKED"
            ),
            {"handler": handler, "ids": ids},
        ).all()
        deliveries = [Delivery(bytes(row.body), codec.decode(bytes(row.body))) for row in rows]
        if not deliveries:
            return 0
        with ladder.processing(handler, deliveries):
            ladder.handle_once(session, handler, handle, deliveries)
        session.execute(
            sa.text("DELETE FROM parked_events WHERE handler = :handler AND event_id = ANY(:ids)"),
            {"handler": handler, "ids": [row.event_id for row in rows]},
        )
    metrics.EVENTS_CONSUMED.labels(db.service, handler, "ok").inc(len(rows))
    return len(rows)


def _retry_one(db: Database, handlers: Mapping[str, Handle], start: sa.TextClause) -> int | None:
    """Try one event; None when none is due, 0 when another process was faster."""
    with db.transaction() as session:
        started = session.execute(start, {"handlers": list(handlers)}).one_or_none()
    if started is None:
        return None
    with db.transaction() as session:
        row = session.execute(
            sa.text(
                "SELECT event_id, handler, body, attempts, starts, retry_of FROM parked_events"
                # Not SKIP LOCKED: whoever looked for events at the same moment still holds, for an instant, those
                # that it found taken. If another process has begun it since, the number of starts differs.
                " WHERE event_id = :id AND handler = :handler AND starts = :starts FOR UPDATE"
            ),
            {"id": started.event_id, "handler": started.handler, "starts": started.starts},
        ).one_or_none()
        if row is None:
            return 0
        body = bytes(row.body)
        try:
            delivery = Delivery(body, codec.decode(body))
        except codec.Undecodable as error:  # else it would stand in the way of all others for ever
            _unpark(session, row.handler, row.event_id)
            ladder.insert_dead_letter(
                session, row.handler, body, error.code, error.why,
                event_id=row.event_id, attempts=row.attempts, retry_of=row.retry_of,
            )  # fmt: skip
            metrics.EVENTS_CONSUMED.labels(db.service, row.handler, "dead_lettered").inc()
            return 1
        if row.starts > STARTS_MAX:
            _unpark(session, row.handler, row.event_id)
            why = f"handling it was begun {STARTS_MAX} times and never ended"
            ladder.bury_delivery(
                session, row.handler, delivery, "event.delivery_limit", why, None, row.attempts, row.retry_of
            )
            metrics.EVENTS_CONSUMED.labels(db.service, row.handler, "dead_lettered").inc()
            return 1
        try:
            with ladder.processing(row.handler, [delivery]), session.begin_nested():
                ladder.handle_once(session, row.handler, handlers[row.handler], [delivery])
        except Exception as error:  # the next step of the ladder, below, is where it goes
            if is_outage(error):
                raise
            _step(session, db.service, row, delivery, error)
            return 1
        _unpark(session, row.handler, row.event_id)
        metrics.EVENTS_CONSUMED.labels(db.service, row.handler, "ok").inc()
    return 1


def _step(session: Session, service: str, row: Any, delivery: Delivery, error: Exception) -> None:
    attempts = row.attempts + 1
    if ladder.is_permanent(error) or attempts > len(ladder.PARK_FOR):
        _unpark(session, row.handler, row.event_id)
        ladder.bury(session, service, row.handler, delivery, error, attempts=attempts, retry_of=row.retry_of)
        return
    session.execute(
        sa.text(
            "UPDATE parked_events SET attempts = :attempts, starts = 0, reason = :reason, error = :error,"
            " next_attempt_at = clock_timestamp() + :wait WHERE handler = :handler AND event_id = :id"
        ),
        {
            "attempts": attempts,
            "wait": ladder.wait_of(error, attempts),
            "reason": ladder.reason_of(error),
            "error": ladder.describe(error),
            "handler": row.handler,
            "id": row.event_id,
        },
    )
    metrics.EVENTS_CONSUMED.labels(service, row.handler, "parked").inc()


def _unpark(session: Session, handler: str, event_id: UUID) -> None:
    session.execute(
        sa.text("DELETE FROM parked_events WHERE handler = :handler AND event_id = :id"),
        {"handler": handler, "id": event_id},
    )
