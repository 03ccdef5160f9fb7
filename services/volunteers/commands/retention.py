"""What is removed of volunteers when its time has come; personal data go as they do when somebody is erased."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from xinhuo.chassis.db import database_now
from xinhuo.chassis.retention.rules import Retention, lines_of, load
from xinhuo.chassis.retention.work import Removal

from .. import domain
from ..models import FILE_EMPTIED
from .erasure import erase

#: Erasing takes some ten statements for each person.
_PERSONS_AT_ONCE = 20


@cache
def _rules() -> Retention:
    return load(Path(__file__).resolve().parents[2] / "retention.yaml")


def file_kept_until(now: datetime) -> datetime:
    """Return until when a workbook that is sent in now is kept."""
    lines = lines_of(_rules(), "volunteers", domain.local_date(now))
    (period,) = (line.period for line in lines if line.name == "imports/file")
    assert period is not None  # noqa: S101  (a file that is kept for ever fails the tests)
    return period.after(now, domain.OFFICE_ZONE)


def _erase(session: Session, ids: Sequence[UUID], reason: str) -> None:
    erase(session, ids, database_now(session), reason)


_CONSENT = (
    "EXISTS (SELECT FROM consent_records AS c WHERE c.volunteer_id = volunteers.id AND c.purpose = 'registration'{})"
)
#: The first instant of the year of the office in which ``:limit`` lies.
_YEAR = "date_trunc('year', CAST(:limit AS timestamptz) AT TIME ZONE :zone) AT TIME ZONE :zone"

REMOVALS = (
    # The year in which the consent ended is over, and another one.
    Removal(
        "volunteers",
        "state <> 'erased' AND "
        + _CONSENT.format(" AND c.given_by = 'guardian'")
        + " AND NOT "
        + _CONSENT.format(f" AND (c.withdrawn_at IS NULL OR c.withdrawn_at >= {_YEAR})"),
        rule="consent_ended",
        by=_erase,
        at_once=_PERSONS_AT_ONCE,
    ),
    Removal(
        "volunteers",
        f"waits_since < :limit AND state <> 'erased' AND NOT {_CONSENT.format('')}",
        rule="never_consented",
        by=_erase,
        at_once=_PERSONS_AT_ONCE,
    ),
    Removal("erasure_requests", "decided_at < :limit"),
    Removal("unmask_approvals", "expires_at < :limit"),
    # One that is being entered or undone needs its file.
    Removal(
        "imports",
        "checked_at < :limit AND workbook IS NOT NULL AND state NOT IN ('confirmed', 'undoing')",
        rule="file",
        change=FILE_EMPTIED,
    ),
)
