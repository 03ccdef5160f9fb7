"""The ways into notices: each method calls one use case."""

from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.errors import ChangedMeanwhile
from xinhuo.chassis.markers import http
from xinhuo.chassis.metrics import Figure
from xinhuo.chassis.service import Service
from xinhuo.chassis.web.pages import Answer, Listed

from . import commands, domain, queries, schemas
from . import figures as campaign
from .domain import refusals

_UNIT_ERRORS = (
    refusals.UnitKindUnknown,
    refusals.NamedTwice,
    domain.ParentUnknown,
    domain.InvalidHeadCount,
    domain.CountedInFuture,
)
_DRAFT_ERRORS = (
    domain.InvalidNumber,
    domain.NumberTaken,
    domain.InvalidPeriod,
    domain.ImplausibleDate,
    refusals.UnitInDraftUnknown,
    refusals.UnitKindUnknown,
    refusals.NamedTwice,
    refusals.ServiceClassUnknown,
    refusals.ReasonNotFitting,
    refusals.DeadlineMissing,
    refusals.DueBeforeIssued,
)
_ISSUE_ERRORS = (
    domain.NoticeNotFound,
    domain.AddresseeUnknown,
    domain.NoAddressees,
    refusals.BeyondAddressees,
    refusals.NoticeTooLarge,
)


class Notices(Service):
    """Units, notices with their categories, and the obligations that follow from them."""

    name: ClassVar[str] = "notices"

    def figures(self, session: Session) -> Iterable[Figure]:
        """See ``Service``."""
        return campaign.figures(session)

    @http(
        "POST",
        "/v1/units",
        right="units:write",
        accepts=schemas.RegisterUnit,
        returns=schemas.Unit,
        status=201,
        errors=(domain.UnitCodeTaken, *_UNIT_ERRORS),
    )
    def register_unit(self, session: Session, body: dict[str, Any]) -> Answer:
        """Enter a school, town or office in the register."""
        unit = commands.register_unit(session, body, commands.office_today(session))
        return _tagged(queries.shown_unit(unit), f"/v1/units/{unit['code']}")

    @http(
        "PATCH",
        "/v1/units/{code}",
        right="units:write",
        accepts=schemas.ChangeUnit,
        returns=schemas.Unit,
        errors=(domain.UnitNotFound, ChangedMeanwhile, refusals.ParentCycle, *_UNIT_ERRORS),
    )
    def change_unit(self, session: Session, code: str, body: dict[str, Any], if_match: str) -> Answer:
        """Change a registered unit."""
        today = commands.office_today(session)
        return _tagged(queries.shown_unit(commands.change_unit(session, code, body, if_match, today)))

    @http("GET", "/v1/units", right="units:read", query=schemas.UnitsQuery, returns=schemas.Unit)
    def list_units(self, session: Session, query: dict[str, Any]) -> Listed:
        """List registered units by code."""
        return queries.list_units(session, query)

    @http("GET", "/v1/units/{code}", right="units:read", returns=schemas.Unit, errors=(domain.UnitNotFound,))
    def show_unit(self, session: Session, code: str) -> Answer:
        """Show one unit."""
        return _tagged(queries.unit(session, code))

    @http(
        "POST",
        "/v1/notices",
        right="notices:write",
        accepts=schemas.DraftNotice,
        returns=schemas.Notice,
        status=201,
        errors=_DRAFT_ERRORS,
    )
    def draft_notice(self, session: Session, body: dict[str, Any]) -> Answer:
        """Draft a notice; it binds nobody before it is issued."""
        notice_id = commands.draft_notice(session, body)
        return _tagged(queries.notice(session, notice_id), f"/v1/notices/{notice_id}")

    @http(
        "PATCH",
        "/v1/notices/{id:uuid}",
        right="notices:write",
        accepts=schemas.CHANGE_DRAFT,
        returns=schemas.Notice,
        errors=(domain.NoticeNotFound, domain.NoticeAlreadyIssued, ChangedMeanwhile, *_DRAFT_ERRORS),
    )
    def change_draft(self, session: Session, id: UUID, body: dict[str, Any], if_match: str) -> Answer:
        """Replace parts of a draft."""
        commands.change_draft(session, id, body, if_match)
        return _tagged(queries.notice(session, id))

    @http("POST", "/v1/notices/{id:uuid}:issue", right="notices:write", returns=schemas.Notice, errors=_ISSUE_ERRORS)
    def issue_notice(self, session: Session, id: UUID) -> Answer:
        """Issue a notice: whom it binds is fixed, and each unit has its obligations."""
        commands.issue_notice(session, id)
        return _tagged(queries.notice(session, id))

    @http("GET", "/v1/notices", right="notices:read", query=schemas.NoticesQuery, returns=schemas.NoticeSummary)
    def list_notices(self, session: Session, query: dict[str, Any]) -> Listed:
        """List notices, the newest first."""
        return queries.list_notices(session, query)

    @http("GET", "/v1/notices/{id:uuid}", right="notices:read", returns=schemas.Notice, errors=(domain.NoticeNotFound,))
    def show_notice(self, session: Session, id: UUID) -> Answer:
        """Show one notice with everything it says."""
        return _tagged(queries.notice(session, id))

    @http(
        "GET",
        "/v1/notices/{id:uuid}/obligations",
        right="obligations:read",
        query=schemas.ObligationsQuery,
        returns=schemas.UnitObligation,
        errors=(domain.NoticeNotFound,),
    )
    def list_obligations(self, session: Session, id: UUID, query: dict[str, Any]) -> Listed:
        """List the duties of single units that follow from a notice."""
        return queries.list_obligations(session, id, query)


def _tagged(shown: dict[str, Any], location: str | None = None) -> Answer:
    """Answer with the revision as ETag, and with the address of what was made."""
    headers = {"ETag": f'"{shown["revision"]}"'}
    if location is not None:
        headers["Location"] = location
    return Answer(shown, headers=headers)
