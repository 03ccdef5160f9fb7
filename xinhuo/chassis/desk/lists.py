"""What the desk for dead letters shows: groups, single letters, and one letter with all that happened to it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.contracts.codec import Undecodable

from ..db import rows
from ..ladder import Delivery
from .choice import Chosen, DeadLetterNotFound, conditions
from .decisions import open_letter, reason_text

#: What a letter may be; ``all`` of them only in filters.
STATES = ("waiting", "retried", "dropped")
_COLUMNS = (
    "id, handler, event_id, type, reason, error, state, attempts, died_at, retry_of,"
    " octet_length(body) AS size, encode(body_hash, 'hex') AS sha256"
)
#: Codes, ids, dates and numbers look like this; contracts allow nothing else, but who forged an event does.
_CODE_LIKE = re.compile(r"[A-Za-z0-9_.:+/-]{1,64}")


def groups(session: Session, chosen: Chosen) -> list[dict[str, Any]]:
    """Return the waiting letters by handler and reason: how many, the oldest and the newest."""
    where, values = conditions(chosen)
    found = session.execute(
        sa.text(
            "SELECT handler, reason, count(*) AS waiting, min(died_at) AS oldest_at, max(died_at) AS newest_at"  # noqa: S608  (conditions are the desk's own)
            f" FROM dead_letters WHERE state = 'waiting'{where} GROUP BY handler, reason ORDER BY handler, reason"
        ),
        values,
    )
    return [_with_text(row) for row in rows(found)]


def letters(
    session: Session,
    chosen: Chosen,
    *,
    state: str = "waiting",
    before: tuple[datetime, UUID] | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Return single letters, the newest first; ``before`` is the last one of the page before."""
    where, values = conditions(chosen)
    if state != "all":
        where, values = f"{where} AND state = :state", {**values, "state": state}
    if before is not None:
        where, values = f"{where} AND (died_at, id) < (:at, :id)", {**values, "at": before[0], "id": before[1]}
    found = session.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM dead_letters WHERE true{where}"  # noqa: S608  (as above)
            " ORDER BY died_at DESC, id DESC LIMIT :limit"
        ),
        {**values, "limit": limit},
    )
    return [_with_text(row) for row in rows(found)]


def letter(session: Session, letter_id: UUID) -> dict[str, Any]:
    """Return one letter with its events, what was done about it, and the other letters of the same event.

    ``handled_at`` is set when its events had their effect, ``next_attempt_at`` while one of them is parked.
    Raises DeadLetterNotFound.
    """
    found = rows(
        session.execute(
            sa.text(f"SELECT {_COLUMNS}, stack, body, body_hash FROM dead_letters WHERE id = :id"),  # noqa: S608
            {"id": letter_id},
        )
    )
    if not found:
        raise DeadLetterNotFound([letter_id])
    shown = _with_text(found[0])
    body, hashed = bytes(shown.pop("body")), bytes(shown.pop("body_hash"))
    events: list[Delivery] = []
    unreadable = None
    try:
        events = open_letter(body)
    except Undecodable as error:
        unreadable = error.code
    shown["unreadable"] = unreadable
    shown["events"] = [_event(event) for event in events]
    shown |= _progress(session, shown["handler"], events)
    shown["actions"] = rows(
        session.execute(
            sa.text(
                "SELECT action, outcome, by, why, at FROM dead_letter_actions"
                " WHERE dead_letter_id = :id ORDER BY at, id"
            ),
            {"id": letter_id},
        )
    )
    shown["others"] = _others(session, shown, hashed, [event.envelope.id for event in events])
    return shown


def raw_body(session: Session, letter_id: UUID) -> bytes:
    """Return the very bytes of a letter, which may hold anything. Raises DeadLetterNotFound."""
    body = session.scalar(sa.text("SELECT body FROM dead_letters WHERE id = :id"), {"id": letter_id})
    if body is None:
        raise DeadLetterNotFound([letter_id])
    return bytes(body)


def _with_text(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "reason_text": "{} / {}".format(*reason_text(row["reason"]))}


def _progress(session: Session, handler: str, events: Sequence[Delivery]) -> dict[str, Any]:
    ids = [event.envelope.id for event in events]
    done, handled_at = session.execute(
        sa.text("SELECT count(*), max(handled_at) FROM inbox WHERE handler = :handler AND event_id = ANY(:ids)"),
        {"handler": handler, "ids": ids},
    ).one()
    next_at = session.scalar(
        sa.text("SELECT min(next_attempt_at) FROM parked_events WHERE handler = :handler AND event_id = ANY(:ids)"),
        {"handler": handler, "ids": ids},
    )
    whole = bool(ids) and done == len(set(ids))
    return {"handled_at": handled_at if whole else None, "next_attempt_at": next_at}


def _others(session: Session, shown: Mapping[str, Any], hashed: bytes, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    known = [*ids, *([shown["event_id"]] if shown["event_id"] else [])]
    return rows(
        session.execute(
            sa.text(
                "SELECT id, reason, state, attempts, died_at, retry_of FROM dead_letters"
                " WHERE handler = :handler AND id <> :id AND (body_hash = :hash OR event_id = ANY(:ids))"
                " ORDER BY died_at, id LIMIT 100"
            ),
            {"handler": shown["handler"], "id": shown["id"], "hash": hashed, "ids": known},
        )
    )


def _event(event: Delivery) -> dict[str, Any]:
    """Return what a readable event says: its known fields, which by contract hold opaque ids and codes only."""
    envelope = event.envelope
    return {
        "id": envelope.id,
        "type": envelope.type,
        "time": envelope.time,
        "subject": _veiled(envelope.subject),
        "data": _veiled(msgspec.to_builtins(envelope.data)),
    }


def _veiled(value: Any) -> Any:
    """Return a value with every text that is no code replaced by its length."""
    if isinstance(value, str):
        return value if _CODE_LIKE.fullmatch(value) else f"…({len(value)})"
    if isinstance(value, Mapping):
        return {name: _veiled(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_veiled(inner) for inner in value]
    return value
