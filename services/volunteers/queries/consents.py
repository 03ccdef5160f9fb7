"""Consents as others may see them: guardians masked."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach, sealed
from ..models import consent_records, person_keys

_SHOWN = sa.select(*consent_records.c, *sealed.KEY).select_from(
    consent_records.outerjoin(person_keys, person_keys.c.volunteer_id == consent_records.c.volunteer_id)
)


def consent(session: Session, keys: Keys, consent_id: UUID) -> dict[str, Any]:
    """Return one consent that is known to be there."""
    row = session.execute(_SHOWN.where(consent_records.c.id == consent_id)).mappings().one()
    return _masked(keys, row)


def consents_list(session: Session, keys: Keys, volunteer_id: UUID, query: Mapping[str, Any]) -> Listed:
    """Return a page of the consents of a person, the oldest first; raises ``VolunteerNotFound``."""
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerNotFound(str(volunteer_id))
    wanted = _SHOWN.where(consent_records.c.volunteer_id == volunteer_id)
    wanted = wanted.order_by(consent_records.c.id).limit(query["limit"] + 1)
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(consent_records.c.id > cursor[0])
    found = [_masked(keys, row) for row in session.execute(wanted).mappings()]
    return page_of(found, query["limit"], lambda row: (row["id"],))


def guardian_of(keys: Keys, row: Mapping[Any, Any]) -> dict[str, str] | None:
    """Return in clear who consented for the person of a row with ``volunteer_id`` and the key; None for nobody."""
    if row["guardian"] is None:
        return None
    key = sealed.key_of(keys, {**row, "id": row["volunteer_id"]})
    found: dict[str, str] = json.loads(key.decrypt(row["guardian"], sealed.GUARDIAN))
    return found


def _masked(keys: Keys, row: Mapping[Any, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in {"wrapped", "kek"}}
    if guardian := guardian_of(keys, row):
        guardian["guardian_name"] = domain.mask_name(guardian["guardian_name"])
        guardian["guardian_phone"] = domain.mask_phone(guardian["guardian_phone"])
    shown["guardian"] = guardian
    return shown
