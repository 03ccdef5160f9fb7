"""Erasure: asked for by the person or a guardian, decided by the data-protection officer, and done for good.

The key of the person goes, and with it whatever copies of the data lie anywhere; the row keeps its number, so that
ledger, memberships and statistics stay as they are.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit, outbox
from xinhuo.chassis.identity.actor import access_of
from xinhuo.chassis.ids import new_id
from xinhuo.contracts import volunteers as events

from .. import domain, reach
from ..domain import rights as rules
from ..models import FILE_EMPTIED

_LOCK = sa.text("SELECT state FROM volunteers WHERE id = :id FOR UPDATE")
_ASK = sa.text(
    """
    INSERT INTO erasure_requests (id, volunteer_id, asked_by, asked_as, asked_at)
    VALUES (:id, :volunteer_id, :asked_by, :asked_as, :asked_at)
    ON CONFLICT (volunteer_id) WHERE decided_at IS NULL DO NOTHING
    RETURNING id
    """
)
_OPEN = sa.text("SELECT id FROM erasure_requests WHERE volunteer_id = :id AND decided_at IS NULL")
_FOUND = sa.text("SELECT volunteer_id, asked_by, decided_at FROM erasure_requests WHERE id = :id FOR UPDATE")
_DECIDE = sa.text(
    """
    UPDATE erasure_requests SET decided_by = :by, decided_at = :now, granted = :granted, reason = :reason
    WHERE id = :id
    """
)
_ERASE = (
    sa.text(
        """
        UPDATE volunteers SET state = 'erased', name = NULL, id_number = NULL, phone = NULL, guardian_consent = NULL,
            name_index = NULL, id_number_index = NULL, suspended_for = NULL
        WHERE id = :id
        """
    ),
    sa.text("DELETE FROM person_keys WHERE volunteer_id = :id"),
    sa.text("DELETE FROM volunteer_tags WHERE volunteer_id = :id"),
    sa.text("UPDATE corrections SET before = NULL WHERE volunteer_id = :id"),
    sa.text(
        """
        UPDATE consent_records SET guardian = NULL, withdrawn_at = COALESCE(withdrawn_at, :now)
        WHERE volunteer_id = :id
        """
    ),
    # What waits can no longer be approved: there is nobody to enter it for.
    sa.text(
        """
        UPDATE hour_claims SET evidence = NULL, state = 'withdrawn', decided_by = :by, decided_as = :as_role,
            decided_at = :now
        WHERE volunteer_id = :id AND state = 'claimed'
        """
    ),
    sa.text("UPDATE hour_claims SET evidence = NULL WHERE volunteer_id = :id"),
    # Workbooks that name the person, and what was found in them, are encrypted with another key; those that a worker
    # still needs are emptied when it is through.
    sa.text(
        f"""
        UPDATE imports SET {FILE_EMPTIED}
        WHERE state NOT IN ('confirmed', 'undoing') AND (CAST(:id AS uuid) = ANY (persons)
            OR id IN (SELECT import_id FROM ledger_entries WHERE volunteer_id = :id AND import_id IS NOT NULL))
        """  # noqa: S608  (our own text; values are bound)
    ),
)
_NOT_ERASED = sa.text(
    "SELECT id FROM volunteers WHERE id = ANY(CAST(:ids AS uuid[])) AND state <> 'erased' ORDER BY id FOR UPDATE"
)
#: By whom it was, when no account did it.
_NOBODY = UUID(int=0)


def request_erasure(session: Session, volunteer_id: UUID, *, now: datetime) -> UUID:
    """Ask that a person be erased; return the id of the request, or of the one that is still open.

    Raises ``VolunteerNotFound`` or ``PersonErased``.
    """
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerNotFound(str(volunteer_id))
    if session.scalar(_LOCK, {"id": volunteer_id}) == domain.VolunteerStatus.ERASED:
        raise rules.PersonErased
    actor = access_of(session).actor
    if actor is None:
        raise rules.OwnErasure  # nobody on the server itself asks for somebody
    made = new_id()
    row = {
        "id": made,
        "volunteer_id": volunteer_id,
        "asked_by": actor.subject,
        "asked_as": actor.role,
        "asked_at": now,
    }
    if session.scalar(_ASK, row) is None:
        earlier: UUID = session.scalars(_OPEN, {"id": volunteer_id}).one()
        return earlier
    audit.record(session, "erasure.asked", "volunteer", volunteer_id, after=row)
    return made


def decide_erasure(session: Session, request_id: UUID, *, granted: bool, reason: str | None, now: datetime) -> None:
    """Decide on a request: granted, the person is erased at once.

    Raises ``ErasureNotFound``, ``ErasureDecided``, ``OwnErasure`` or ``RefusalNeedsReason``.
    """
    actor = access_of(session).actor
    found = session.execute(_FOUND, {"id": request_id}).one_or_none()
    if found is None:
        raise rules.ErasureNotFound(str(request_id))
    if found.decided_at is not None:
        raise rules.ErasureDecided
    if actor is None or actor.subject == found.asked_by:
        raise rules.OwnErasure
    rules.check_decision(granted=granted, reason=reason)
    decided = {"id": request_id, "by": actor.subject, "now": now, "granted": granted, "reason": reason}
    session.execute(_DECIDE, decided)
    if granted:
        # Before the audit log, which is one lock for all: others hold a person or a claim when they come to it.
        _empty(session, found.volunteer_id, now)
    action = "erasure.granted" if granted else "erasure.refused"
    audit.record(session, action, "volunteer", found.volunteer_id, after=decided, reason=reason)
    if granted:
        _announce(session, found.volunteer_id)


def erase(session: Session, volunteer_ids: Sequence[UUID], now: datetime, reason: str) -> None:
    """Erase persons for good, though nobody asked for it."""
    for volunteer_id in volunteer_ids:
        _empty(session, volunteer_id, now)
    for volunteer_id in volunteer_ids:  # after all of it, for the same reason
        _announce(session, volunteer_id, reason)


def not_erased(session: Session, volunteer_ids: Iterable[UUID]) -> list[UUID]:
    """Return those of the persons of whom something personal is still there, locked."""
    return list(session.scalars(_NOT_ERASED, {"ids": list(volunteer_ids)}))


def _empty(session: Session, volunteer_id: UUID, now: datetime) -> None:
    session.execute(_LOCK, {"id": volunteer_id})
    actor = access_of(session).actor
    by, as_role = (actor.subject, actor.role) if actor else (_NOBODY, "system")
    named = {"id": volunteer_id, "now": now, "by": by, "as_role": as_role}
    for statement in _ERASE:
        session.execute(statement, named)


def _announce(session: Session, volunteer_id: UUID, reason: str | None = None) -> None:
    audit.record(session, "volunteer.erased", "volunteer", volunteer_id, reason=reason)
    outbox.record(session, events.PersonErased(volunteer_id=volunteer_id))
