"""What the notices service announces: units and issued notices."""

from datetime import date
from uuid import UUID

import msgspec

from .base import Event, Instant


class UnitRegistered(Event, topic="notices.unit_registered.v1", public=True, subject="unit_code"):
    """A school, town or office was entered in the register of units."""

    unit_code: str
    kind: str
    parent_code: str | None = None
    staff_count: int | None = None
    student_count: int | None = None
    counted_on: date | None = None


class UnitChanged(Event, topic="notices.unit_changed.v1", public=True, subject="unit_code"):
    """A registered unit's kind, parent or head-counts were changed; carries the state after the change."""

    unit_code: str
    kind: str
    revision: int
    parent_code: str | None = None
    staff_count: int | None = None
    student_count: int | None = None
    counted_on: date | None = None


class CategoryOfNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A category of activities that a notice opens; the service class is the national four-digit code.

    Some categories belong to the campaign but are no volunteer service: they do not count hours.
    """

    code: str
    service_class: str | None = None
    counts_hours: bool = True


class ObligationOfNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A duty that a notice lays on units; ``due_at`` is the first instant that is late, when there is one."""

    code: str
    kind: str
    lateness: str
    unit_codes: tuple[str, ...]
    due_on: date | None = None
    due_at: Instant | None = None


class NoticeIssued(Event, topic="notices.notice_issued.v1", public=True, subject="notice_id"):
    """A notice came into force: its categories are open and its obligations bind the listed units."""

    notice_id: UUID
    number: str
    issued_on: date
    starts_at: Instant
    ends_at: Instant | None = None
    categories: tuple[CategoryOfNotice, ...] = ()
    addressees: tuple[str, ...] = ()
    obligations: tuple[ObligationOfNotice, ...] = ()
