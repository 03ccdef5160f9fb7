"""Corrections of what the register says of a person; what it said before is kept, sealed with the person's key."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.identity.actor import Reach, access_of
from xinhuo.chassis.identity.rights import reach_of
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.security import Keys

from .. import domain, reach, sealed
from ..domain import corrections as rules
from ..domain import standing
from ..domain.consents import ConsentWithdrawn
from ..domain.tags import check_tags
from ..models import corrections, volunteer_tags, volunteers
from .limits import person_tags
from .person_keys import give_key
from .standing import consent_missing, lock_person

_INSERT = sa.insert(corrections)
_OTHER = sa.text("SELECT id FROM volunteers WHERE id_number_index = :index AND id <> :id")


def correct_person(session: Session, keys: Keys, volunteer_id: UUID, form: Mapping[str, Any], *, now: datetime) -> None:
    """Correct name, id_number, phone or tags, as given in ``form`` with a reason_code; what is so already stays.

    A name or number that is corrected by somebody who may not verify people is verified anew, and a child by its new
    number waits for a guardian. Raises ``NothingToCorrect``, ``VolunteerNotFound``, ``PersonErased``,
    ``ConsentWithdrawn``, ``VolunteerExists``, ``TagUnknown`` and the errors of the domain about each field.
    """
    if not any(field in form for field in rules.FIELDS):
        raise rules.NothingToCorrect
    person = lock_person(session, volunteer_id)
    access = access_of(session)
    if person["withdrawn"] and access.reach not in (Reach.SELF, Reach.CHILD):
        raise ConsentWithdrawn
    if person["wrapped"] is None:
        give_key(session, keys, volunteer_id)
        person = lock_person(session, volunteer_id)
    before = _as_it_is(session, keys, person)
    given = _checked(form, before, now)
    changed = {field: value for field, value in given.items() if value != before[field]}
    if not changed:
        return
    _enter(session, keys, person, changed, now)
    key = sealed.key_of(keys, person)
    was = {field: before[field] for field in sorted(changed)}
    row = {
        "id": new_id(),
        "volunteer_id": volunteer_id,
        "fields": list(was),
        "before": key.encrypt(json.dumps(was, ensure_ascii=False), sealed.CORRECTION),
        "reason_code": form["reason_code"],
        "corrected_by": access.actor.subject if access.actor else None,
        "corrected_at": now,
    }
    session.execute(_INSERT, row)
    audit.record(session, "volunteer.corrected", "volunteer", volunteer_id, after=row, reason=form["reason_code"])


def _as_it_is(session: Session, keys: Keys, person: Mapping[Any, Any]) -> dict[str, Any]:
    tags = sa.select(volunteer_tags.c.tag).where(volunteer_tags.c.volunteer_id == person["id"])
    return {
        **sealed.open_columns(keys, person, "name", "id_number", "phone"),
        "tags": sorted(session.scalars(tags)),
    }


def _checked(form: Mapping[str, Any], before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return what is given as it is stored."""
    today = domain.local_date(now)
    given: dict[str, Any] = {}
    if "name" in form:
        given["name"] = domain.check_name(form["name"])
    if "id_number" in form:
        given["id_number"] = domain.check_id_number(form["id_number"], today=today).number
    if "phone" in form:
        given["phone"] = domain.check_phone(form["phone"])
    if "tags" in form:
        given["tags"] = check_tags(form["tags"], person_tags(today), had=before["tags"])
    return given


def _enter(session: Session, keys: Keys, person: Mapping[Any, Any], changed: Mapping[str, Any], now: datetime) -> None:
    key = sealed.key_of(keys, person)
    row = {field: key.encrypt(changed[field], sealed.PLACES[field]) for field in changed if field != "tags"}
    indexes: dict[str, bytes] = {}
    if "name" in changed:
        indexes["name_index"] = sealed.name_index(keys, changed["name"])
    if "id_number" in changed:
        indexes["id_number_index"] = sealed.id_number_index(keys, person["id_type"], changed["id_number"])
    if "tags" in changed:
        set_tags(session, person["id"], changed["tags"])
    if row:
        statement = sa.update(volunteers).where(volunteers.c.id == person["id"])
        try:
            with session.begin_nested():
                session.execute(statement.values(**row, **indexes, **_standing(session, keys, person, changed, now)))
        except IntegrityError:
            # The only unique column is the index of the identity number.
            _refuse_same_person(session, person["id"], indexes)
            raise


def _standing(
    session: Session, keys: Keys, person: Mapping[Any, Any], changed: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return state and verified_at of a person after a correction."""
    actor = access_of(session).actor
    unchecked = bool(rules.IDENTITY & changed.keys()) and actor is not None and reach_of(actor, "people:verify") is None
    number = changed.get("id_number") or sealed.open_columns(keys, person, "id_number")["id_number"]
    verified_at = None if unchecked else person["verified_at"]
    state = standing.after(
        domain.VolunteerStatus(person["state"]),
        verified=verified_at is not None,
        consent_missing=consent_missing(session, person["id"], str(number), now),
    )
    return {"state": state, "verified_at": verified_at}


def _refuse_same_person(session: Session, volunteer_id: UUID, indexes: Mapping[str, bytes]) -> None:
    """Raise ``VolunteerExists`` when another person has the number."""
    with wide(session):
        other = session.scalar(_OTHER, {"id": volunteer_id, "index": indexes.get("id_number_index")})
    if other:
        raise domain.VolunteerExists(str(other) if reach.reaches_volunteer(session, other) else None)


def set_tags(session: Session, volunteer_id: UUID, tags: Sequence[str]) -> None:
    """Let a person have these tags and no others."""
    of = volunteer_tags.c.volunteer_id == volunteer_id
    session.execute(sa.delete(volunteer_tags).where(of))
    if tags:
        session.execute(sa.insert(volunteer_tags), [{"volunteer_id": volunteer_id, "tag": tag} for tag in tags])
