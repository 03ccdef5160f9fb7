"""What reads messages: a volunteer's inbox, and how much was acknowledged."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import rows
from xinhuo.chassis.identity.actor import Reach, access_of
from xinhuo.chassis.identity.reached import FEWEST_PERSONS, reaches_person
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .models import forgotten_persons, messages


def inbox(session: Session, volunteer_id: UUID, query: dict[str, Any]) -> Listed:
    """Return a page of a volunteer's messages, newest first, and the number of all that are unread.

    The inbox of a person out of reach is as empty as that of one who was never told anything.
    """
    mine = [messages.c.volunteer_id == volunteer_id, *reaches_person(access_of(session), messages.c.volunteer_id)]
    # One that was being written while the person was forgotten may still have its text.
    mine.append(~sa.exists().where(forgotten_persons.c.volunteer_id == messages.c.volunteer_id))
    wanted = sa.select(messages).where(*mine)
    if query["unread"]:
        wanted = wanted.where(messages.c.read_at.is_(None))
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(messages.c.id < cursor[0])
    found = rows(session.execute(wanted.order_by(messages.c.id.desc()).limit(query["limit"] + 1)))
    mine.append(messages.c.read_at.is_(None))
    unread = session.scalar(sa.select(sa.func.count()).select_from(messages).where(*mine))
    page = page_of(found, query["limit"], lambda row: (row["id"],))
    return replace(page, totals={"unread": unread})


def acknowledgement_counts(session: Session) -> dict[str, Any]:
    """Return how many acknowledgements were written, in all and by occasion.

    Who sees statistics as everybody may gets no occasion of fewer than FEWEST_PERSONS, neither alone nor in the sum.
    """
    number = sa.func.count().label("number")
    wanted = sa.select(messages.c.occasion, number).group_by(messages.c.occasion)
    if access_of(session).reach is not Reach.ALL:
        wanted = wanted.having(sa.func.count(messages.c.volunteer_id.distinct()) >= FEWEST_PERSONS)
    with wide(session):
        counted: dict[str, int] = {row.occasion: row.number for row in session.execute(wanted)}
    return {"total": sum(counted.values()), "by_occasion": counted}
