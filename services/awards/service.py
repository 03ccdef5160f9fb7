"""The way in to awards: what it listens to and what it answers."""

from datetime import timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.markers import http, subscribe
from xinhuo.chassis.reconcile.compare import PATIENCE
from xinhuo.chassis.reconcile.entrypoints import Books, NightlyReconciliation
from xinhuo.chassis.reconcile.results import Result
from xinhuo.chassis.rules import NoRuleInForce
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Listed
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed, PersonErased

from . import commands, queries, reconciliation, schemas


class Awards(Books, NightlyReconciliation, Service):
    """Stars for service time: earned at dated thresholds, withdrawn by the reversal that goes below."""

    name = "awards"
    books = reconciliation.BOOKS
    copies = reconciliation.COPIES

    def compare_tables(self, patience: timedelta = PATIENCE) -> list[Result]:
        """Compare what the tables of this service say among themselves."""
        return reconciliation.compare_tallies(self.runtime.db, patience)

    @property
    def zone(self) -> ZoneInfo:
        """The office's time zone, which says what day it is."""
        return ZoneInfo(self.runtime.settings.time_zone)

    @subscribe(HoursLogged, HoursReversed, gather=0.25)
    def add_to_tally(self, session: Session, envelopes: list[Envelope]) -> None:
        """Count the hours of each volunteer; announce stars earned and withdrawn."""
        commands.add_to_tally(session, envelopes, self.zone)

    @subscribe(PersonErased)
    def forget_person(self, session: Session, envelopes: list[Envelope]) -> None:
        """Show nobody the stars of persons who were erased; they stay counted."""
        commands.forget_persons(session, envelopes)

    @http(
        "GET",
        "/v1/volunteers/{id:uuid}/stars",
        right="stars:read",
        returns=schemas.VolunteerStars,
        errors=(queries.VolunteerNotFound,),
    )
    def volunteer_stars(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return a volunteer's star, why it is this one, and every occurrence."""
        return queries.stars_of(session, id, database_now(session).astimezone(self.zone).date())

    @http("GET", "/v1/stars", right="stars:read", query=schemas.StarsQuery, returns=schemas.Award)
    def earned_stars(self, session: Session, query: dict[str, Any]) -> Listed:
        """List the stars that were earned, newest first."""
        return queries.earned_stars(session, query)

    @http("GET", "/v1/stars/counts", right="statistics:read", returns=schemas.StarCounts)
    def star_counts(self, session: Session) -> dict[str, Any]:
        """Count the stars that were earned and those that are held."""
        return queries.star_counts(session)

    @http(
        "GET",
        "/v1/stars/thresholds",
        right="rules:read",
        query=schemas.OnDay,
        returns=schemas.Thresholds,
        errors=(NoRuleInForce,),
    )
    def star_thresholds(self, session: Session, query: dict[str, Any]) -> dict[str, Any]:
        """Return the star thresholds in force today or on a given day."""
        day = query["on"] or database_now(session).astimezone(self.zone).date()
        return queries.thresholds_on(day)
