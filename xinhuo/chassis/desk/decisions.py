"""The desk for dead letters: sending them again, dropping them, and the record of who did so and why.

A retried event goes into ``parked_events`` of the handler it came from, with its own id and its very bytes.
From there every adapter's worker takes it through inbox and ladder: no broker is needed, and what had its
effect cannot have it again. Letter, queue and record change in one transaction; a letter is never removed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts import codec
from xinhuo.contracts.codec import Undecodable

from .. import audit, inbox, ladder, outbox, trace
from ..db import database_now, is_outage
from ..errors import all_codes
from ..ids import new_id
from ..ladder import Delivery, Handle
from ..markers import Subscription, marked
from ..topology import queue_name
from ..wire import FUTURE, TIME_IN_FUTURE
from .choice import Chosen, take

#: As many letters are decided about in one transaction; a body may have a MiB.
MOST_AT_ONCE = 200
#: As many events a second come from the desk to the handlers, unless it is told otherwise.
RATE = 50

QUEUED, UNDER_WAY, DONE_ALREADY, REFUSED, DROPPED = "queued", "under_way", "done_already", "refused", "dropped"
WOULD_TAKE_EFFECT, WOULD_FAIL, WOULD_DROP = "would_take_effect", "would_fail", "would_drop"
#: What can become of a letter at the desk: in Chinese and in English.
OUTCOMES = {
    QUEUED: ("已排队重发", "will be handled again shortly"),
    UNDER_WAY: ("已在重试队列中", "waits for another try already"),
    DONE_ALREADY: ("早已生效，无需重发", "had its effect already"),
    REFUSED: ("不能重发", "cannot be sent again"),
    DROPPED: ("已作废", "dropped"),
    WOULD_DROP: ("将作废", "would be dropped"),
    WOULD_TAKE_EFFECT: ("将会生效", "would take effect"),
    WOULD_FAIL: ("仍会失败", "would fail again"),
}
#: Why a letter cannot be sent again, beside what is wrong with its body (``ladder.REASONS``).
REFUSALS = {
    "event.handler_unknown": ("该服务已没有这个处理者", "The service has no such handler (any more)"),
    "event.not_subscribed": ("该处理者不接收这种事件", "The handler does not take events of this type"),
}


@dataclass(frozen=True)
class Decision:
    """Who decided, as a code, and why, in words of their own; both go into the record."""

    by: str
    why: str


@dataclass(frozen=True)
class Item:
    """What became, or would become, of one letter; ``code`` says why it was refused or would fail."""

    id: UUID
    handler: str
    event_id: UUID | None
    died_at: datetime
    outcome: str
    code: str | None = None


class _Refusal(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def reason_text(code: str) -> tuple[str, str]:
    """Return what a reason's code says, in Chinese and in English; the code itself for one not known here."""
    if code in ladder.REASONS or code in REFUSALS:
        return (ladder.REASONS | REFUSALS)[code]
    info = all_codes().get(code)
    return (info.title, info.title_en) if info else (code, code)


def topics_of(service_class: type[Any]) -> dict[str, frozenset[str]]:
    """Return, for each handler of a service by its permanent name, the types of events it takes."""
    return {
        queue_name(service_class.name, method): frozenset(event.topic for event in mark.events)
        for method, mark in marked(service_class, Subscription).items()
    }


def handlers_of(service: Any) -> dict[str, Handle]:
    """Return the handlers of a service by their permanent names."""
    return {
        queue_name(service.name, method): getattr(service, method) for method in marked(type(service), Subscription)
    }


def open_letter(body: bytes) -> list[Delivery]:
    """Return the events that a letter holds: one, or those of a whole batch. Raises Undecodable."""
    bodies = codec.split_batch(body) if body.lstrip()[:1] == b"[" else [body]
    if not bodies:
        raise Undecodable("event.undecodable", "a batch without events")
    return [Delivery(one, codec.decode(one)) for one in bodies]


def drop(session: Session, chosen: Chosen, decision: Decision, *, limit: int = MOST_AT_ONCE) -> list[Item]:
    """Close letters for good without sending them again. Raises DeadLetterNotFound, DeadLetterSettled."""
    letters = take(session, chosen, limit, lock=True)
    items = [Item(letter.id, letter.handler, letter.event_id, letter.died_at, DROPPED) for letter in letters]
    _settle(session, "dropped", items)
    _record(session, "drop", items, decision)
    return items


def would_drop(session: Session, chosen: Chosen, *, limit: int = MOST_AT_ONCE) -> list[Item]:
    """Say which letters a drop would close. Raises DeadLetterNotFound, DeadLetterSettled."""
    letters = take(session, chosen, limit, lock=False)
    return [Item(letter.id, letter.handler, letter.event_id, letter.died_at, WOULD_DROP) for letter in letters]


def retry(
    session: Session,
    topics: Mapping[str, frozenset[str]],
    chosen: Chosen,
    decision: Decision,
    *,
    rate: float = RATE,
    limit: int = MOST_AT_ONCE,
) -> list[Item]:
    """Queue the events of letters for their handlers, ``rate`` a second; return what became of each.

    A letter that cannot be read even now, or whose id belongs to another event, is refused and keeps waiting.
    Raises DeadLetterNotFound, DeadLetterSettled.
    """
    letters = take(session, chosen, limit, lock=True)
    # Whoever buries one of their events meanwhile waits for this, and then writes a letter of its own.
    held = sa.text("UPDATE dead_letters SET state = state WHERE id = ANY(:ids)")
    session.execute(held, {"ids": [letter.id for letter in letters]})
    now = database_now(session)
    opened: dict[UUID, list[Delivery]] = {}
    refused: dict[UUID, str] = {}
    for letter in letters:
        try:
            opened[letter.id] = _open(letter, topics, now)
        except _Refusal as refusal:
            refused[letter.id] = refusal.code
    by_id = {letter.id: letter for letter in letters}
    offers = [(by_id[one].handler, delivery) for one, events in opened.items() for delivery in events]
    done, parked = _known(session, "inbox", offers), _known(session, "parked_events", offers)
    wanted: list[tuple[Any, Delivery]] = []
    outcomes: dict[UUID, str] = {}
    for one, events in opened.items():
        keys = {(by_id[one].handler, event.offer[0]): event.offer[1] for event in events}
        if any(known.get(key, hashed) != hashed for known in (done, parked) for key, hashed in keys.items()):
            refused[one] = inbox.EventIdConflict.code
            continue
        undone = [event for event in events if (by_id[one].handler, event.offer[0]) not in done]
        fresh = [event for event in undone if (by_id[one].handler, event.offer[0]) not in parked]
        outcomes[one] = QUEUED if fresh else UNDER_WAY if undone else DONE_ALREADY
        wanted += [(by_id[one], event) for event in fresh]
        parked |= keys  # for the next letter: of two with one id and different bodies only the first goes on
    _queue(session, wanted, rate)
    items = [
        Item(
            letter.id,
            letter.handler,
            letter.event_id or _only_id(opened.get(letter.id)),
            letter.died_at,
            REFUSED if letter.id in refused else outcomes[letter.id],
            refused.get(letter.id),
        )
        for letter in letters
    ]
    _settle(session, "retried", [item for item in items if item.outcome != REFUSED])
    _record(session, "retry", items, decision)
    return items


def rehearse(
    session: Session,
    handlers: Mapping[str, Handle],
    topics: Mapping[str, frozenset[str]],
    chosen: Chosen,
    *,
    limit: int = MOST_AT_ONCE,
) -> list[Item]:
    """Say what a retry would do by doing it, one letter after the other; all of it is taken back at the end.

    So an event that needs an earlier one finds it, as it will when both are sent again.
    Raises DeadLetterNotFound, DeadLetterSettled, and an outage of the database as it comes.
    """
    letters = take(session, chosen, limit, lock=False)
    now = database_now(session)
    items = []
    with outbox.rehearsal(session):
        # Nobody waits long for somebody who only wants to know.
        session.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        for letter in letters:
            opened: list[Delivery] | None = None
            code = None
            try:
                opened = _open(letter, topics, now)
                parked = _known(session, "parked_events", [(letter.handler, event) for event in opened])
                outcome = (
                    UNDER_WAY if parked else _rehearse_one(session, letter.handler, handlers[letter.handler], opened)
                )
            except (_Refusal, inbox.EventIdConflict) as refusal:
                outcome, code = REFUSED, refusal.code
            except Exception as error:  # what the handler raises is the answer
                if is_outage(error):
                    raise
                outcome, code = WOULD_FAIL, ladder.reason_of(error)
            items.append(
                Item(letter.id, letter.handler, letter.event_id or _only_id(opened), letter.died_at, outcome, code)
            )
    return items


def _rehearse_one(session: Session, handler: str, handle: Handle, events: Sequence[Delivery]) -> str:
    with trace.traced(events[0].envelope.traceparent), session.begin_nested():
        fresh = ladder.handle_once(session, handler, handle, events)
    return WOULD_TAKE_EFFECT if fresh else DONE_ALREADY


def _open(letter: Any, topics: Mapping[str, frozenset[str]], now: datetime) -> list[Delivery]:
    if letter.handler not in topics:
        raise _Refusal("event.handler_unknown")
    if letter.reason == inbox.EventIdConflict.code:  # whatever the inbox has forgotten since, the id was another's
        raise _Refusal(letter.reason)
    try:
        events = open_letter(bytes(letter.body))
    except Undecodable as error:  # the program may be a newer one than when it died; this one cannot either
        raise _Refusal(error.code) from error
    if any(event.envelope.type not in topics[letter.handler] for event in events):
        raise _Refusal("event.not_subscribed")
    if any(event.envelope.time > now + FUTURE for event in events):
        raise _Refusal(TIME_IN_FUTURE)
    return events


def _only_id(events: Sequence[Delivery] | None) -> UUID | None:
    return events[0].envelope.id if events and len(events) == 1 else None


def _known(session: Session, table: str, offers: Sequence[tuple[str, Delivery]]) -> dict[tuple[str, UUID], bytes]:
    """Return the body's hash of those offers that the inbox, or the parked events, have already."""
    if not offers:
        return {}
    kept = "body_hash" if table == "inbox" else "body"
    rows = session.execute(
        sa.text(
            f"SELECT t.handler, t.event_id, t.{kept} AS kept FROM {table} t"  # noqa: S608  (names from this module)
            " JOIN unnest(CAST(:handlers AS text[]), CAST(:ids AS uuid[])) AS o (handler, event_id)"
            " ON t.handler = o.handler AND t.event_id = o.event_id"
        ),
        {"handlers": [handler for handler, _ in offers], "ids": [event.envelope.id for _, event in offers]},
    )
    found = {(row.handler, row.event_id): bytes(row.kept) for row in rows}
    return found if table == "inbox" else {key: inbox.body_hash(body) for key, body in found.items()}


_QUEUE = sa.text(
    """
    WITH start AS MATERIALIZED (
        SELECT greatest(clock_timestamp(), max(next_attempt_at) + CAST(:apart AS interval)) AS at
        FROM parked_events WHERE retry_of IS NOT NULL AND attempts = 0
    )
    INSERT INTO parked_events (event_id, handler, body, attempts, next_attempt_at, reason, error, retry_of)
    SELECT n.event_id, n.handler, n.body, 0, start.at + (n.place - 1) * CAST(:apart AS interval),
        n.reason, n.error, n.letter
    FROM start, unnest(CAST(:ids AS uuid[]), CAST(:handlers AS text[]), CAST(:bodies AS bytea[]),
        CAST(:reasons AS text[]), CAST(:errors AS text[]), CAST(:letters AS uuid[]))
        WITH ORDINALITY AS n (event_id, handler, body, reason, error, letter, place)
    ORDER BY n.event_id, n.handler
    ON CONFLICT DO NOTHING
    """
)


def _queue(session: Session, wanted: Sequence[tuple[Any, Delivery]], rate: float) -> None:
    """Park the events one behind the other, and behind those of an earlier retry; one parked meanwhile stays."""
    if not wanted:
        return
    session.execute(
        _QUEUE,
        {
            "apart": timedelta(seconds=1 / rate),
            "ids": [event.envelope.id for _, event in wanted],
            "handlers": [letter.handler for letter, _ in wanted],
            "bodies": [event.body for _, event in wanted],
            "reasons": [letter.reason for letter, _ in wanted],
            "errors": [letter.error for letter, _ in wanted],
            "letters": [letter.id for letter, _ in wanted],
        },
    )


def _settle(session: Session, state: str, items: Sequence[Item]) -> None:
    session.execute(
        sa.text("UPDATE dead_letters SET state = :state WHERE id = ANY(:ids)"),
        {"state": state, "ids": [item.id for item in items]},
    )


def _record(session: Session, action: str, items: Sequence[Item], decision: Decision) -> None:
    session.execute(
        sa.text(
            "INSERT INTO dead_letter_actions (id, dead_letter_id, action, outcome, by, why)"
            " SELECT id, letter, :action, outcome, :by, :why"
            " FROM unnest(CAST(:ids AS uuid[]), CAST(:letters AS uuid[]), CAST(:outcomes AS text[]))"
            " AS new (id, letter, outcome)"
        ),
        {
            "action": action,
            "by": decision.by,
            "why": decision.why,
            "ids": [new_id() for _ in items],
            "letters": [item.id for item in items],
            "outcomes": [f"{item.outcome} {item.code}" if item.code else item.outcome for item in items],
        },
    )
    for item in items:
        audit.record(session, f"dead_letter.{action}", "dead_letter", item.id, reason=decision.why)
