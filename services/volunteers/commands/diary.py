"""One person's spans in force while a batch is checked: what overlaps, and how much each day holds."""

from bisect import bisect_right
from collections import defaultdict
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

from ..domain import ServiceTime


class Span(NamedTuple):
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

    __slots__ = ("_minutes", "_spans", "_starts")

    def __init__(self) -> None:
        self._starts: list[datetime] = []
        self._spans: list[Span] = []
        self._minutes: defaultdict[date, int] = defaultdict(int)

    def add(self, span: Span) -> None:
        """Enter a span that overlaps none of those held."""
        place = bisect_right(self._starts, span.started_at)
        self._starts.insert(place, span.started_at)
        self._spans.insert(place, span)
        self._minutes[span.served_on] += span.minutes

    def overlapping(self, started_at: datetime, ended_at: datetime) -> Span | None:
        """Return a span that shares time with the given one, the one with the same start first, or None."""
        place = bisect_right(self._starts, started_at)
        # Spans do not overlap each other, so only the neighbours can overlap the new one.
        if place and self._spans[place - 1].ended_at > started_at:
            return self._spans[place - 1]
        if place < len(self._spans) and self._starts[place] < ended_at:
            return self._spans[place]
        return None

    def minutes_of(self, day: date) -> int:
        """Return the minutes that count for a day."""
        return self._minutes.get(day, 0)
