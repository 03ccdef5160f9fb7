"""Teams, one and many."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.row_security import wide
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import reach
from ..domain import registry
from ..models import team_members, teams

_MEMBERS = sa.select(sa.func.count()).where(team_members.c.team_code == teams.c.code).scalar_subquery().label("members")


def team(session: Session, code: str) -> dict[str, Any]:
    """Return one team with the number of its members; raises ``TeamNotFound``."""
    wanted = sa.select(teams, _MEMBERS).where(teams.c.code == code, *reach.of_teams(session))
    with wide(session):  # how many there are is public, who they are is not
        found = session.execute(wanted).mappings().one_or_none()
    if found is None:
        raise registry.TeamNotFound(code)
    return dict(found)


def teams_list(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of teams in the order of their codes."""
    statement = (
        sa.select(teams, _MEMBERS).where(*reach.of_teams(session)).order_by(teams.c.code).limit(query["limit"] + 1)
    )
    if cursor := read_cursor(query["after"], str):
        statement = statement.where(teams.c.code > cursor[0])
    if query.get("unit") is not None:
        statement = statement.where(teams.c.unit_code == query["unit"])
    with wide(session):
        found = [dict(row) for row in session.execute(statement).mappings()]
    return page_of(found, query["limit"], lambda row: (row["code"],))
