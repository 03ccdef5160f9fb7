"""The ways into what two persons do: claims of hours, and large reversals; ``Volunteers`` inherits them."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.web.pages import Answer, Listed

from . import domain
from .commands import claims, reversals
from .domain import claims as rules
from .models import Entry
from .queries import claims as queries
from .schemas import claims as schemas
from .schemas import hours as hours_schemas

HOURS_ERRORS = (
    domain.VolunteerUnknown,
    domain.ConsentRequired,
    domain.VolunteerNotVerified,
    domain.ActivityUnknown,
    domain.InvalidHours,
    domain.EndsBeforeStart,
    domain.ServedInFuture,
    domain.OutsideActivity,
    domain.OverlappingService,
    domain.DayLimitExceeded,
)


class ClaimEntrypoints:
    """Hours claimed by one and approved by another; reversals asked for by one and decided by another."""

    runtime: Runtime

    @http(
        "POST",
        "/v1/claims",
        right="hours:claim",
        accepts=schemas.ClaimHours,
        returns=schemas.Claim,
        status=201,
        errors=(*HOURS_ERRORS, rules.ClaimRecorded, rules.ClaimOverlaps),
    )
    def claim_hours(self, session: Session, body: dict[str, Any]) -> Answer:
        """Claim hours for somebody else to approve: 201 with the claim, or 200 with the one that waits already."""
        keys = self.runtime.keys
        made, new = claims.make_claim(session, keys, body, now=database_now(session))
        shown = queries.claim(session, keys, made)
        return Answer(shown, status=201 if new else 200, headers={"Location": f"/v1/claims/{made}"})

    @http(
        "POST",
        "/v1/claims/{id:uuid}:approve",
        right="hours:approve",
        returns=schemas.Claim,
        errors=(*HOURS_ERRORS, rules.ClaimNotFound, rules.OwnClaim, rules.ClaimDecided, rules.ClaimRecorded),
    )
    def approve_claim(self, session: Session, id: UUID) -> dict[str, Any]:
        """Enter claimed hours in the ledger; approving again changes nothing."""
        claims.approve_claim(session, id, now=database_now(session))
        return queries.claim(session, self.runtime.keys, id)

    @http(
        "POST",
        "/v1/claims/{id:uuid}:refuse",
        right="hours:approve",
        accepts=schemas.Refuse,
        returns=schemas.Claim,
        errors=(rules.ClaimNotFound, rules.OwnClaim, rules.ClaimDecided),
    )
    def refuse_claim(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Refuse a claim of hours and say why; refusing again changes nothing."""
        claims.refuse_claim(session, id, body["reason"], now=database_now(session))
        return queries.claim(session, self.runtime.keys, id)

    @http(
        "POST",
        "/v1/claims/{id:uuid}:withdraw",
        right="hours:claim",
        returns=schemas.Claim,
        errors=(rules.ClaimNotFound, rules.ClaimNotYours, rules.ClaimDecided),
    )
    def withdraw_claim(self, session: Session, id: UUID) -> dict[str, Any]:
        """Take back a claim that one made and that waits; withdrawing again changes nothing."""
        claims.withdraw_claim(session, id, now=database_now(session))
        return queries.claim(session, self.runtime.keys, id)

    @http(
        "GET",
        "/v1/claims/{id:uuid}",
        right="hours:read",
        returns=schemas.Claim,
        errors=(rules.ClaimNotFound,),
    )
    def claim(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return a claim of hours."""
        return queries.claim(session, self.runtime.keys, id)

    @http("GET", "/v1/claims", right="hours:read", query=schemas.ClaimQuery, returns=schemas.Claim)
    def claims(self, session: Session, query: dict[str, Any]) -> Listed:
        """List claims of hours, the oldest first."""
        return queries.claims_list(session, self.runtime.keys, query)

    @http(
        "POST",
        "/v1/hours/{id:uuid}:reverse",
        right="hours:reverse",
        accepts=hours_schemas.ReverseEntry,
        returns=hours_schemas.LedgerEntry,
        status=201,
        later=schemas.ReversalRequest,
        errors=(domain.EntryNotFound, domain.EntryAlreadyReversed, domain.ReversalIsFinal),
    )
    def reverse_entry(self, session: Session, id: UUID, body: dict[str, Any]) -> Answer:
        """Take an entry back by a reversal; one of many minutes waits for somebody else to decide (202)."""
        made = reversals.reverse_entry(session, id, body["reason_code"], database_now(session))
        if isinstance(made, Entry):
            return Answer(made)
        return Answer(queries.reversal_request(session, made), status=202)

    @http(
        "POST",
        "/v1/reversal-requests/{id:uuid}:approve",
        right="hours:decide_reversal",
        returns=schemas.ReversalRequest,
        errors=(rules.ReversalNotFound, rules.OwnReversal, rules.ReversalDecided, domain.EntryAlreadyReversed),
    )
    def approve_reversal(self, session: Session, id: UUID) -> dict[str, Any]:
        """Take back the entry that somebody else asked for; approving again changes nothing."""
        reversals.approve_reversal(session, id, now=database_now(session))
        return queries.reversal_request(session, id)

    @http(
        "POST",
        "/v1/reversal-requests/{id:uuid}:refuse",
        right="hours:decide_reversal",
        accepts=schemas.Refuse,
        returns=schemas.ReversalRequest,
        errors=(rules.ReversalNotFound, rules.OwnReversal, rules.ReversalDecided),
    )
    def refuse_reversal(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Leave an entry as it is and say why; refusing again changes nothing."""
        reversals.refuse_reversal(session, id, body["reason"], now=database_now(session))
        return queries.reversal_request(session, id)

    @http(
        "GET",
        "/v1/reversal-requests",
        right="hours:read",
        query=schemas.ReversalQuery,
        returns=schemas.ReversalRequest,
    )
    def reversal_requests(self, session: Session, query: dict[str, Any]) -> Listed:
        """List reversals that somebody asked for and another decides on, the oldest first."""
        return queries.reversal_requests_list(session, query)
