"""Consents: given, with who and how; withdrawn, and what follows from it."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.identity.actor import access_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.person_keys import PersonKey
from xinhuo.chassis.security import Keys

from .. import domain, reach, sealed
from ..domain import consents as rules
from ..domain.consents import GivenBy
from ..domain.rights import PersonErased
from ..models import consent_records, volunteers
from .person_keys import give_key

_INSERT = sa.insert(consent_records)
_PERSON = sa.select(volunteers.c.id, volunteers.c.state, volunteers.c.id_number, *sealed.KEY)
#: What a consent to the registration does for a child who waited for it, or whose guardian had withdrawn it;
#: whom the office suspended, only the office brings back.
_GO_ON = sa.text(
    """
    UPDATE volunteers SET state = CASE WHEN verified_at IS NULL THEN 'pending' ELSE 'verified' END
    WHERE id = :id AND (state = 'pending_guardian' OR (state = 'suspended' AND suspended_for IS NULL))
    RETURNING id
    """
)
_WITHDRAW = sa.text(
    """
    UPDATE consent_records SET withdrawn_at = :now, withdrawn_by = :by WHERE id = :id AND withdrawn_at IS NULL
    RETURNING id
    """
)
_STOP = sa.text(
    """
    UPDATE volunteers SET state = 'suspended'
    WHERE id = :id AND state IN ('pending', 'verified') AND NOT EXISTS (
        SELECT FROM consent_records WHERE volunteer_id = :id AND purpose = 'registration' AND withdrawn_at IS NULL)
    RETURNING id
    """
)


def record_consent(session: Session, keys: Keys, volunteer_id: UUID, form: Mapping[str, Any], *, now: datetime) -> UUID:
    """Enter a consent and return its id; a child who waited for that of a guardian then waits for verification.

    ``form`` has purpose and perhaps given_by, guardian, how, given_on and text_version. Raises ``VolunteerNotFound``,
    ``PersonErased``, ``ConsentNotYours``, ``GuardianMissing``, ``GivenInFuture``, or ``ConsentRequired`` for a
    child's own.
    """
    actor = access_of(session).actor
    role = actor.role if actor else "system"
    person = _person(session, volunteer_id)
    if person is None:
        raise domain.VolunteerNotFound(str(volunteer_id))
    if person["state"] == domain.VolunteerStatus.ERASED:
        raise PersonErased
    if person["wrapped"] is None:
        give_key(session, keys, volunteer_id)
        person = _person(session, volunteer_id) or person
    today = domain.local_date(now)
    guardian = form.get("guardian")
    given_on = form.get("given_on") or today
    giver = rules.giver_of(role, form.get("given_by"), guardian_named=guardian is not None)
    number = str(sealed.open_columns(keys, person, "id_number")["id_number"])
    rules.check_giver(
        giver, role, domain.birth_date_of(number), guardian_named=guardian is not None, given_on=given_on, today=today
    )
    if giver is GivenBy.SELF:
        guardian = None
    how = form.get("how") or ("online" if role in ("volunteer", "guardian") else "paper")
    made = enter(
        session, sealed.key_of(keys, person), volunteer_id, form["purpose"], giver, guardian,
        how=how, given_on=given_on, text_version=form.get("text_version") or rules.TEXT_VERSION, now=now,
    )  # fmt: skip
    if form["purpose"] == "registration" and session.scalar(_GO_ON, {"id": volunteer_id}):
        audit.record(session, "volunteer.consented", "volunteer", volunteer_id)
    return made


def enter(
    session: Session,
    key: PersonKey,
    volunteer_id: UUID,
    purpose: str,
    giver: GivenBy,
    guardian: Mapping[str, Any] | None,
    *,
    how: str,
    given_on: date,
    text_version: str,
    now: datetime,
) -> UUID:
    """Enter a consent that was checked; ``guardian`` has guardian_name, guardian_phone and relation."""
    actor = access_of(session).actor
    made = new_id()
    row = {
        "id": made,
        "volunteer_id": volunteer_id,
        "purpose": purpose,
        "text_version": text_version,
        "given_by": giver.value,
        "guardian": _sealed(key, guardian),
        "how": how,
        "given_on": given_on,
        "recorded_by": actor.subject if actor else None,
        "recorded_at": now,
    }
    session.execute(_INSERT, row)
    audit.record(session, "consent.given", "volunteer", volunteer_id, after=row)
    return made


def withdraw_consent(session: Session, consent_id: UUID, *, now: datetime) -> None:
    """Withdraw a consent; doing it again changes nothing.

    Without one of a guardian to the registration of a child, nothing more is done with his data: he is suspended.
    Raises ``ConsentNotFound`` or ``ConsentNotYours``.
    """
    actor = access_of(session).actor
    wanted = sa.select(consent_records).join(volunteers, volunteers.c.id == consent_records.c.volunteer_id)
    row = session.execute(wanted.where(consent_records.c.id == consent_id, *reach.people(session))).mappings().first()
    if row is None:
        raise rules.ConsentNotFound(str(consent_id))
    rules.check_withdrawer(actor.role if actor else "system", row["given_by"])
    by = actor.subject if actor else None
    # The person before anything of his, as everybody does.
    session.execute(sa.select(volunteers.c.id).where(volunteers.c.id == row["volunteer_id"]).with_for_update())
    if session.scalar(_WITHDRAW, {"id": consent_id, "now": now, "by": by}) is None:
        return
    volunteer_id: UUID = row["volunteer_id"]
    audit.record(session, "consent.withdrawn", "volunteer", volunteer_id, before=dict(row))
    if (row["purpose"], row["given_by"]) == ("registration", GivenBy.GUARDIAN) and session.scalar(
        _STOP, {"id": volunteer_id}
    ):
        audit.record(session, "volunteer.suspended", "volunteer", volunteer_id, reason="consent.withdrawn")


def _person(session: Session, volunteer_id: UUID) -> Mapping[Any, Any] | None:
    wanted = _PERSON.select_from(sealed.WITH_KEYS).where(volunteers.c.id == volunteer_id, *reach.people(session))
    return session.execute(wanted.with_for_update(of=volunteers)).mappings().one_or_none()


def _sealed(key: PersonKey, guardian: Mapping[str, Any] | None) -> str | None:
    if guardian is None:
        return None
    plain = {
        "guardian_name": domain.check_name(guardian["guardian_name"], pointer="/guardian/guardian_name"),
        "guardian_phone": domain.check_phone(guardian["guardian_phone"], pointer="/guardian/guardian_phone"),
        "relation": guardian["relation"],
    }
    return key.encrypt(json.dumps(plain, ensure_ascii=False), sealed.GUARDIAN)
