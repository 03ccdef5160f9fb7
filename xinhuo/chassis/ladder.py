"""The one failure ladder, in SQL, for every broker: retry, split, park, dead letter; never silence.

A failing batch is run again when the database says so (deadlock, serialization), else split until the
bad event stands alone. That event is parked for 10 s, 1 min and 10 min, then it is a dead letter.
An outage of the database is no attempt: it surfaces as DatabaseUnavailable and the caller waits.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from xinhuo.contracts import codec
from xinhuo.contracts.codec import Envelope

from . import clock, faultpoints, inbox, logs, metrics, trace
from .db import Database, DatabaseUnavailable, is_outage, is_transient
from .errors import PermanentEventError, RetryEventLater
from .ids import new_id

PARK_FOR = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=10))
TRANSIENT_TRIES = 3
Handle = Callable[[Session, list[Envelope]], object]

#: Why an event is parked or a dead letter, by stable code: in Chinese and in English. A service's own
#: PermanentEventErrors come on top of these.
REASONS = {
    **codec.CODES,
    "event.headers_invalid": ("消息属性或消息头有误", "A property or header of the message is missing or malformed"),
    "event.routing_key_mismatch": (
        "路由键、消息属性与事件的类型不一致",
        "Routing key, message and event name different types",
    ),
    "event.time_in_future": ("事件时间晚于现在五分钟以上", "The event's time is more than five minutes ahead"),
    "event.delivery_limit": ("投递次数超过上限", "The event came back more often than the delivery limit allows"),
    "event.rejected": ("消息队列拒收", "The broker dead-lettered the message for a reason of its own"),
    "event.too_early": ("等待在先的事件，多次重试仍未到", "The event waits for an earlier one that did not come"),
    "event.data_refused": ("数据库无法保存其中的值", "It holds a value that the database cannot keep"),
    "handler.failed": ("处理时出错，多次重试仍失败", "The handler failed again and again"),
}

#: What a constraint would refuse at the commit is to be this event's failure, and no end of the whole attempt.
CHECK_NOW = sa.text("SET CONSTRAINTS ALL IMMEDIATE")

log = logs.get("ladder")


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One event as it came: its exact bytes and what they say."""

    body: bytes
    envelope: Envelope

    @property
    def offer(self) -> tuple[UUID, bytes]:
        """The id and the hash under which the inbox knows this delivery."""
        return self.envelope.id, inbox.body_hash(self.body)


def take(db: Database, handler: str, handle: Handle, deliveries: Sequence[Delivery]) -> None:
    """Give every delivery its effect once, or its place in parked_events or dead_letters.

    After the return all of them may be acknowledged. Raises DatabaseUnavailable when the database is away;
    the same call is then simply made again, since what had its effect already is known to the inbox.
    """
    waiting = [list(deliveries)] if deliveries else []
    while waiting:
        batch = waiting.pop()
        error = _attempt(db, handler, handle, batch)
        if error is None:
            continue
        if len(batch) > 1:
            middle = len(batch) // 2
            waiting += [batch[middle:], batch[:middle]]
        else:
            _park_or_bury(db, handler, batch[0], error)


def _attempt(db: Database, handler: str, handle: Handle, batch: list[Delivery]) -> Exception | None:
    for number in range(1, TRANSIENT_TRIES + 1):
        try:
            _run(db, handler, handle, batch)
        except Exception as error:  # every failure is put on the ladder by the caller, none is dropped
            if is_outage(error):
                raise DatabaseUnavailable() from error
            if is_transient(error) and number < TRANSIENT_TRIES:
                metrics.EVENTS_CONSUMED.labels(db.service, handler, "retried").inc(len(batch))
                continue
            return error
        return None
    raise AssertionError("the last try returns or raises")


def _run(db: Database, handler: str, handle: Handle, batch: list[Delivery]) -> None:
    started = time.perf_counter()
    with processing(handler, batch), db.transaction() as session:
        offers = [delivery.offer for delivery in batch]
        claim = inbox.claim(session, handler, offers)
        fresh: dict[UUID, Envelope] = {}
        for delivery, offer in zip(batch, offers, strict=True):
            if claim.conflicting and offer in claim.conflicting:
                conflict = inbox.EventIdConflict("the id belongs to another body")
                bury_delivery(session, handler, delivery, conflict.code, conflict.reason, None, 0)
            elif delivery.envelope.id in claim.fresh:
                fresh.setdefault(delivery.envelope.id, delivery.envelope)
        if fresh:
            handle(session, list(fresh.values()))
            faultpoints.reach("before_commit")
    now = clock.now()
    ages = metrics.EVENT_AGE.labels(db.service, handler)
    for envelope in fresh.values():
        if envelope.replayed:  # its age says when it was replayed, not how long anybody waited
            continue
        ages.observe(max(0.0, (now - envelope.time).total_seconds()))
    consumed = metrics.EVENTS_CONSUMED
    consumed.labels(db.service, handler, "ok").inc(len(fresh))
    if others := len(batch) - len(fresh) - len(claim.conflicting):
        consumed.labels(db.service, handler, "duplicate").inc(others)
    if claim.conflicting:
        consumed.labels(db.service, handler, "dead_lettered").inc(len(claim.conflicting))
        log.error("event_id_conflict", handler=handler, events=len(claim.conflicting))
    metrics.HANDLING_SECONDS.labels(db.service, handler).observe(time.perf_counter() - started)


def processing(handler: str, batch: Sequence[Delivery]) -> AbstractContextManager[str]:
    """Do the work inside as that of a handler with these events, in their traces."""
    return trace.about(
        [delivery.envelope.traceparent for delivery in batch] if trace.recorded() else [batch[0].envelope.traceparent],
        trace.CONSUMER,
        f"process {handler}",
        lambda: _facts(handler, batch),
    )


def _facts(handler: str, batch: Sequence[Delivery]) -> trace.Facts:
    facts: dict[str, str | int] = {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": handler,
    }
    if len(batch) > 1:
        return {**facts, "messaging.batch.message_count": len(batch)}
    envelope = batch[0].envelope
    return {**facts, "cloudevents.event_id": str(envelope.id), "cloudevents.event_type": envelope.type}


def handle_once(session: Session, handler: str, handle: Handle, deliveries: Sequence[Delivery]) -> bool:
    """Handle those that had no effect yet; return whether there were any.

    Whatever is wrong with it shows before it is committed. Raises EventIdConflict when an id belongs to another body,
    and what the handler raises.
    """
    claim = inbox.claim(session, handler, [delivery.offer for delivery in deliveries])
    if claim.conflicting:
        raise inbox.EventIdConflict("an id belongs to another body")
    fresh = {one.envelope.id: one.envelope for one in deliveries if one.envelope.id in claim.fresh}
    if fresh:
        handle(session, list(fresh.values()))
        session.flush()
        session.execute(CHECK_NOW)
    return bool(fresh)


def _park_or_bury(db: Database, handler: str, delivery: Delivery, error: Exception) -> None:
    with db.transaction() as session:
        if is_permanent(error):
            bury(session, db.service, handler, delivery, error, attempts=1)
            return
        _park(session, db.service, handler, delivery, error)


def _park(session: Session, service: str, handler: str, delivery: Delivery, error: Exception) -> None:
    session.execute(
        sa.text(
            "INSERT INTO parked_events (event_id, handler, body, attempts, next_attempt_at, reason, error)"
            " VALUES (:id, :handler, :body, 1, clock_timestamp() + :wait, :reason, :error)"
            " ON CONFLICT DO NOTHING"
        ),
        {
            "id": delivery.envelope.id,
            "handler": handler,
            "body": delivery.body,
            "wait": wait_of(error, 1),
            "reason": reason_of(error),
            "error": describe(error),
        },
    )
    metrics.EVENTS_CONSUMED.labels(service, handler, "parked").inc()
    log.warning(
        "event_parked", handler=handler, event_id=str(delivery.envelope.id), reason=reason_of(error), attempts=1
    )


def bury(
    session: Session,
    service: str,
    handler: str,
    delivery: Delivery,
    error: Exception,
    *,
    attempts: int,
    retry_of: UUID | None = None,
) -> None:
    """Make a dead letter of an event that failed, naming the one that it was retried from."""
    stack = "".join(traceback.format_tb(error.__traceback__))[-8000:]
    bury_delivery(session, handler, delivery, reason_of(error), describe(error), stack, attempts, retry_of)
    metrics.EVENTS_CONSUMED.labels(service, handler, "dead_lettered").inc()
    log.error(
        "event_dead_lettered",
        handler=handler,
        event_id=str(delivery.envelope.id),
        reason=reason_of(error),
        attempts=attempts,
        remedy=f"look with 'xinhuo dead list --service {service}', mend the cause, then 'xinhuo dead retry'",
    )


def bury_delivery(
    session: Session,
    handler: str,
    delivery: Delivery,
    reason: str,
    error: str,
    stack: str | None,
    attempts: int,
    retry_of: UUID | None = None,
) -> None:
    """Make a dead letter of an event, under a reason's code."""
    envelope = delivery.envelope
    insert_dead_letter(
        session, handler, delivery.body, reason, error,
        event_id=envelope.id, event_type=envelope.type, stack=stack, attempts=attempts, retry_of=retry_of,
    )  # fmt: skip


def bury_message(db: Database, handler: str, body: bytes, reason: str, why: str) -> None:
    """Keep a message that cannot be read, or that came back too often, in the dead-letter table."""
    with db.transaction() as session:
        insert_dead_letter(session, handler, body, reason, why)
    metrics.EVENTS_CONSUMED.labels(db.service, handler, "dead_lettered").inc()
    log.error(
        "message_dead_lettered",
        handler=handler,
        reason=reason,
        size=len(body),
        sha256=inbox.body_hash(body).hex(),
    )


def bury_undone(db: Database, handler: str, deliveries: Sequence[Delivery], reason: str, why: str) -> None:
    """Make dead letters of the events that are neither in the handler's inbox nor parked for it."""
    with db.transaction() as session:
        settled = set(
            session.execute(
                sa.text(
                    "SELECT event_id FROM inbox WHERE handler = :handler AND event_id = ANY(:ids)"
                    " UNION SELECT event_id FROM parked_events WHERE handler = :handler AND event_id = ANY(:ids)"
                ),
                {"handler": handler, "ids": [delivery.envelope.id for delivery in deliveries]},
            ).scalars()
        )
        undone = [delivery for delivery in deliveries if delivery.envelope.id not in settled]
        for delivery in undone:
            bury_delivery(session, handler, delivery, reason, why, None, 0)
    metrics.EVENTS_CONSUMED.labels(db.service, handler, "dead_lettered").inc(len(undone))
    log.error("events_dead_lettered", handler=handler, reason=reason, events=len(undone), of=len(deliveries))


def insert_dead_letter(
    session: Session,
    handler: str,
    body: bytes,
    reason: str,
    error: str,
    *,
    event_id: UUID | None = None,
    event_type: str | None = None,
    stack: str | None = None,
    attempts: int = 0,
    retry_of: UUID | None = None,
) -> None:
    """Write one dead letter; the same body with the same reason waits once only."""
    session.execute(
        sa.text(
            "INSERT INTO dead_letters (id, handler, event_id, type, reason, error, stack, body_hash, body, attempts,"
            " retry_of) VALUES (:id, :handler, :event_id, :type, :reason, :error, :stack, :hash, :body, :attempts,"
            " :retry_of)"
            " ON CONFLICT DO NOTHING"
        ),
        {
            "id": new_id(),
            "handler": handler,
            "event_id": event_id,
            "type": event_type,
            "reason": reason,
            "error": error,
            "stack": stack,
            "hash": inbox.body_hash(body),
            "body": body,
            "attempts": attempts,
            "retry_of": retry_of,
        },
    )


def is_permanent(error: Exception) -> bool:
    """Tell whether trying again cannot help: the event itself is wrong, or holds what no column takes."""
    return isinstance(error, PermanentEventError | DataError)


def wait_of(error: Exception, attempts: int) -> timedelta:
    """Return how long an event waits after so many attempts, or as long as its handler asked for."""
    if isinstance(error, RetryEventLater) and error.delay_seconds is not None:
        return timedelta(seconds=error.delay_seconds)
    return PARK_FOR[attempts - 1]


def reason_of(error: Exception) -> str:
    """Return the stable code under which a failure is parked or buried."""
    if isinstance(error, PermanentEventError):
        return error.code
    if isinstance(error, DataError):
        return "event.data_refused"
    return "event.too_early" if isinstance(error, RetryEventLater) else "handler.failed"


def describe(error: Exception) -> str:
    """Name the error without its text: libraries put values, and so perhaps persons, into theirs."""
    if isinstance(error, PermanentEventError | RetryEventLater):
        return str(error)
    return type(error).__qualname__
