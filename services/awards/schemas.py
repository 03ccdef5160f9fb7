"""What the HTTP API of awards accepts and returns."""

from xinhuo.chassis.web.schema import (
    Date,
    Instant,
    Integer,
    ListOf,
    Nested,
    Page,
    QueryInteger,
    Schema,
    Text,
    Uuid,
)


class StarsQuery(Page):
    """Which stars a list shows."""

    star = QueryInteger(min=1, max=5, load_default=None)


class OnDay(Schema):
    """The day on which a rule is looked up; today when left out."""

    on = Date(load_default=None)


class Occurrence(Schema):
    """One time that a star was earned, with the facts of that day, and the reversal that withdrew it."""

    award_id = Uuid()
    star = Integer()
    name = Text()
    occurrence = Integer()
    earned_at = Instant()
    minutes_total = Integer()
    threshold_minutes = Integer()
    rule = Text()
    clause = Text(allow_none=True)
    withdrawn_at = Instant(allow_none=True)
    withdrawn_by = Uuid(allow_none=True)


class Award(Occurrence):
    """One time that somebody earned a star."""

    volunteer_id = Uuid()


class VolunteerStars(Schema):
    """A volunteer's star (0 for none) and why it is this one."""

    volunteer_id = Uuid()
    star = Integer()
    name = Text(allow_none=True)
    minutes = Integer()
    explanation = Text()
    explanation_en = Text()
    clause = Text()
    rule = Text()
    occurrences = ListOf(Nested(Occurrence))


class StarCount(Schema):
    """How often one star was earned, and how often it is held now; null for one to four, where that is not shown."""

    star = Integer()
    name = Text()
    earned = Integer(allow_none=True)
    held = Integer(allow_none=True)


class StarCounts(Schema):
    """How often stars were earned, and how often they are held now."""

    earned = Integer()
    held = Integer()
    stars = ListOf(Nested(StarCount))


class Threshold(Schema):
    """The minutes from which on (included) a star is held."""

    star = Integer()
    name = Text()
    threshold_minutes = Integer()


class Thresholds(Schema):
    """The thresholds in force on a day, with what they rest on."""

    rule = Text()
    title = Text()
    title_en = Text()
    valid_from = Date()
    valid_until = Date(allow_none=True)
    locality = Text(allow_none=True)
    clause = Text()
    stars = ListOf(Nested(Threshold))
