"""Teams and who belongs to them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import domain
from ..domain import registry

_INSERT = sa.text(
    """
    INSERT INTO teams (code, name, unit_code, created_at) VALUES (:code, :name, :unit_code, :now)
    ON CONFLICT (code) DO NOTHING
    RETURNING code
    """
)
_JOIN = sa.text(
    """
    INSERT INTO team_members (team_code, volunteer_id, joined_at) VALUES (:team_code, :volunteer_id, :now)
    ON CONFLICT DO NOTHING
    RETURNING joined_at
    """
)
_JOINED_AT = sa.text("SELECT joined_at FROM team_members WHERE team_code = :team_code AND volunteer_id = :volunteer_id")
_UNIT = sa.text("SELECT 1 FROM known_units WHERE code = :code")
_TEAM = sa.text("SELECT unit_code FROM teams WHERE code = :code")
_VOLUNTEER = sa.text("SELECT 1 FROM volunteers WHERE id = :id")


def require_unit(session: Session, unit_code: str) -> None:
    """Raise ``UnitUnknown`` unless the register of units announced the unit."""
    if session.scalar(_UNIT, {"code": unit_code}) is None:
        raise domain.UnitUnknown(unit_code)


def require_team(session: Session, team_code: str) -> str:
    """Return the code of the team's unit, or raise ``TeamUnknown``."""
    unit_code: str | None = session.scalar(_TEAM, {"code": team_code})
    if unit_code is None:
        raise domain.TeamUnknown(team_code)
    return unit_code


def create_team(session: Session, form: Mapping[str, Any], *, now: datetime) -> str:
    """Register a team of a known unit and return its code; raises ``UnitUnknown`` or ``TeamCodeTaken``."""
    require_unit(session, form["unit_code"])
    row = {"code": form["code"], "name": form["name"], "unit_code": form["unit_code"], "now": now}
    code: str | None = session.scalar(_INSERT, row)
    if code is None:
        raise domain.TeamCodeTaken(form["code"])
    return code


def add_member(session: Session, team_code: str, volunteer_id: UUID, *, now: datetime) -> dict[str, Any]:
    """Make a volunteer a member of a team; one who is a member already stays one since then.

    Raises ``TeamNotFound`` or ``VolunteerUnknown``.
    """
    if session.scalar(_TEAM, {"code": team_code}) is None:
        raise registry.TeamNotFound(team_code)
    if session.scalar(_VOLUNTEER, {"id": volunteer_id}) is None:
        raise domain.VolunteerUnknown
    joined_at = join_team(session, team_code, volunteer_id, now=now)
    return {"team_code": team_code, "volunteer_id": volunteer_id, "joined_at": joined_at}


def join_team(session: Session, team_code: str, volunteer_id: UUID, *, now: datetime) -> datetime:
    """Enter a membership of an existing team and volunteer; return since when it lasts."""
    row = {"team_code": team_code, "volunteer_id": volunteer_id, "now": now}
    joined_at: datetime = session.scalar(_JOIN, row) or session.scalar(_JOINED_AT, row)
    return joined_at
