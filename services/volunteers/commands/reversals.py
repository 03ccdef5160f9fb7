"""An entry is taken back: a small one by one person, a large one by two, of whom the first asks and the second decides.

Undoing an import is not this: a whole file is taken back by whoever may import it, within the hours of its window.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.ids import new_id

from .. import domain, reach
from ..domain import claims as rules
from ..domain.claims import ReversalState
from ..models import Entry, ledger_entries, reversal_requests
from .hours import reverse_entries
from .limits import second_person
from .parties import decided, party

_reversal = ledger_entries.alias("reversal")
_SIZE = sa.select(ledger_entries.c.minutes, _reversal.c.id.label("reversed_by")).select_from(
    ledger_entries.outerjoin(_reversal, _reversal.c.reverses == ledger_entries.c.id)
)
_ASK = sa.text(
    """
    INSERT INTO reversal_requests (id, state, entry_id, reason_code, asked_by, asked_as, asked_by_person, asked_at)
    VALUES (:id, :state, :entry_id, :reason_code, :asked_by, :asked_as, :asked_by_person, :asked_at)
    ON CONFLICT (entry_id) WHERE state = 'asked' DO NOTHING
    RETURNING id
    """
)
_OPEN = sa.text("SELECT id FROM reversal_requests WHERE entry_id = :entry_id AND state = 'asked'")
_DECIDE = sa.text(
    """
    UPDATE reversal_requests SET state = :state, decided_by = :decided_by, decided_as = :decided_as,
        decided_by_person = :decided_by_person, decided_at = :decided_at, reason = :reason, reversal_id = :reversal_id
    WHERE id = :id
    """
)


def reverse_entry(session: Session, entry_id: UUID, reason_code: str, now: datetime) -> Entry | UUID:
    """Take one entry back and return the reversal, or the id of the request when somebody else must decide on it.

    While a request is open, asking again changes nothing. Raises ``EntryNotFound``, ``EntryAlreadyReversed`` or
    ``ReversalIsFinal``.
    """
    found = session.execute(_SIZE.where(ledger_entries.c.id == entry_id, *reach.of_entries(session))).one_or_none()
    if found is None:
        raise domain.EntryNotFound(str(entry_id))
    large = second_person(domain.local_date(now)).needed_for(found.minutes)
    if large and found.reversed_by is None:
        return _ask(session, entry_id, reason_code, now)
    entry = _reverse(session, entry_id, reason_code, now)
    audit.record(session, "hours.reversed", "ledger_entry", entry_id, reason=reason_code)
    return entry


def approve_reversal(session: Session, request_id: UUID, *, now: datetime) -> None:
    """Take back the entry that somebody else asked for; approving it again changes nothing.

    Raises ``ReversalNotFound``, ``OwnReversal``, ``ReversalDecided`` or ``EntryAlreadyReversed``.
    """
    request = _hold(session, request_id)
    by = party(session)
    rules.check_reversal_by(by, request["asked_by"], request["asked_by_person"])
    if rules.is_reversal_decided(request["state"], ReversalState.APPROVED):
        return
    entry_id, why = request["entry_id"], request["reason_code"]
    entry = _reverse(session, entry_id, why, now, asked_by=request["asked_by"], approved_by=by.account)
    _decide(session, request, ReversalState.APPROVED, by, now, reversal_id=entry.id)
    audit.record(session, "hours.reversed", "ledger_entry", entry_id, reason=why)


def refuse_reversal(session: Session, request_id: UUID, reason: str, *, now: datetime) -> None:
    """Leave the entry as it is and say why; refusing it again changes nothing.

    Raises ``ReversalNotFound``, ``OwnReversal`` or ``ReversalDecided``.
    """
    request = _hold(session, request_id)
    by = party(session)
    rules.check_reversal_by(by, request["asked_by"], request["asked_by_person"])
    if not rules.is_reversal_decided(request["state"], ReversalState.REFUSED):
        _decide(session, request, ReversalState.REFUSED, by, now, reason=reason)


def _ask(session: Session, entry_id: UUID, reason_code: str, now: datetime) -> UUID:
    by = party(session)
    made = new_id()
    row = {
        "id": made,
        "state": ReversalState.ASKED.value,
        "entry_id": entry_id,
        "reason_code": reason_code,
        "asked_by": by.account,
        "asked_as": by.role,
        "asked_by_person": by.person,
        "asked_at": now,
    }
    if session.scalar(_ASK, row) is None:
        earlier: UUID = session.scalars(_OPEN, {"entry_id": entry_id}).one()
        return earlier
    audit.record(session, "reversal.asked", "ledger_entry", entry_id, after=row, reason=reason_code)
    return made


def _reverse(session: Session, entry_id: UUID, reason_code: str, now: datetime, **by: UUID) -> Entry:
    [outcome] = reverse_entries(session, [entry_id], reason_code, now, **by)
    if isinstance(outcome, RuleError):
        raise outcome
    return outcome.entry


def _hold(session: Session, request_id: UUID) -> Mapping[Any, Any]:
    wanted = sa.select(reversal_requests).join(ledger_entries, ledger_entries.c.id == reversal_requests.c.entry_id)
    wanted = wanted.where(reversal_requests.c.id == request_id, *reach.of_entries(session))
    found = session.execute(wanted.with_for_update(of=reversal_requests)).mappings().one_or_none()
    if found is None:
        raise rules.ReversalNotFound(str(request_id))
    return found


def _decide(
    session: Session,
    request: Mapping[Any, Any],
    state: ReversalState,
    by: rules.Party,
    now: datetime,
    *,
    reason: str | None = None,
    reversal_id: UUID | None = None,
) -> None:
    decision = {**decided(by, state, now, reason), "reversal_id": reversal_id}
    session.execute(_DECIDE, {"id": request["id"], **decision})
    audit.record(
        session, f"reversal.{state.value}", "ledger_entry", request["entry_id"],
        before=dict(request), after={**request, **decision}, reason=reason,
    )  # fmt: skip
