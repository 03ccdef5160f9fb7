"""Volunteers as others may see them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.security import CannotDecrypt, Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain
from ..models import team_members, volunteers

_TEAMS = (
    sa.select(sa.func.array_agg(team_members.c.team_code.op("ORDER BY")(team_members.c.team_code)))
    .where(team_members.c.volunteer_id == volunteers.c.id)
    .scalar_subquery()
    .label("teams")
)
_SHOWN = (
    volunteers.c.id,
    volunteers.c.volunteer_no,
    volunteers.c.state,
    volunteers.c.unit_code,
    volunteers.c.id_type,
    volunteers.c.name,
    volunteers.c.id_number,
    volunteers.c.phone,
    volunteers.c.registered_at,
    volunteers.c.verified_at,
    _TEAMS,
)
_IN_LEDGER = sa.text(
    """
    SELECT COALESCE(sum(minutes), 0) AS minutes_total,
        COALESCE(sum(CASE kind WHEN 'entry' THEN 1 ELSE -1 END), 0) AS entries
    FROM ledger_entries WHERE volunteer_id = :id
    """
)


def volunteer(session: Session, keys: Keys, volunteer_id: UUID) -> dict[str, Any]:
    """Return one volunteer, personal fields masked, with minutes and number of entries that count in the ledger.

    Raises ``VolunteerNotFound``.
    """
    found = session.execute(sa.select(*_SHOWN).where(volunteers.c.id == volunteer_id)).mappings().one_or_none()
    if found is None:
        raise domain.VolunteerNotFound(str(volunteer_id))
    totals = session.execute(_IN_LEDGER, {"id": volunteer_id}).mappings().one()
    return _masked(keys, found) | dict(totals)


def volunteers_list(session: Session, keys: Keys, query: Mapping[str, Any]) -> Listed:
    """Return a page of volunteers in the order of registration, personal fields masked."""
    statement = sa.select(*_SHOWN).order_by(volunteers.c.id).limit(query["limit"] + 1)
    if cursor := read_cursor(query["after"], UUID):
        statement = statement.where(volunteers.c.id > cursor[0])
    for field, column in (
        ("unit", volunteers.c.unit_code),
        ("state", volunteers.c.state),
        ("volunteer_no", volunteers.c.volunteer_no),
    ):
        if query.get(field) is not None:
            statement = statement.where(column == query[field])
    if query.get("team") is not None:
        members = sa.select(team_members.c.volunteer_id).where(team_members.c.team_code == query["team"])
        statement = statement.where(volunteers.c.id.in_(members))
    found = [_masked(keys, row) for row in session.execute(statement).mappings()]
    return page_of(found, query["limit"], lambda row: (row["id"],))


def key_fits(session: Session, keys: Keys) -> bool:
    """Tell whether the master key is the one that the first volunteer was registered with; before, any is."""
    name = session.scalar(sa.select(volunteers.c.name).order_by(volunteers.c.id).limit(1))
    try:
        return name is None or bool(keys.decrypt(name, "volunteers.name"))
    except CannotDecrypt:
        return False


def _masked(keys: Keys, row: Mapping[Any, Any]) -> dict[str, Any]:
    shown = dict(row)
    shown["name"] = domain.mask_name(keys.decrypt(row["name"], "volunteers.name"))
    shown["id_number"] = domain.mask_id_number(keys.decrypt(row["id_number"], "volunteers.id_number"))
    shown["phone"] = domain.mask_phone(keys.decrypt(row["phone"], "volunteers.phone"))
    shown["teams"] = row["teams"] or []
    return shown
