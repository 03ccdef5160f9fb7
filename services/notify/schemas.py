"""What the HTTP API of notify accepts and returns."""

from marshmallow import fields

from xinhuo.chassis.web.schema import Boolean, Instant, Integer, Page, Schema, Text, Uuid


class InboxQuery(Page):
    """Which messages of an inbox are shown."""

    unread = Boolean(load_default=False)


class Message(Schema):
    """A message to a volunteer, and whether it was read."""

    id = Uuid()
    volunteer_id = Uuid()
    occasion = Text()
    subject_id = Uuid()
    occurrence = Integer()
    title = Text()
    text = Text()
    template = Text()
    state = Text()
    written_at = Instant()
    read_at = Instant(allow_none=True)


class AcknowledgementCounts(Schema):
    """How many acknowledgements were written."""

    total = Integer()
    by_occasion = fields.Dict(keys=Text(), values=Integer())
