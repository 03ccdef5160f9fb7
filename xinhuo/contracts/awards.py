"""What the awards service announces: stars earned and withdrawn."""

from datetime import date
from uuid import UUID

from .base import Event, Internal


class StarEarned(Event, topic="awards.star_earned.v1", public=True, subject="award_id"):
    """A volunteer's service time reached a star; earning it again after a withdrawal is the next occurrence."""

    award_id: UUID
    volunteer_id: Internal[UUID]
    star: int
    occurrence: int
    minutes_total: Internal[int]
    threshold_minutes: int
    rule: str
    earned_on: date


class StarWithdrawn(Event, topic="awards.star_withdrawn.v1", public=True, subject="award_id"):
    """A reversal took a volunteer's service time below a star; names that reversal."""

    award_id: UUID
    volunteer_id: Internal[UUID]
    star: int
    occurrence: int
    reversal_id: UUID
    minutes_total: Internal[int]
    threshold_minutes: int
    rule: str
    withdrawn_on: date
