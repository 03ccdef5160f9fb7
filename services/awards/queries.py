"""What reads stars: plain data for one volunteer, for all, and the thresholds themselves."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import rows
from xinhuo.chassis.errors import NotFound
from xinhuo.chassis.identity.actor import Reach, access_of
from xinhuo.chassis.identity.reached import FEWEST_PERSONS, reaches_person
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.rules import DatedRule
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from . import domain, thresholds
from .models import erased_persons, stars, tallies


class VolunteerNotFound(NotFound):
    """There is no such volunteer for this caller"""

    code = "stars.volunteer_not_found"
    title = "没有这名志愿者"

    def __init__(self) -> None:
        super().__init__(
            "没有这名志愿者，或其星级不在您可查看的范围内。",
            "There is no such volunteer, or not within what you may see.",
        )


def stars_of(session: Session, volunteer_id: UUID, today: date) -> dict[str, Any]:
    """Return a volunteer's star, why it is this one, and every occurrence of every star.

    A volunteer of whom no service time is known has no star and 0 minutes: who exists is not known here. Raises
    ``VolunteerNotFound`` for one out of reach, or erased.
    """
    reached = reaches_person(access_of(session), sa.literal(volunteer_id, sa.Uuid))
    erased = sa.exists().where(erased_persons.c.volunteer_id == volunteer_id)
    if not session.scalar(sa.select(sa.and_(~erased, *reached))):
        raise VolunteerNotFound()
    # Both in one statement, so that star and minutes are those of one moment.
    found = session.execute(
        sa.select(tallies.c.minutes, *(column for column in stars.c if column.name != "volunteer_id"))
        .select_from(tallies.outerjoin(stars))
        .where(tallies.c.volunteer_id == volunteer_id)
        .order_by(stars.c.star, stars.c.occurrence)
    )
    known = rows(found)
    occurrences = [_explained(row) for row in known if row["award_id"] is not None]
    held = [row for row in occurrences if row["withdrawn_at"] is None]
    star = held[-1]["star"] if held else 0
    minutes = known[0]["minutes"] if known else 0
    rule = _explaining(minutes, held, today)
    why = domain.explain(minutes, rule.value)
    return {
        "volunteer_id": volunteer_id,
        "star": star,
        "name": domain.STAR_NAMES[star - 1] if star else None,
        "minutes": minutes,
        "explanation": why.zh,
        "explanation_en": why.en,
        "clause": why.clause,
        "rule": rule.reference,
        "occurrences": occurrences,
    }


def _explaining(minutes: int, held: list[dict[str, Any]], today: date) -> DatedRule[domain.Thresholds]:
    """Return today's thresholds, or those by which a star is held that today's would not give any more."""
    rule = thresholds.on(today)
    if held and domain.star_for(minutes, rule.value) != held[-1]["star"]:
        return thresholds.by_reference(held[-1]["rule"]) or rule
    return rule


def _explained(row: dict[str, Any]) -> dict[str, Any]:
    rule = thresholds.by_reference(row["rule"])
    return {**row, "name": domain.STAR_NAMES[row["star"] - 1], "clause": rule.clause if rule else None}


def earned_stars(session: Session, query: dict[str, Any]) -> Listed:
    """Return a page of the stars that were earned, newest first, of one star only when ``star`` is given."""
    reached = reaches_person(access_of(session), stars.c.volunteer_id)
    wanted = (
        sa.select(stars)
        .where(*reached, ~sa.exists().where(erased_persons.c.volunteer_id == stars.c.volunteer_id))
        .order_by(stars.c.earned_at.desc(), stars.c.award_id.desc())
        .limit(query["limit"] + 1)
    )
    if query["star"] is not None:
        wanted = wanted.where(stars.c.star == query["star"])
    if cursor := read_cursor(query["after"], _instant, UUID):
        wanted = wanted.where(sa.tuple_(stars.c.earned_at, stars.c.award_id) < sa.tuple_(*cursor))
    found = [_explained(row) for row in rows(session.execute(wanted))]
    return page_of(found, query["limit"], lambda row: (row["earned_at"], row["award_id"]))


def _instant(text: str) -> datetime:
    """Read an instant of a cursor; raises ValueError, for one without offset too."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError
    return instant


def star_counts(session: Session) -> dict[str, Any]:
    """Return how often each star was earned and how often it is held now.

    Who sees statistics as everybody may gets no number of fewer than FEWEST_PERSONS: it would tell of them.
    """
    held = sa.func.count().filter(stars.c.withdrawn_at.is_(None))
    wanted = (
        sa.select(
            stars.c.star,
            sa.func.count().label("earned"),
            held.label("held"),
            # One person may earn a star again and again, and holds it once.
            sa.func.count(stars.c.volunteer_id.distinct()).label("persons"),
        )
        .group_by(stars.c.star)
        .order_by(stars.c.star)
    )
    with wide(session):
        counted = rows(session.execute(wanted))
    everything = access_of(session).reach is Reach.ALL
    shown = [
        {
            "star": row["star"],
            "earned": row["earned"] if everything or row["persons"] >= FEWEST_PERSONS else None,
            "held": row["held"] if everything or row["held"] == 0 or row["held"] >= FEWEST_PERSONS else None,
        }
        for row in counted
    ]
    return {
        # Sums of what is shown: with the others in them, they would tell what is not.
        "earned": sum(row["earned"] or 0 for row in shown),
        "held": sum(row["held"] or 0 for row in shown),
        "stars": [{**row, "name": domain.STAR_NAMES[row["star"] - 1]} for row in shown],
    }


def thresholds_on(day: date) -> dict[str, Any]:
    """Return the thresholds in force on a day, with what they rest on; raises NoRuleInForce."""
    rule = thresholds.on(day)
    return {
        "rule": rule.reference,
        "title": rule.title,
        "title_en": rule.title_en,
        "valid_from": rule.valid_from,
        "valid_until": rule.valid_until,
        "locality": rule.locality,
        "clause": rule.clause,
        "stars": [
            {"star": star, "name": domain.STAR_NAMES[star - 1], "threshold_minutes": minutes}
            for star, minutes in enumerate(rule.value.minutes, 1)
        ],
    }
