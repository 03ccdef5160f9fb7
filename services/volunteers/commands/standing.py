"""Where a volunteer stands: suspended by the office, brought back, or gone; entries of hours stay in every state."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.security import Keys

from .. import domain, reach, sealed
from ..domain import standing as rules
from ..domain.consents import ConsentWithdrawn
from ..domain.rights import PersonErased
from ..models import consent_records, volunteers

_PERSON = (
    sa.select(volunteers, *sealed.KEY, reach.is_withdrawn().label("withdrawn"))
    .select_from(sealed.WITH_KEYS)
    .with_for_update(of=volunteers)
)
_CONSENTED = sa.select(sa.true()).where(
    consent_records.c.purpose == "registration",
    consent_records.c.given_by == "guardian",
    consent_records.c.withdrawn_at.is_(None),
)
_SET = sa.text(
    "UPDATE volunteers SET state = :state, suspended_for = :reason, verified_at = :verified_at WHERE id = :id"
)


def suspend_volunteer(session: Session, volunteer_id: UUID, reason_code: str) -> None:
    """Suspend somebody for a reason of ``SUSPENDED_FOR``; doing it again changes nothing.

    Who is suspended already because a guardian withdrew the consent needs both, a new consent and the office's word,
    to come back. Raises ``VolunteerNotFound``, ``PersonErased``, ``HasLeft`` or ``WaitsForGuardian``.
    """
    person = lock_person(session, volunteer_id)
    rules.check_suspend(domain.VolunteerStatus(person["state"]))
    if person["suspended_for"] is None:
        _set(session, person, domain.VolunteerStatus.SUSPENDED, reason=reason_code, verified_at=person["verified_at"])
        audit.record(session, "volunteer.suspended", "volunteer", volunteer_id, reason=reason_code)


def resume_volunteer(session: Session, keys: Keys, volunteer_id: UUID, *, now: datetime) -> None:
    """Bring somebody back who was suspended by the office or has left; of others nothing changes.

    Who had left is verified anew, and a child waits for a guardian without whose consent it would be. Raises
    ``VolunteerNotFound``, ``PersonErased``, or ``ConsentWithdrawn`` for one whom only a new consent brings back.
    """
    person = lock_person(session, volunteer_id)
    status = domain.VolunteerStatus(person["state"])
    if status not in {domain.VolunteerStatus.SUSPENDED, domain.VolunteerStatus.LEFT}:
        return
    if person["withdrawn"]:
        raise ConsentWithdrawn
    number = str(sealed.open_columns(keys, person, "id_number")["id_number"])
    verified_at = person["verified_at"] if status is domain.VolunteerStatus.SUSPENDED else None
    state = rules.after(
        domain.VolunteerStatus.PENDING,
        verified=verified_at is not None,
        consent_missing=consent_missing(session, volunteer_id, number, now),
    )
    _set(session, person, state, reason=None, verified_at=verified_at)
    audit.record(session, "volunteer.resumed", "volunteer", volunteer_id)


def leave(session: Session, volunteer_id: UUID, reason_code: str) -> None:
    """Note that somebody leaves, for a reason of ``LEFT_FOR``; hours and teams stay. Again, it changes nothing.

    Raises ``VolunteerNotFound`` or ``PersonErased``.
    """
    person = lock_person(session, volunteer_id)
    if person["state"] == domain.VolunteerStatus.LEFT:
        return
    _set(session, person, domain.VolunteerStatus.LEFT, reason=None, verified_at=person["verified_at"])
    audit.record(session, "volunteer.left", "volunteer", volunteer_id, reason=reason_code)


def lock_person(session: Session, volunteer_id: UUID) -> Mapping[Any, Any]:
    """Hold the row of a person and return it, with the key and whether a guardian withdrew the consent.

    Raises ``VolunteerNotFound`` or ``PersonErased``.
    """
    wanted = _PERSON.where(volunteers.c.id == volunteer_id, *reach.people(session))
    row = session.execute(wanted).mappings().one_or_none()
    if row is None:
        raise domain.VolunteerNotFound(str(volunteer_id))
    if row["state"] == domain.VolunteerStatus.ERASED:
        raise PersonErased
    return row


def consent_missing(session: Session, volunteer_id: UUID, id_number: str, now: datetime) -> bool:
    """Tell whether the person of an identity number is a child without the consent of a guardian in force."""
    age = domain.age_on(domain.birth_date_of(id_number), domain.local_date(now))
    given = _CONSENTED.where(consent_records.c.volunteer_id == volunteer_id)
    return age < domain.AGE_OF_OWN_CONSENT and session.scalar(given.limit(1)) is None


def _set(
    session: Session,
    person: Mapping[Any, Any],
    state: domain.VolunteerStatus,
    *,
    reason: str | None,
    verified_at: datetime | None,
) -> None:
    session.execute(_SET, {"id": person["id"], "state": state, "reason": reason, "verified_at": verified_at})
