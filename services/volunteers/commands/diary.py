"""One person's spans in force while a batch is checked: what overlaps, and how much each day holds."""

from bisect import bisect_right
from datetime import date, datetime
from operator import attrgetter
from uuid import UUID

import msgspec

from ..domain import ServiceTime

_START = attrgetter("started_at")


class Span(msgspec.Struct, frozen=True, gc=False):
    """Service time in force, half-open, with the entry it belongs to."""

    started_at: datetime
    ended_at: datetime
    activity_id: UUID
    served_on: date
    minutes: int
    entry_id: UUID

    def is_same(self, activity_id: UUID, served: ServiceTime) -> bool:
        """Say whether this is the very service described."""
        return (self.activity_id, self.started_at, self.ended_at, self.minutes) == (
            activity_id,
            served.started_at,
            served.ended_at,
            served.minutes,
        )


class Diary:
    """Spans of one person, none overlapping another, in the order of time."""

    __slots__ = ("_spans",)

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def add(self, span: Span) -> None:
        """Enter a span that overlaps none of those held."""
        self._spans.insert(bisect_right(self._spans, span.started_at, key=_START), span)

    def overlapping(self, started_at: datetime, ended_at: datetime) -> Span | None:
        """Return a span that shares time with the given one, the one with the same start first, or None."""
        place = bisect_right(self._spans, started_at, key=_START)
        # Spans do not overlap each other, so only the neighbours can overlap the new one.
        if place and self._spans[place - 1].ended_at > started_at:
            return self._spans[place - 1]
        if place < len(self._spans) and self._spans[place].started_at < ended_at:
            return self._spans[place]
        return None

    def minutes_of(self, day: date) -> int:
        """Return the minutes that count for a day."""
        place = bisect_right(self._spans, day, key=attrgetter("served_on"))
        minutes = 0
        while place and self._spans[place - 1].served_on == day:
            place -= 1
            minutes += self._spans[place].minutes
        return minutes
