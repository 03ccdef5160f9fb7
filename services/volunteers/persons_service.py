"""The ways into what is a person's own: keys, consents, rights; ``Volunteers`` inherits them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import access_of
from xinhuo.chassis.markers import http, job
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.web.pages import Listed

from . import domain
from .commands import consents, erasure, person_keys
from .commands import unmask as unmask_commands
from .domain import consents as consent_rules
from .domain import rights as rights_rules
from .domain import unmask as unmask_rules
from .queries import consents as consent_queries
from .queries import persons as queries
from .schemas import persons as schemas


class PersonEntrypoints:
    """What concerns one person's data: keys, the clear values, consents, export and erasure."""

    runtime: Runtime

    @job(every=timedelta(seconds=5), when=person_keys.any_without)
    def give_people_their_keys(self, session: Session) -> None:
        """Encrypt with keys of their own those who were registered before there were any."""
        person_keys.give_keys(session, self.runtime.keys)

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:unmask",
        right="people:unmask",
        accepts=schemas.Unmask,
        returns=schemas.Unmasked,
        secret=True,
        errors=(
            domain.VolunteerNotFound,
            rights_rules.PersonErased,
            unmask_rules.UnmaskReasonRequired,
            consent_rules.ConsentWithdrawn,
            unmask_rules.UnmaskApprovalRequired,
        ),
    )
    def unmask(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Return personal fields in clear; each look is entered in the audit log, and each that was refused."""
        runtime = self.runtime
        access = access_of(session)
        return unmask_commands.unmask(runtime.db, runtime.keys, access, id, body["fields"], body["reason"])

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}/unmask-approvals",
        right="people:approve_unmask",
        accepts=schemas.Approve,
        returns=schemas.Approval,
        status=201,
        errors=(domain.VolunteerNotFound, unmask_rules.OwnApproval),
    )
    def approve_unmask(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Let an account see the data of a child in clear for up to seven days."""
        return unmask_commands.approve(session, id, body, now=database_now(session))

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}/consents",
        right="people:consent",
        accepts=schemas.GiveConsent,
        returns=schemas.Consent,
        status=201,
        errors=(
            domain.VolunteerNotFound,
            rights_rules.PersonErased,
            domain.ConsentRequired,
            domain.InvalidName,
            domain.InvalidPhone,
            consent_rules.ConsentNotYours,
            consent_rules.GuardianMissing,
            consent_rules.GivenInFuture,
        ),
    )
    def give_consent(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Enter a consent; a child who waited for that of a guardian then waits for verification."""
        keys = self.runtime.keys
        made = consents.record_consent(session, keys, id, body, now=database_now(session))
        return consent_queries.consent(session, keys, made)

    @http(
        "GET",
        "/v1/volunteers/{id:uuid}/consents",
        right="people:read",
        query=schemas.ConsentQuery,
        returns=schemas.Consent,
        errors=(domain.VolunteerNotFound,),
    )
    def consents(self, session: Session, id: UUID, query: dict[str, Any]) -> Listed:
        """List the consents of a person, withdrawn ones too; guardians are masked."""
        return consent_queries.consents_list(session, self.runtime.keys, id, query)

    @http(
        "POST",
        "/v1/consents/{id:uuid}:withdraw",
        right="people:consent",
        returns=schemas.Consent,
        errors=(consent_rules.ConsentNotFound, consent_rules.ConsentNotYours),
    )
    def withdraw_consent(self, session: Session, id: UUID) -> dict[str, Any]:
        """Withdraw a consent; without one to the registration of a child, nothing more is done with his data."""
        consents.withdraw_consent(session, id, now=database_now(session))
        return consent_queries.consent(session, self.runtime.keys, id)

    @http(
        "GET",
        "/v1/volunteers/{id:uuid}/export",
        right="people:export",
        returns=schemas.Export,
        errors=(domain.VolunteerNotFound, rights_rules.PersonErased),
    )
    def export_person(self, session: Session, id: UUID) -> dict[str, Any]:
        """Return in clear everything that is held about a person, and who looked at it."""
        return queries.export(session, self.runtime.keys, id)

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:request-erasure",
        right="people:ask_erasure",
        returns=schemas.ErasureRequest,
        status=202,
        errors=(domain.VolunteerNotFound, rights_rules.PersonErased),
    )
    def request_erasure(self, session: Session, id: UUID) -> dict[str, Any]:
        """Ask that the personal data be erased; asking again changes nothing while the request is open."""
        made = erasure.request_erasure(session, id, now=database_now(session))
        return queries.erasure_request(session, made)

    @http(
        "GET",
        "/v1/erasure-requests",
        right="people:export",
        query=schemas.ErasureQuery,
        returns=schemas.ErasureRequest,
    )
    def erasure_requests(self, session: Session, query: dict[str, Any]) -> Listed:
        """List requests for erasure, the oldest first."""
        return queries.erasure_requests_list(session, query)

    @http(
        "POST",
        "/v1/erasure-requests/{id:uuid}:decide",
        right="people:decide_erasure",
        accepts=schemas.DecideErasure,
        returns=schemas.ErasureRequest,
        errors=(
            rights_rules.ErasureNotFound,
            rights_rules.ErasureDecided,
            rights_rules.OwnErasure,
            rights_rules.RefusalNeedsReason,
        ),
    )
    def decide_erasure(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Grant an erasure, which is done at once and for good, or refuse it with reasons."""
        erasure.decide_erasure(session, id, **body, now=database_now(session))
        return queries.erasure_request(session, id)
