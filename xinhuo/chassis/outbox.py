"""The outbox: an event is written in the transaction that makes it true."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts import codec
from xinhuo.contracts.base import Event

from . import clock, metrics, trace
from .ids import new_ids
from .roundtrips import Statement, ask, at_commit
from .topology import events_exchange, routing_key

_PENDING = "xinhuo_recorded_events"
#: As many events are written before the commit: a hundred thousand of them at once would fill the memory.
_MANY = 1000
_REHEARSING = "xinhuo_rehearsing"
#: Has the first of a backlog read off an index in its order. By the statistics nothing waits, so that PostgreSQL would
#: rather read and sort the whole of it, each time again.
IN_ORDER = sa.text("SELECT set_config('enable_sort', 'off', :until_commit)")

_INSERT_AND_WAKE = sa.text(
    """
    WITH kept AS (
        INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, public, public_published_at)
        SELECT id, kind, subject, topic, payload, public, CASE WHEN replayed THEN clock_timestamp() END
        FROM unnest(
            CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:subjects AS text[]), CAST(:topics AS text[]),
            CAST(:payloads AS bytea[]), CAST(:publics AS boolean[]), CAST(:replayed AS boolean[]))
            AS new (id, kind, subject, topic, payload, public, replayed)
    )
    SELECT pg_notify('xinhuo_outbox_' || current_schema(), '')
    """
)


def record(session: Session, event: Event, *, caused_by: codec.Envelope | None = None, replayed: bool = False) -> UUID:
    """Note that something became true; the event goes out only, and certainly, when the session commits.

    ``replayed`` says that it came about once before, and only a replay brings it about again: our own services
    get it with that mark, departments do not get it. Returns the event's id (UUIDv7). Raises Undecodable when
    the event is larger than 64 KiB.
    """
    return record_all(session, [event], caused_by=caused_by, replayed=replayed)[0]


def record_all(
    session: Session,
    events: Iterable[Event],
    *,
    caused_by: codec.Envelope | None = None,
    replayed: bool = False,
    traces: Sequence[str | None] | None = None,
) -> list[UUID]:
    """Note everything that one piece of work made true, in order; the events share its time and span.

    ``replayed`` as in ``record``. ``traces`` are given where the work was several requests', one for each event.
    Returns the events' ids. Raises Undecodable when one of them is larger than 64 KiB.
    """
    made: list[tuple[codec.Envelope, bytes]] = []
    now = clock.now()
    correlationid = (caused_by.correlationid or str(caused_by.id)) if caused_by else None
    causationid = str(caused_by.id) if caused_by else None
    kept = list(events)
    ids = new_ids(len(kept))
    if traces is None:
        spans = [_span_of(kept, ids, caused_by.traceparent if caused_by else trace.current())] * len(kept)
    else:
        spans = [_span_of([one], [its], of) for one, its, of in zip(kept, ids, traces, strict=True)]
    for event_id, event, traceparent in zip(ids, kept, spans, strict=True):
        envelope = codec.Envelope(
            id=event_id,
            time=now,
            data=event,
            source=codec.source_of(event.publisher),
            subject=event.subject,
            traceparent=traceparent,
            correlationid=correlationid,
            causationid=causationid,
            replayed=replayed,
        )
        made.append((envelope, codec.encode(envelope)))
    if made and not session.info.get(_REHEARSING):
        _keep(session, made)
    return [envelope.id for envelope, _ in made]


def _span_of(events: Sequence[Event], ids: Sequence[UUID], traceparent: str | None) -> str:
    """Return the span in which events are created, in the given trace or a new one."""
    if not (trace.recorded() and events):
        return trace.child_of(traceparent)
    topic = events[0].topic
    facts: dict[str, str | int] = {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "create",
        "messaging.operation.name": "create",
        "messaging.destination.name": f"{events_exchange(events[0].publisher)}:{routing_key(topic)}",
        "messaging.rabbitmq.destination.routing_key": routing_key(topic),
        "cloudevents.event_type": topic,
    }
    if len(ids) == 1:
        facts["cloudevents.event_id"] = str(ids[0])
    else:
        facts["messaging.batch.message_count"] = len(ids)
    return trace.moment(trace.PRODUCER, f"create {topic}", facts, traceparent)


def _keep(session: Session, made: list[tuple[codec.Envelope, bytes]]) -> None:
    if session.in_nested_transaction():
        _write(session, made)  # these live and die with the savepoint, those before it do not
        return
    if not session.in_transaction():
        session.begin()  # what was not begun is not rolled back either, and the event would outlive it
    pending: list[tuple[codec.Envelope, bytes]] = session.info.setdefault(_PENDING, [])
    pending += made
    if len(pending) >= _MANY:
        write_pending(session)


@contextmanager
def rehearsal(session: Session) -> Iterator[None]:
    """Do the work of the block for its result only: what it writes is taken back, what it records is dropped.

    So a check can run the very code of the real thing. The locks that the block takes are given back at its end.
    """
    savepoint = session.begin_nested()
    session.info[_REHEARSING] = True
    try:
        yield
    finally:
        del session.info[_REHEARSING]
        savepoint.rollback()


def is_rehearsing(session: Session) -> bool:
    """Tell whether what is done now is done for its result only, and will be taken back."""
    return bool(session.info.get(_REHEARSING))


def write_pending(session: Session) -> None:
    """Write what was recorded so far now: many events would fill the memory until the commit."""
    if pending := session.info.pop(_PENDING, []):
        _write(session, pending)


def write_at_commit(session: Session) -> None:
    """Have what was recorded so far written with one statement by the commit that comes next, and the relay woken."""
    if pending := session.info.pop(_PENDING, []):
        at_commit(session, *_insert(pending))


def _write(session: Session, pending: Sequence[tuple[codec.Envelope, bytes]]) -> None:
    ask(session, _insert(pending))


def _insert(pending: Sequence[tuple[codec.Envelope, bytes]]) -> Statement:
    for topic, count in Counter(envelope.type for envelope, _ in pending).items():
        metrics.EVENTS_RECORDED.labels(topic).inc(count)
    return (
        _INSERT_AND_WAKE,
        {
            "ids": [envelope.id for envelope, _ in pending],
            "kinds": [envelope.data.publisher for envelope, _ in pending],
            "subjects": [envelope.subject or "" for envelope, _ in pending],
            "topics": [envelope.type for envelope, _ in pending],
            "payloads": [payload for _, payload in pending],
            "publics": [envelope.data.public for envelope, _ in pending],
            # Departments were told when it happened.
            "replayed": [envelope.replayed for envelope, _ in pending],
        },
    )


def forget_pending(session: Session) -> None:
    """Drop what was recorded in a transaction that was rolled back."""
    session.info.pop(_PENDING, None)
