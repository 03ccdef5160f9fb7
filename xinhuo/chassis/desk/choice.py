"""Which letters are meant: those named by id, or the waiting ones that a filter finds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ..errors import Conflict, NotFound


class DeadLetterNotFound(NotFound):
    """There is no such dead letter"""

    code = "dead_letter.not_found"
    title = "没有这封死信"

    def __init__(self, ids: Iterable[UUID]) -> None:
        missing = [str(one) for one in ids]
        super().__init__(
            f"没有编号为 {'、'.join(missing)} 的死信。",
            f"There is no dead letter with the id {', '.join(missing)}.",
            extra={"ids": missing},
        )


class DeadLetterSettled(Conflict):
    """The dead letter was retried or dropped before"""

    code = "dead_letter.settled"
    title = "死信已处理过"

    def __init__(self, states: Mapping[UUID, str]) -> None:
        found = {str(one): state for one, state in states.items()}
        zh = {"retried": "已重发", "dropped": "已作废"}
        super().__init__(
            f"{'；'.join(f'{one} {zh[state]}' for one, state in found.items())}，不能再次处理；"
            "与其一同提交的也没有改动。",
            f"Settled before: {', '.join(f'{one} was {state}' for one, state in found.items())}; "
            "none of those named together with it was changed.",
            extra={"ids": list(found), "states": list(found.values())},
        )


@dataclass(frozen=True)
class Chosen:
    """Which letters are meant: those named, or the waiting ones that a filter finds, the oldest first."""

    ids: tuple[UUID, ...] = ()
    handler: str | None = None
    reason: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Letters that died later are not meant: those of a retry that failed at once would be retried for ever."""
    after: tuple[datetime, UUID] | None = None
    """The letter, by its death and id, that the last portion ended with: refused ones go on waiting."""


def count(session: Session, chosen: Chosen) -> int:
    """Return how many waiting letters a filter finds, or, of those named, how many wait."""
    where, values = conditions(chosen)
    found = session.scalar(sa.text(f"SELECT count(*) FROM dead_letters WHERE state = 'waiting'{where}"), values)  # noqa: S608  (conditions are of this module)
    return int(found or 0)


def conditions(chosen: Chosen) -> tuple[str, dict[str, Any]]:
    """Return the SQL conditions of a choice and their values."""
    tests = {
        "handler": "handler = :handler",
        "reason": "reason = :reason",
        "type": "type = :type",
        "since": "died_at >= :since",
        "until": "died_at <= :until",
    }
    values = {name: getattr(chosen, name) for name in tests if getattr(chosen, name) is not None}
    where = [tests[name] for name in values]
    if chosen.ids:
        where.append("id = ANY(:ids)")
        values["ids"] = list(chosen.ids)
    if chosen.after:
        where.append("(died_at, id) > (:after_at, :after_id)")
        values["after_at"], values["after_id"] = chosen.after
    return "".join(f" AND {test}" for test in where), values


def take(session: Session, chosen: Chosen, limit: int, *, lock: bool) -> Sequence[Any]:
    """Return the letters; raises DeadLetterNotFound or DeadLetterSettled for one that was named.

    A second person who names the same letter waits for the first, then is told that it is settled; whoever
    only filters passes by what somebody else is at.
    """
    where, values = conditions(chosen)
    state = "" if chosen.ids else " AND state = 'waiting'"
    locking = "" if not lock else " FOR UPDATE" if chosen.ids else " FOR UPDATE SKIP LOCKED"
    rows = session.execute(
        sa.text(
            "SELECT id, handler, event_id, state, reason, error, body, died_at FROM dead_letters"  # noqa: S608  (see count)
            f" WHERE true{state}{where} ORDER BY died_at, id LIMIT :limit{locking}"
        ),
        {**values, "limit": len(chosen.ids) or limit},
    ).all()
    if missing := set(chosen.ids) - {row.id for row in rows}:
        raise DeadLetterNotFound(sorted(missing))
    if settled := {row.id: row.state for row in rows if row.state != "waiting"}:
        raise DeadLetterSettled(settled)
    return rows
