"""Activities, one and many."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach
from ..models import activities


def activity(session: Session, activity_id: UUID) -> dict[str, Any]:
    """Return one activity; raises ``ActivityNotFound``."""
    found = (
        session.execute(sa.select(activities).where(activities.c.id == activity_id, *reach.of_activities(session)))
        .mappings()
        .one_or_none()
    )
    if found is None:
        raise domain.ActivityNotFound(str(activity_id))
    return dict(found)


def activities_list(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of activities in the order of their registration."""
    statement = (
        sa.select(activities).where(*reach.of_activities(session)).order_by(activities.c.id).limit(query["limit"] + 1)
    )
    if cursor := read_cursor(query["after"], UUID):
        statement = statement.where(activities.c.id > cursor[0])
    for field, column in (
        ("team", activities.c.team_code),
        ("unit", activities.c.unit_code),
        ("category", activities.c.category),
        ("number", activities.c.number),
    ):
        if query.get(field) is not None:
            statement = statement.where(column == query[field])
    found = [dict(row) for row in session.execute(statement).mappings()]
    return page_of(found, query["limit"], lambda row: (row["id"],))
