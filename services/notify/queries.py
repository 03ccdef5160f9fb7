"""What reads messages: a volunteer's inbox, and how much was acknowledged."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import rows
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .models import messages


def inbox(session: Session, volunteer_id: UUID, query: dict[str, Any]) -> Listed:
    """Return a page of a volunteer's messages, newest first, and the number of all that are unread."""
    wanted = sa.select(messages).where(messages.c.volunteer_id == volunteer_id)
    if query["unread"]:
        wanted = wanted.where(messages.c.read_at.is_(None))
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(messages.c.id < cursor[0])
    found = rows(session.execute(wanted.order_by(messages.c.id.desc()).limit(query["limit"] + 1)))
    mine_unread = (messages.c.volunteer_id == volunteer_id) & messages.c.read_at.is_(None)
    unread = session.scalar(sa.select(sa.func.count()).select_from(messages).where(mine_unread))
    page = page_of(found, query["limit"], lambda row: (row["id"],))
    return replace(page, totals={"unread": unread})


def acknowledgement_counts(session: Session) -> dict[str, Any]:
    """Return how many acknowledgements were written, in all and by occasion."""
    number = sa.func.count().label("number")
    found = session.execute(sa.select(messages.c.occasion, number).group_by(messages.c.occasion))
    counted: dict[str, int] = {row.occasion: row.number for row in found}
    return {"total": sum(counted.values()), "by_occasion": counted}
