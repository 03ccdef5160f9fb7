"""Teams and who belongs to them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit

from .. import domain, reach
from ..domain import registry
from ..domain.rights import PersonErased

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
_STATE = sa.text("SELECT state FROM volunteers WHERE id = :id")
_JOINED_AT = sa.text("SELECT joined_at FROM team_members WHERE team_code = :team_code AND volunteer_id = :volunteer_id")


def require_unit(session: Session, unit_code: str) -> None:
    """Raise ``UnitUnknown`` unless the register of units announced the unit, and it is in reach."""
    if not reach.reaches_unit(session, unit_code):
        raise domain.UnitUnknown(unit_code)


def require_team(session: Session, team_code: str) -> str:
    """Return the code of the team's unit, or raise ``TeamUnknown``."""
    unit_code = reach.unit_of_team(session, team_code)
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
    audit.record(session, "team.created", "team", code, after=row)
    return code


def add_member(session: Session, team_code: str, volunteer_id: UUID, *, now: datetime) -> dict[str, Any]:
    """Make a volunteer a member of a team; one who is a member already stays one since then.

    Raises ``TeamNotFound``, ``VolunteerUnknown``, ``ConsentRequired`` for a child who
    waits for a guardian, ``VolunteerNotVerified`` for one who is suspended or has left, or ``PersonErased``.
    """
    if reach.unit_of_team(session, team_code) is None:
        raise registry.TeamNotFound(team_code)
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerUnknown
    state = domain.VolunteerStatus(session.scalar(_STATE, {"id": volunteer_id}))
    domain.check_consented(state)
    if state is domain.VolunteerStatus.ERASED:
        raise PersonErased
    if state in {domain.VolunteerStatus.SUSPENDED, domain.VolunteerStatus.LEFT}:
        domain.check_verified(state)
    joined_at = join_team(session, team_code, volunteer_id, now=now)
    return {"team_code": team_code, "volunteer_id": volunteer_id, "joined_at": joined_at}


def join_team(session: Session, team_code: str, volunteer_id: UUID, *, now: datetime) -> datetime:
    """Enter a membership of an existing team and volunteer; return since when it lasts."""
    row = {"team_code": team_code, "volunteer_id": volunteer_id, "now": now}
    joined_at: datetime | None = session.scalar(_JOIN, row)
    if joined_at is None:
        since: datetime = session.scalar(_JOINED_AT, row)
        return since
    audit.record(session, "volunteer.joined_team", "volunteer", volunteer_id, after=row)
    return joined_at
