"""Personal data in clear, for those who say why; each look, and each that was refused, stands in the audit log."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.identity.actor import Access, Reach, access_of, grant
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.row_security import narrow
from xinhuo.chassis.security import Keys

from .. import domain, reach, sealed
from ..domain import unmask as rules
from ..domain.consents import ConsentWithdrawn
from ..domain.rights import PersonErased
from ..models import volunteers

_PERSONAL = (
    volunteers.c.id, volunteers.c.name, volunteers.c.id_number, volunteers.c.phone, *sealed.KEY,
    volunteers.c.state, reach.is_withdrawn().label("withdrawn"),
)  # fmt: skip
_APPROVED = sa.text(
    """
    SELECT EXISTS (SELECT FROM unmask_approvals
        WHERE volunteer_id = :volunteer AND asked_by = :subject AND expires_at > :now)
    """
)
_APPROVE = sa.text(
    """
    INSERT INTO unmask_approvals (id, volunteer_id, asked_by, approved_by, reason, approved_at, expires_at)
    VALUES (:id, :volunteer_id, :asked_by, :approved_by, :reason, :approved_at, :expires_at)
    """
)


def unmask(
    db: Database, keys: Keys, access: Access, volunteer_id: UUID, fields: Sequence[str], reason: str | None
) -> dict[str, Any]:
    """Return the wanted fields of a person in clear, and write down who saw them.

    In a transaction of its own, so that what was refused stays written down. Oneself and one's wards need no reason.
    Raises ``VolunteerNotFound``, ``PersonErased``, ``UnmaskReasonRequired``, ``ConsentWithdrawn`` or
    ``UnmaskApprovalRequired``.
    """
    with db.transaction() as session:
        grant(session, access)
        narrow(session, access)
        outcome = _unmasked(session, keys, volunteer_id, fields, reason)
    if isinstance(outcome, RuleError):
        raise outcome
    return outcome


def _unmasked(
    session: Session, keys: Keys, volunteer_id: UUID, fields: Sequence[str], reason: str | None
) -> dict[str, Any] | RuleError:
    """Do it; an error that is returned is answered after the commit."""
    access = access_of(session)
    wanted = sa.select(*_PERSONAL).select_from(sealed.WITH_KEYS)
    wanted = wanted.where(volunteers.c.id == volunteer_id, *reach.people(session))
    row = session.execute(wanted).mappings().one_or_none()
    if row is None:
        raise domain.VolunteerNotFound(str(volunteer_id))
    clear = sealed.open_columns(keys, row, *rules.FIELDS)
    own = access.reach in (Reach.SELF, Reach.CHILD)
    try:
        if row["state"] == domain.VolunteerStatus.ERASED:
            raise PersonErased
        reason = reason if own else rules.check_reason(reason)
        if not own and row["withdrawn"]:
            raise ConsentWithdrawn
        if not own and access.actor is not None and access.actor.role != "service":
            _check_approved(session, volunteer_id, access.actor.subject, str(clear["id_number"]))
    except RuleError as error:
        audit.record(
            session, "volunteer.unmasked", "volunteer", volunteer_id, outcome="refused", reason=reason or error.code
        )
        return error
    audit.record(
        session, "volunteer.unmasked", "volunteer", volunteer_id, after={"fields": sorted(set(fields))}, reason=reason
    )
    return {"id": volunteer_id, **{name: clear[name] for name in fields}}


def _check_approved(session: Session, volunteer_id: UUID, subject: UUID, id_number: str) -> None:
    """Raise ``UnmaskApprovalRequired`` for a child whose data the account was not approved to see now."""
    now = database_now(session)
    if not rules.is_child(id_number, domain.local_date(now)):
        return
    if not session.scalar(_APPROVED, {"volunteer": volunteer_id, "subject": subject, "now": now}):
        raise rules.UnmaskApprovalRequired


def approve(session: Session, volunteer_id: UUID, form: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Let an account see the data of a person in clear for some days; return the approval.

    Raises ``VolunteerNotFound`` or ``OwnApproval``.
    """
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerNotFound(str(volunteer_id))
    actor = access_of(session).actor
    if actor is None or actor.subject == form["for_subject"]:
        raise rules.OwnApproval
    row = {
        "id": new_id(),
        "volunteer_id": volunteer_id,
        "asked_by": form["for_subject"],
        "approved_by": actor.subject,
        "reason": form["reason"],
        "approved_at": now,
        "expires_at": now + timedelta(days=form["days"]),
    }
    session.execute(_APPROVE, row)
    audit.record(session, "volunteer.unmask_approved", "volunteer", volunteer_id, after=row, reason=form["reason"])
    return row
