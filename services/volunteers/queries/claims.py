"""Claims of hours, and requests for reversals, with what was decided on them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import rows
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.security import Keys
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import reach, sealed
from ..domain import claims as rules
from ..models import hour_claims, ledger_entries, reversal_requests, volunteers

_CLAIMS = sa.select(*hour_claims.c)
_REQUESTS = sa.select(*reversal_requests.c, ledger_entries.c.volunteer_id, ledger_entries.c.minutes).join(
    ledger_entries, ledger_entries.c.id == reversal_requests.c.entry_id
)


def claim(session: Session, keys: Keys, claim_id: UUID) -> dict[str, Any]:
    """Return one claim; raises ``ClaimNotFound``."""
    wanted = _CLAIMS.where(hour_claims.c.id == claim_id, *reach.of_claims(session))
    found = _opened(session, keys, wanted)
    if not found:
        raise rules.ClaimNotFound(str(claim_id))
    return found[0]


def claims_list(session: Session, keys: Keys, query: Mapping[str, Any]) -> Listed:
    """Return a page of claims, the oldest first."""
    wanted = _CLAIMS.where(*reach.of_claims(session)).order_by(hour_claims.c.id)
    for field, column in (
        ("state", hour_claims.c.state),
        ("volunteer", hour_claims.c.volunteer_id),
        ("activity", hour_claims.c.activity_id),
        ("team", hour_claims.c.team_code),
        ("unit", hour_claims.c.unit_code),
    ):
        if query[field] is not None:
            wanted = wanted.where(column == query[field])
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(hour_claims.c.id > cursor[0])
    found = _opened(session, keys, wanted.limit(query["limit"] + 1))
    return page_of(found, query["limit"], lambda row: (row["id"],))


def claims_of(session: Session, keys: Keys, volunteer_id: UUID) -> list[dict[str, Any]]:
    """Return every claim of hours of a person, the oldest first."""
    return _opened(session, keys, _CLAIMS.where(hour_claims.c.volunteer_id == volunteer_id).order_by(hour_claims.c.id))


def _opened(session: Session, keys: Keys, wanted: sa.Select[Any]) -> list[dict[str, Any]]:
    """Return claims with their evidence in clear: None of who was erased, or whose guardian withdrew the consent."""
    found = rows(session.execute(wanted))
    may_read = sa.and_(sa.true(), *reach.not_withdrawn(session)).label("may_read")
    ids = {row["volunteer_id"] for row in found}
    persons = sa.select(volunteers.c.id, *sealed.KEY, may_read).select_from(sealed.WITH_KEYS)
    with wide(session):  # who served here may be of another unit
        owners = {row["id"]: row for row in rows(session.execute(persons.where(volunteers.c.id.in_(ids))))}
    for row in found:
        owner = owners[row["volunteer_id"]]
        readable = row["evidence"] is not None and owner["may_read"]
        row["evidence"] = sealed.key_of(keys, owner).decrypt(row["evidence"], sealed.EVIDENCE) if readable else None
    return found


def reversal_request(session: Session, request_id: UUID) -> dict[str, Any]:
    """Return one request that is known to be there."""
    return dict(session.execute(_REQUESTS.where(reversal_requests.c.id == request_id)).mappings().one())


def reversal_requests_list(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of the requests for reversals, the oldest first."""
    wanted = _REQUESTS.where(*reach.of_entries(session)).order_by(reversal_requests.c.id).limit(query["limit"] + 1)
    if query["state"] is not None:
        wanted = wanted.where(reversal_requests.c.state == query["state"])
    if cursor := read_cursor(query["after"], UUID):
        wanted = wanted.where(reversal_requests.c.id > cursor[0])
    return page_of(rows(session.execute(wanted)), query["limit"], lambda row: (row["id"],))
