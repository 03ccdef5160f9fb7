"""What the volunteers service announces: service time that counts, time that no longer does, and persons
who were erased."""

from datetime import date
from uuid import UUID

from .base import Event, Internal


class HoursLogged(Event, topic="volunteers.hours_logged.v1", public=True, subject="entry_id"):
    """Service time at one activity entered a volunteer's ledger and counts."""

    entry_id: UUID
    volunteer_id: Internal[UUID]
    team_code: str
    unit_code: str
    activity_id: UUID
    category: str
    served_on: date
    minutes: int


class HoursReversed(Event, topic="volunteers.hours_reversed.v1", public=True, subject="reversal_id"):
    """An earlier ledger entry was taken back; ``minutes`` are those of the entry, as a positive number."""

    reversal_id: UUID
    entry_id: UUID
    volunteer_id: Internal[UUID]
    team_code: str
    unit_code: str
    activity_id: UUID
    category: str
    served_on: date
    minutes: int
    reason_code: str


class PersonErased(Event, topic="volunteers.person_erased.v1", subject="volunteer_id"):
    """A person was erased on request: nothing is shown of him any more, and every total stays."""

    volunteer_id: Internal[UUID]
