"""Lists of what is kept about one person, sealed with his key."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach, sealed
from ..models import person_keys


def with_key(table: sa.Table) -> sa.Select[Any]:
    """Return the rows of a table with ``volunteer_id``, each with the person's key."""
    keys = table.outerjoin(person_keys, person_keys.c.volunteer_id == table.c.volunteer_id)
    return sa.select(*table.c, *sealed.KEY).select_from(keys)


def page_of_person(
    session: Session,
    table: sa.Table,
    volunteer_id: UUID,
    query: Mapping[str, Any],
    shown: Callable[[Mapping[Any, Any]], dict[str, Any]],
) -> Listed:
    """Return a page of a person's rows as they are ``shown``, the oldest first; raises ``VolunteerNotFound``."""
    if not reach.reaches_volunteer(session, volunteer_id):
        raise domain.VolunteerNotFound(str(volunteer_id))
    wanted = with_key(table).where(table.c.volunteer_id == volunteer_id)
    wanted = wanted.order_by(table.c.id).limit(query["limit"] + 1)
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(table.c.id > cursor[0])
    found = [shown(row) for row in session.execute(wanted).mappings()]
    return page_of(found, query["limit"], lambda row: (row["id"],))
