"""How far the events of a handler have come: what is parked, what is dead, what nobody handled."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts import codec

from .books import Announced
from .results import CAUSES, Difference


@dataclass(frozen=True)
class Failed:
    """An event that stands on the failure ladder: parked, or a dead letter with its id and state."""

    parked: bool
    letter: UUID | None = None
    reason: str = ""
    state: str = ""


def failed_by_subject(session: Session, handler: str) -> dict[str, Failed]:
    """Return the parked events and dead letters of a handler by the subject of each event."""
    found: dict[str, Failed] = {}
    letters = session.execute(
        sa.text("SELECT id, reason, state, body FROM dead_letters WHERE handler = :handler ORDER BY died_at, id"),
        {"handler": handler},
    )
    for letter, reason, state, body in letters:
        if subject := _subject(body):
            found[subject] = Failed(parked=False, letter=letter, reason=reason, state=state)
    parked = session.execute(sa.text("SELECT body FROM parked_events WHERE handler = :handler"), {"handler": handler})
    for (body,) in parked:
        if subject := _subject(body):
            found[subject] = Failed(parked=True)
    return found


def was_handled(session: Session, handler: str, event_id: UUID) -> bool:
    """Tell whether an event has had its effect by a handler."""
    return bool(
        session.scalar(
            sa.text("SELECT EXISTS (SELECT FROM inbox WHERE event_id = :id AND handler = :handler)"),
            {"id": event_id, "handler": handler},
        )
    )


def why_missing(
    session: Session, handler: str, failed: Failed | None, announced: Callable[[], Announced | None]
) -> tuple[str, str, str]:
    """Return cause, text about it and remedy for an entry that a handler should have made."""
    service = handler.partition(".")[0]
    if failed is not None and failed.letter is not None and failed.state != "retried":
        cause = "dropped" if failed.state == "dropped" else "dead_letter"
        return cause, f"{failed.reason}, {failed.letter}", f"xinhuo dead show {failed.letter} --service {service}"
    event = announced()
    if event is None:
        return "unannounced", "", "保留现场并联系开发者 / keep the databases as they are and call the developers"
    if was_handled(session, handler, event.event_id):
        return "handled", str(event.event_id), rebuild_of(service)
    # A second earlier: the option has whole seconds.
    since = (event.recorded_at - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    remedy = (
        f"先确认 {service} 的 worker 在运行且队列已空 / see that its worker runs and its queue is empty, then: "
        f"xinhuo events replay --service {service} --handler {handler.partition('.')[2]} --since {since}"
    )
    return "unhandled", str(event.event_id), remedy


def rebuild_of(service: str) -> str:
    """Return what to do when a service's derived tables are not what its events say."""
    if service == "volunteers":
        return "xinhuo rebuild statistics"
    return "找出是谁改了数据；必要时恢复备份 / find out who changed the data; restore a backup if need be"


def difference(kind: str, key: str, expected: str | None, found: str | None, why: tuple[str, str, str]) -> Difference:
    """Return a difference with its cause in both languages."""
    cause, detail, remedy = why
    zh, en = CAUSES[cause]
    return Difference(kind, key, expected, found, cause, f"{zh} / {en}" + (f"（{detail}）" if detail else ""), remedy)


def _subject(body: bytes) -> str | None:
    try:
        return codec.decode(bytes(body)).subject
    except codec.Undecodable:
        return None
