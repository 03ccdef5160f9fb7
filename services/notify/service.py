"""The way in to notify: what it listens to and what it answers."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.markers import http, subscribe
from xinhuo.chassis.reconcile.entrypoints import NightlyReconciliation
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Listed
from xinhuo.contracts.awards import StarEarned
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.volunteers import HoursLogged, PersonErased

from . import commands, queries, reconciliation, schemas


class Notify(NightlyReconciliation, Service):
    """Tells volunteers what they need to know: thanks for hours, congratulations on stars, an inbox."""

    name = "notify"
    copies = reconciliation.COPIES

    @subscribe(HoursLogged)
    def acknowledge_hours(self, session: Session, envelopes: list[Envelope]) -> None:
        """Thank volunteers for the time they gave."""
        commands.acknowledge_hours(session, envelopes)

    @subscribe(StarEarned)
    def acknowledge_star(self, session: Session, envelopes: list[Envelope]) -> None:
        """Congratulate volunteers on a star."""
        commands.acknowledge_star(session, envelopes)

    @subscribe(PersonErased)
    def forget_person(self, session: Session, envelopes: list[Envelope]) -> None:
        """Empty what was told to persons who were erased; that it was told stays counted."""
        commands.forget_persons(session, envelopes)

    @http(
        "GET", "/v1/volunteers/{id:uuid}/inbox", right="inbox:read", query=schemas.InboxQuery, returns=schemas.Message
    )
    def inbox(self, session: Session, id: UUID, query: dict[str, Any]) -> Listed:
        """List a volunteer's messages, newest first, with the number of unread ones."""
        return queries.inbox(session, id, query)

    @http(
        "POST",
        "/v1/messages/{id:uuid}:read",
        right="inbox:read",
        returns=schemas.Message,
        errors=(commands.MessageNotFound,),
    )
    def read_message(self, session: Session, id: UUID) -> dict[str, Any]:
        """Note that a message was read; doing so again changes nothing."""
        return commands.read_message(session, id)

    @http("GET", "/v1/acknowledgements/count", right="statistics:read", returns=schemas.AcknowledgementCounts)
    def acknowledgement_counts(self, session: Session) -> dict[str, Any]:
        """Count the acknowledgements that were written, in all and by occasion."""
        return queries.acknowledgement_counts(session)
