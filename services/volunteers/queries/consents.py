"""Consents as others may see them: guardians masked."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed

from .. import domain, sealed
from ..models import consent_records
from .of_person import page_of_person, with_key


def consent(session: Session, keys: Keys, consent_id: UUID) -> dict[str, Any]:
    """Return one consent that is known to be there."""
    row = session.execute(with_key(consent_records).where(consent_records.c.id == consent_id)).mappings().one()
    return _masked(keys, row)


def consents_list(session: Session, keys: Keys, volunteer_id: UUID, query: Mapping[str, Any]) -> Listed:
    """Return a page of the consents of a person, the oldest first; raises ``VolunteerNotFound``."""
    return page_of_person(session, consent_records, volunteer_id, query, partial(_masked, keys))


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
