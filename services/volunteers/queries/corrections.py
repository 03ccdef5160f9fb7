"""Corrections as others may see them: what was before is masked."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach, sealed
from ..models import corrections, person_keys
from .people import MASKS

_SHOWN = sa.select(*corrections.c, *sealed.KEY).select_from(
    corrections.outerjoin(person_keys, person_keys.c.volunteer_id == corrections.c.volunteer_id)
)


def corrections_list(session: Session, keys: Keys, volunteer_id: UUID, query: Mapping[str, Any]) -> Listed:
    """Return a page of the corrections of a person, the oldest first; raises ``VolunteerNotFound``."""
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerNotFound(str(volunteer_id))
    wanted = _SHOWN.where(corrections.c.volunteer_id == volunteer_id)
    wanted = wanted.order_by(corrections.c.id).limit(query["limit"] + 1)
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(corrections.c.id > cursor[0])
    found = [_masked(keys, row) for row in session.execute(wanted).mappings()]
    return page_of(found, query["limit"], lambda row: (row["id"],))


def was_before(keys: Keys, row: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return in clear what a correction of a row with ``volunteer_id`` and the key replaced; None once erased."""
    if row["before"] is None:
        return None
    key = sealed.key_of(keys, {**row, "id": row["volunteer_id"]})
    found: dict[str, Any] = json.loads(key.decrypt(row["before"], sealed.CORRECTION))
    return found


def _masked(keys: Keys, row: Mapping[Any, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in {"wrapped", "kek"}}
    before = was_before(keys, row)
    shown["before"] = before and {name: MASKS[name](old) if name in MASKS else old for name, old in before.items()}
    return shown
