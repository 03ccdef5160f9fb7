"""Volunteers as others may see them."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.row_security import wide
from xinhuo.chassis.security import CannotDecrypt, Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach, sealed
from ..models import team_members, volunteer_tags, volunteers

_TEAMS = (
    sa.select(sa.func.array_agg(team_members.c.team_code.op("ORDER BY")(team_members.c.team_code)))
    .where(team_members.c.volunteer_id == volunteers.c.id)
    .scalar_subquery()
    .label("teams")
)
_TAGS = (
    sa.select(sa.func.array_agg(volunteer_tags.c.tag.op("ORDER BY")(volunteer_tags.c.tag)))
    .where(volunteer_tags.c.volunteer_id == volunteers.c.id)
    .scalar_subquery()
    .label("tags")
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
    volunteers.c.suspended_for,
    *sealed.KEY,
    _TEAMS,
    _TAGS,
)
MASKS: Mapping[str, Callable[[str], str]] = {
    "name": domain.mask_name,
    "id_number": domain.mask_id_number,
    "phone": domain.mask_phone,
}
_FIRST = (
    sa.select(volunteers.c.id, volunteers.c.name, volunteers.c.name_index, *sealed.KEY)
    .select_from(sealed.WITH_KEYS)
    .where(volunteers.c.name.is_not(None))
    .order_by(volunteers.c.id)
    .limit(1)
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
    found = (
        session.execute(
            sa.select(*_SHOWN)
            .select_from(sealed.WITH_KEYS)
            .where(volunteers.c.id == volunteer_id, *reach.people(session))
        )
        .mappings()
        .one_or_none()
    )
    if found is None:
        raise domain.VolunteerNotFound(str(volunteer_id))
    with wide(session):  # of all hours, wherever they were served
        totals = session.execute(_IN_LEDGER, {"id": volunteer_id}).mappings().one()
    return _masked(keys, found) | dict(totals)


def volunteers_list(session: Session, keys: Keys, query: Mapping[str, Any]) -> Listed:
    """Return a page of volunteers in the order of registration, personal fields masked."""
    statement = sa.select(*_SHOWN).select_from(sealed.WITH_KEYS)
    statement = statement.where(*reach.people(session), *reach.not_withdrawn(session))
    statement = statement.order_by(volunteers.c.id).limit(query["limit"] + 1)
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
    if query.get("tag") is not None:
        tagged = sa.select(volunteer_tags.c.volunteer_id).where(volunteer_tags.c.tag == query["tag"])
        statement = statement.where(volunteers.c.id.in_(tagged))
    found = [_masked(keys, row) for row in session.execute(statement).mappings()]
    return page_of(found, query["limit"], lambda row: (row["id"],))


def key_fits(session: Session, keys: Keys) -> bool:
    """Tell whether the master keys are those that the first volunteer was registered with; before, any are.

    They open the name, and find the person by it: the one might be right and the other not.
    """
    found = session.execute(_FIRST).mappings().one_or_none()
    if found is None:
        return True
    try:
        name = sealed.open_columns(keys, found, "name")["name"]
    except CannotDecrypt:
        return False
    return sealed.name_index(keys, name or "") == bytes(found["name_index"])


def _masked(keys: Keys, row: Mapping[Any, Any]) -> dict[str, Any]:
    clear = sealed.open_columns(keys, row, *MASKS)
    shown = {name: value for name, value in row.items() if name not in {"wrapped", "kek"}}
    for name, mask in MASKS.items():
        hidden = clear[name]
        shown[name] = mask(hidden) if hidden is not None else None
    shown["teams"], shown["tags"] = row["teams"] or [], row["tags"] or []
    return shown
