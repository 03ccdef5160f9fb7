"""Volunteers: registered with encrypted personal columns, then verified."""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.ids import new_id
from xinhuo.chassis.security import Keys

from .. import domain
from ..domain import registry
from .teams import join_team, require_team, require_unit

_INSERT = sa.text(
    """
    INSERT INTO volunteers (id, volunteer_no, state, unit_code, id_type, name, id_number, phone, guardian_consent,
        name_index, id_number_index, registered_at)
    VALUES (:id, :volunteer_no, 'pending', :unit_code, :id_type, :name, :id_number, :phone, :guardian_consent,
        :name_index, :id_number_index, :now)
    ON CONFLICT DO NOTHING
    RETURNING id
    """
)
_SAME_PERSON = sa.text("SELECT id FROM volunteers WHERE id_number_index = :id_number_index")
_VERIFY = sa.text(
    "UPDATE volunteers SET state = 'verified', verified_at = :now WHERE id = :id AND state = 'pending' RETURNING id"
)
_STATE = sa.text("SELECT state FROM volunteers WHERE id = :id")


def id_number_index(keys: Keys, id_type: str, number: str) -> bytes:
    """Return the keyed hash under which a person is found by a normalised identity number."""
    return keys.blind_index(f"{id_type}:{number}", "volunteers.id_number")


def name_index(keys: Keys, name: str) -> bytes:
    """Return the keyed hash under which people of one normalised full name are found."""
    return keys.blind_index(name, "volunteers.name")


def register_volunteer(session: Session, keys: Keys, form: Mapping[str, Any], *, now: datetime) -> UUID:
    """Register a person who waits for verification; return the volunteer's id.

    ``form`` has name, id_type, id_number, phone, unit_code and perhaps born_on, sex, team_code and
    guardian_consent. Raises the errors of the domain about any of them, ``UnitUnknown``, ``TeamUnknown``,
    ``ConsentRequired`` for a person under 14, and ``VolunteerExists`` naming the earlier registration.
    """
    today = domain.local_date(now)
    name = domain.check_name(form["name"])
    id_number = domain.check_id_number(form["id_number"], today=today)
    phone = domain.check_phone(form["phone"])
    domain.check_agrees(id_number, born_on=form.get("born_on"), sex=form.get("sex"))
    require_unit(session, form["unit_code"])
    team_code = form.get("team_code")
    if team_code is not None:
        require_team(session, team_code)
    consent = form.get("guardian_consent")
    domain.check_consent(id_number.born_on, guardian_consented=consent is not None, today=today)
    volunteer_id = new_id()
    row = {
        "id": volunteer_id,
        "unit_code": form["unit_code"],
        "id_type": form["id_type"],
        "name": keys.encrypt(name, "volunteers.name"),
        "id_number": keys.encrypt(id_number.number, "volunteers.id_number"),
        "phone": keys.encrypt(phone, "volunteers.phone"),
        "guardian_consent": _sealed_consent(keys, consent),
        "name_index": name_index(keys, name),
        "id_number_index": id_number_index(keys, form["id_type"], id_number.number),
        "now": now,
    }
    _insert(session, row)
    if team_code is not None:
        join_team(session, team_code, volunteer_id, now=now)
    return volunteer_id


def verify_volunteer(session: Session, volunteer_id: UUID, *, now: datetime) -> None:
    """Note that the person's identity was checked; verifying twice changes nothing.

    Raises ``VolunteerNotFound``, or ``VolunteerNotVerified`` for one who is suspended or has left.
    """
    if session.scalar(_VERIFY, {"id": volunteer_id, "now": now}) is None:
        state = session.scalar(_STATE, {"id": volunteer_id})
        if state is None:
            raise domain.VolunteerNotFound(str(volunteer_id))
        domain.check_verified(domain.VolunteerStatus(state))


def _insert(session: Session, row: dict[str, Any]) -> None:
    while True:
        row["volunteer_no"] = registry.volunteer_no(secrets.randbelow(registry.VOLUNTEER_NUMBERS))
        if session.scalar(_INSERT, row) is not None:
            return
        # Taken was either the person's identity number or, hardly ever, the number just drawn.
        if other := session.scalar(_SAME_PERSON, {"id_number_index": row["id_number_index"]}):
            raise domain.VolunteerExists(str(other))


def _sealed_consent(keys: Keys, consent: Mapping[str, Any] | None) -> str | None:
    if consent is None:
        return None
    plain = {
        "guardian_name": domain.check_name(consent["guardian_name"], pointer="/guardian_consent/guardian_name"),
        "guardian_phone": domain.check_phone(consent["guardian_phone"], pointer="/guardian_consent/guardian_phone"),
        "relation": consent["relation"],
        "consented_on": consent["consented_on"].isoformat(),
    }
    return keys.encrypt(json.dumps(plain, ensure_ascii=False), "volunteers.guardian_consent")
