"""Volunteers: registered with encrypted personal columns, then verified."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.identity.actor import Reach, access_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.person_keys import make_key
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.security import Keys

from .. import domain, reach, sealed
from ..domain import registry
from ..domain.consents import TEXT_VERSION, GivenBy
from ..domain.tags import check_tags
from . import consents
from .corrections import set_tags
from .limits import person_tags
from .teams import join_team, require_team, require_unit

_INSERT = sa.text(
    """
    WITH entered AS (
        INSERT INTO volunteers (id, volunteer_no, state, unit_code, id_type, name, id_number, phone, name_index,
            id_number_index, registered_at)
        VALUES (:id, :volunteer_no, :state, :unit_code, :id_type, :name, :id_number, :phone, :name_index,
            :id_number_index, :now)
        ON CONFLICT DO NOTHING
        RETURNING id
    ), sealed AS (
        INSERT INTO person_keys (volunteer_id, wrapped, kek, made_at) SELECT id, :wrapped, :kek, :now FROM entered
    )
    SELECT id FROM entered
    """
)
_SAME_PERSON = sa.text("SELECT id FROM volunteers WHERE id_number_index = :id_number_index")
_VERIFY = sa.text(
    "UPDATE volunteers SET state = 'verified', verified_at = :now WHERE id = :id AND state = 'pending' RETURNING id"
)
_STATE = sa.text("SELECT state FROM volunteers WHERE id = :id")


def register_volunteer(session: Session, keys: Keys, form: Mapping[str, Any], *, now: datetime) -> UUID:
    """Register a person who waits for verification, or as a child for the consent of a guardian; return the id.

    ``form`` has name, id_type, id_number, phone, unit_code and perhaps born_on, sex, team_code, tags and
    guardian_consent. Raises the errors of the domain about any of them, ``UnitUnknown``, ``TeamUnknown``,
    and ``VolunteerExists`` naming the earlier registration if it is in reach.
    """
    today = domain.local_date(now)
    name = domain.check_name(form["name"])
    id_number = domain.check_id_number(form["id_number"], today=today)
    phone = domain.check_phone(form["phone"])
    domain.check_agrees(id_number, born_on=form.get("born_on"), sex=form.get("sex"))
    tags = check_tags(form.get("tags", ()), person_tags(today))
    team_code = form.get("team_code")
    _require_place(session, form["unit_code"], team_code)
    consent = form.get("guardian_consent")
    waits = consent is None and domain.age_on(id_number.born_on, today) < domain.AGE_OF_OWN_CONSENT
    volunteer_id = new_id()
    key, stored = make_key(keys, volunteer_id)
    row = {
        "id": volunteer_id,
        "state": domain.VolunteerStatus.PENDING_GUARDIAN if waits else domain.VolunteerStatus.PENDING,
        "unit_code": form["unit_code"],
        "id_type": form["id_type"],
        "name": key.encrypt(name, sealed.PLACES["name"]),
        "id_number": key.encrypt(id_number.number, sealed.PLACES["id_number"]),
        "phone": key.encrypt(phone, sealed.PLACES["phone"]),
        "wrapped": stored.wrapped,
        "kek": stored.master,
        "name_index": sealed.name_index(keys, name),
        "id_number_index": sealed.id_number_index(keys, form["id_type"], id_number.number),
        "now": now,
    }
    _insert(session, row)
    audit.record(session, "volunteer.registered", "volunteer", volunteer_id, after=row)
    if consent is not None:
        consents.enter(
            session, key, volunteer_id, "registration", GivenBy.GUARDIAN, consent,
            how="paper", given_on=consent["consented_on"], text_version=TEXT_VERSION, now=now,
        )  # fmt: skip
    if tags:
        set_tags(session, volunteer_id, tags)
    if team_code is not None:
        join_team(session, team_code, volunteer_id, now=now)
    return volunteer_id


def verify_volunteer(session: Session, volunteer_id: UUID, *, now: datetime) -> None:
    """Note that the person's identity was checked; verifying twice changes nothing.

    Raises ``VolunteerNotFound``, ``ConsentRequired``, or ``VolunteerNotVerified`` for one who is suspended or has left.
    """
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerNotFound(str(volunteer_id))
    if session.scalar(_VERIFY, {"id": volunteer_id, "now": now}) is None:
        state = session.scalar(_STATE, {"id": volunteer_id})
        domain.check_verified(domain.VolunteerStatus(state))
    else:
        audit.record(session, "volunteer.verified", "volunteer", volunteer_id)


def _require_place(session: Session, unit_code: str, team_code: str | None) -> None:
    """Raise ``UnitUnknown`` or ``TeamUnknown`` unless both are in reach; a leader of a team registers for it only."""
    access = access_of(session)
    if access.reach is Reach.TEAM:
        if require_team(session, team_code or "") != unit_code:
            raise domain.UnitUnknown(unit_code)
        return
    require_unit(session, unit_code)
    if team_code is not None:
        require_team(session, team_code)


def _insert(session: Session, row: dict[str, Any]) -> None:
    while True:
        row["volunteer_no"] = registry.volunteer_no(secrets.randbelow(registry.VOLUNTEER_NUMBERS))
        if session.scalar(_INSERT, row) is not None:
            return
        # Taken was either the person's identity number or, hardly ever, the number just drawn.
        with wide(session):
            other = session.scalar(_SAME_PERSON, {"id_number_index": row["id_number_index"]})
        if other:
            raise domain.VolunteerExists(str(other) if reach.reaches_volunteer(session, other) else None)
