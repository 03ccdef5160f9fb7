"""What the API takes and shows of activities."""

from xinhuo.chassis.web.schema import Code, Instant, Page, Schema, Text, Uuid


class CreateActivity(Schema):
    """An activity, past ones included; with a notice, its category must be one that the notice opens."""

    number = Text(max=40, metadata={"description": "unique; left out, the system gives HD-2020-0001"})
    title = Text(required=True, max=200)
    team_code = Code(required=True)
    unit_code = Code(metadata={"description": "left out, the team's unit"})
    notice = Text(max=60, metadata={"description": "number of the notice: 台教办〔2020〕6号"})
    category = Code(required=True)
    starts_at = Instant(required=True)
    ends_at = Instant(required=True)
    place = Text(required=True, max=200)


class Activity(Schema):
    """An activity."""

    id = Uuid()
    number = Text()
    title = Text()
    team_code = Code()
    unit_code = Code()
    category = Code()
    notice_id = Uuid(allow_none=True)
    notice = Text(attribute="notice_number", allow_none=True)
    starts_at = Instant()
    ends_at = Instant()
    place = Text()
    created_at = Instant()


class ActivityQuery(Page):
    """Which activities to list."""

    team = Code(load_default=None)
    unit = Code(load_default=None)
    category = Code(load_default=None)
    number = Text(max=40, load_default=None)
