"""Activities at which volunteers serve."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis import audit
from xinhuo.chassis.ids import new_id

from .. import domain, reach
from ..domain import registry
from ..models import activities
from .teams import require_team, require_unit

_INSERT = sa.text(
    """
    INSERT INTO activities (id, number, title, team_code, unit_code, category, notice_id, notice_number,
        starts_at, ends_at, place, created_at)
    VALUES (:id, :number, :title, :team_code, :unit_code, :category, :notice_id, :notice_number,
        :starts_at, :ends_at, :place, :now)
    ON CONFLICT (number) DO NOTHING
    RETURNING id
    """
)
_COUNT = sa.text(
    """
    INSERT INTO activity_counters AS counter (year, last) VALUES (:year, 1)
    ON CONFLICT (year) DO UPDATE SET last = counter.last + 1
    RETURNING last
    """
)
_NOTICE = sa.text(
    "SELECT notice_id, categories FROM known_notices WHERE number = :number ORDER BY issued_on DESC LIMIT 1"
)


def create_activity(session: Session, form: Mapping[str, Any], *, now: datetime) -> UUID:
    """Register an activity, past ones included, and return its id.

    ``form`` has title, team_code, category, starts_at, ends_at, place and perhaps number, unit_code (else the
    team's) and notice (a number, whose categories then bind). Raises ``TeamUnknown``, ``UnitUnknown``,
    ``NoticeUnknown``, ``CategoryNotInNotice``, ``InvalidActivityTime`` or ``ActivityNumberTaken``.
    """
    starts_at, ends_at = domain.check_activity_time(form["starts_at"], form["ends_at"])
    unit_code = require_team(session, form["team_code"])
    if form.get("unit_code") not in (None, unit_code):
        unit_code = form["unit_code"]
        require_unit(session, unit_code)
    notice = form.get("notice")
    row = {
        "id": new_id(),
        "number": form.get("number"),
        "title": form["title"],
        "team_code": form["team_code"],
        "unit_code": unit_code,
        "category": form["category"],
        "notice_id": _open_notice(session, notice, form["category"]) if notice is not None else None,
        "notice_number": notice,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "place": form["place"],
        "now": now,
    }
    if row["number"] is None:
        _insert_with_next_number(session, row, domain.local_date(starts_at).year)
    elif session.scalar(_INSERT, row) is None:
        taken = sa.select(activities.c.id).where(activities.c.number == row["number"], *reach.of_activities(session))
        other = session.scalar(taken)
        raise registry.ActivityNumberTaken(row["number"], str(other) if other else None)
    made: UUID = row["id"]
    audit.record(session, "activity.created", "activity", made, after=row)
    return made


def _open_notice(session: Session, number: str, category: str) -> UUID:
    found = session.execute(_NOTICE, {"number": number}).one_or_none()
    if found is None:
        raise domain.NoticeUnknown(number)
    domain.check_category(category, found.categories, number=number)
    notice_id: UUID = found.notice_id
    return notice_id


def _insert_with_next_number(session: Session, row: dict[str, Any], year: int) -> None:
    while True:
        row["number"] = registry.activity_number(year, session.scalar(_COUNT, {"year": year}))
        if session.scalar(_INSERT, row) is not None:
            return
        # Somebody chose this very number by hand: the counter moves on.
