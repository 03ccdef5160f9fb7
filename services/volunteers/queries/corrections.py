"""Corrections as others may see them: what was before is masked."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed

from .. import sealed
from ..models import corrections
from .of_person import page_of_person
from .people import MASKS


def corrections_list(session: Session, keys: Keys, volunteer_id: UUID, query: Mapping[str, Any]) -> Listed:
    """Return a page of the corrections of a person, the oldest first; raises ``VolunteerNotFound``."""
    return page_of_person(session, corrections, volunteer_id, query, partial(_masked, keys))


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
