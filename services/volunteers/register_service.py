"""The ways into the register: where volunteers stand, corrections, tags; ``Volunteers`` inherits them."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.markers import http
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.web.pages import Listed

from . import domain
from .commands import corrections, standing
from .commands.limits import person_tags
from .domain import corrections as correction_rules
from .domain import standing as standing_rules
from .domain.consents import ConsentWithdrawn
from .domain.rights import PersonErased
from .domain.tags import TagUnknown
from .queries import corrections as correction_queries
from .queries import people as people_queries
from .schemas import people as people_schemas
from .schemas import register as schemas


class RegisterEntrypoints:
    """What becomes of somebody in the register after he was entered."""

    runtime: Runtime

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:suspend",
        right="people:verify",
        accepts=schemas.Suspend,
        returns=people_schemas.VolunteerWithTotal,
        errors=(domain.VolunteerNotFound, PersonErased, standing_rules.HasLeft, standing_rules.WaitsForGuardian),
    )
    def suspend_volunteer(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Suspend a volunteer, who then gets no new hours; those that there are stay."""
        standing.suspend_volunteer(session, id, body["reason_code"])
        return people_queries.volunteer(session, self.runtime.keys, id)

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:resume",
        right="people:verify",
        returns=people_schemas.VolunteerWithTotal,
        errors=(domain.VolunteerNotFound, PersonErased, ConsentWithdrawn),
    )
    def resume_volunteer(self, session: Session, id: UUID) -> dict[str, Any]:
        """Bring back a volunteer who was suspended or has left; who had left is verified anew."""
        standing.resume_volunteer(session, self.runtime.keys, id, now=database_now(session))
        return people_queries.volunteer(session, self.runtime.keys, id)

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:leave",
        right="people:leave",
        accepts=schemas.Leave,
        returns=people_schemas.VolunteerWithTotal,
        errors=(domain.VolunteerNotFound, PersonErased),
    )
    def leave(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """End a volunteer's registration; hours, teams and certificates of the past stay."""
        standing.leave(session, id, body["reason_code"])
        return people_queries.volunteer(session, self.runtime.keys, id)

    @http(
        "POST",
        "/v1/volunteers/{id:uuid}:correct",
        right="people:correct",
        accepts=schemas.Correct,
        returns=people_schemas.VolunteerWithTotal,
        errors=(
            domain.VolunteerNotFound,
            PersonErased,
            ConsentWithdrawn,
            correction_rules.NothingToCorrect,
            domain.InvalidName,
            domain.InvalidIdNumber,
            domain.FifteenDigitId,
            domain.WrongCheckDigit,
            domain.InvalidPhone,
            domain.VolunteerExists,
            TagUnknown,
        ),
    )
    def correct_person(self, session: Session, id: UUID, body: dict[str, Any]) -> dict[str, Any]:
        """Correct what the register says of a person; what it said before is kept, readable to the person."""
        corrections.correct_person(session, self.runtime.keys, id, body, now=database_now(session))
        return people_queries.volunteer(session, self.runtime.keys, id)

    @http(
        "GET",
        "/v1/volunteers/{id:uuid}/corrections",
        right="people:read",
        query=schemas.CorrectionQuery,
        returns=schemas.Correction,
        errors=(domain.VolunteerNotFound,),
    )
    def corrections(self, session: Session, id: UUID, query: dict[str, Any]) -> Listed:
        """List what was corrected of a person, by whom, when and why, with what was before, masked."""
        return correction_queries.corrections_list(session, self.runtime.keys, id, query)

    @http("GET", "/v1/person-tags", right="rules:read", returns=schemas.Tags)
    def person_tags(self, session: Session) -> dict[str, Any]:
        """Return the tags that a person can have, with what users read."""
        tags = person_tags(domain.local_date(database_now(session)))
        return {"items": list(tags.values())}
