"""Everything that is held about one person, for himself; and who asked to be erased."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.db import rows
from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach, sealed
from ..domain import rights as rules
from ..models import (
    consent_records,
    corrections,
    erasure_requests,
    ledger_entries,
    team_members,
    volunteer_tags,
    volunteers,
)
from .claims import claims_of
from .consents import guardian_of
from .corrections import was_before

_IDENTITY = sa.select(volunteers, *sealed.KEY).select_from(sealed.WITH_KEYS)
_LOOKED = sa.select(
    audit.TABLE.c.at,
    audit.TABLE.c.action,
    audit.TABLE.c.subject,
    audit.TABLE.c.role,
    audit.TABLE.c.unit,
    audit.TABLE.c.outcome,
    audit.TABLE.c.reason,
).order_by(audit.TABLE.c.seq)


def export(session: Session, keys: Keys, volunteer_id: UUID) -> dict[str, Any]:
    """Return in clear what is held about a person, and write down that it was asked for.

    Raises ``VolunteerNotFound`` or ``PersonErased``.
    """
    wanted = _IDENTITY.where(volunteers.c.id == volunteer_id, *reach.people(session))
    row = session.execute(wanted).mappings().one_or_none()
    if row is None:
        raise domain.VolunteerNotFound(str(volunteer_id))
    if row["state"] == domain.VolunteerStatus.ERASED:
        raise rules.PersonErased
    audit.record(session, "volunteer.exported", "volunteer", volunteer_id)
    key = {"wrapped": row["wrapped"], "kek": row["kek"]}
    of_person = {
        "teams": sa.select(team_members).where(team_members.c.volunteer_id == volunteer_id),
        "entries": sa.select(ledger_entries).where(ledger_entries.c.volunteer_id == volunteer_id),
        "consents": sa.select(consent_records).where(consent_records.c.volunteer_id == volunteer_id),
        "corrections": sa.select(corrections).where(corrections.c.volunteer_id == volunteer_id),
        "erasure_requests": sa.select(erasure_requests).where(erasure_requests.c.volunteer_id == volunteer_id),
    }
    orders = {
        "teams": team_members.c.team_code, "entries": ledger_entries.c.id, "consents": consent_records.c.id,
        "corrections": corrections.c.id,
    }  # fmt: skip
    held = {
        name: rows(session.execute(query.order_by(orders.get(name, erasure_requests.c.id))))
        for name, query in of_person.items()
    }
    for one in held["consents"]:
        one["guardian"] = guardian_of(keys, {**one, **key})
    for one in held["corrections"]:
        one["before"] = was_before(keys, {**one, **key})
    tags = sa.select(volunteer_tags.c.tag).where(volunteer_tags.c.volunteer_id == volunteer_id)
    held["tags"] = sorted(session.scalars(tags))
    held["claims"] = claims_of(session, keys, volunteer_id)
    looked = session.execute(_LOOKED.where(audit.TABLE.c.object_id == str(volunteer_id)))
    return {**row, **sealed.open_columns(keys, row, "name", "id_number", "phone"), **held, "looked_at": rows(looked)}


def erasure_request(session: Session, request_id: UUID) -> dict[str, Any]:
    """Return one request that is known to be there."""
    wanted = sa.select(erasure_requests).where(erasure_requests.c.id == request_id)
    return dict(session.execute(wanted).mappings().one())


def erasure_requests_list(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of the requests for erasure, the oldest first."""
    wanted = sa.select(erasure_requests).join(volunteers, volunteers.c.id == erasure_requests.c.volunteer_id)
    wanted = wanted.where(*reach.people(session)).order_by(erasure_requests.c.id).limit(query["limit"] + 1)
    if query["open"] is not None:
        of = erasure_requests.c.decided_at
        wanted = wanted.where(of.is_(None) if query["open"] else of.is_not(None))
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(erasure_requests.c.id > cursor[0])
    return page_of(rows(session.execute(wanted)), query["limit"], lambda row: (row["id"],))
