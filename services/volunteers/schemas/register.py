"""What the API takes and shows of where volunteers stand, of corrections and of tags."""

from xinhuo.chassis.web.schema import Choice, Code, Instant, ListOf, Nested, Page, Schema, Text, Uuid, by_rule

from .. import domain
from ..domain import corrections, standing, tags


class Suspend(Schema):
    """Why somebody is suspended."""

    reason_code = Choice(tuple(standing.SUSPENDED_FOR), required=True)


class Leave(Schema):
    """Why somebody leaves."""

    reason_code = Choice(tuple(standing.LEFT_FOR), required=True)


class Correct(Schema):
    """What is corrected, and why; fields that are left out stay as they are, tags are given all together."""

    name = Text(max=200, validate=by_rule(domain.check_name))
    id_number = Text(max=100)
    phone = Text(max=100, validate=by_rule(domain.check_phone))
    tags = ListOf(Code(), max=tags.MOST_TAGS)
    reason_code = Choice(tuple(corrections.REASONS), required=True)


class Before(Schema):
    """What was corrected, as it was before; masked."""

    name = Text()
    id_number = Text()
    phone = Text()
    tags = ListOf(Code())


class Correction(Schema):
    """A correction: of which fields, why, by whom, when; what was before is null once the person is erased."""

    id = Uuid()
    volunteer_id = Uuid()
    fields_ = ListOf(Choice(corrections.FIELDS), data_key="fields", attribute="fields")
    before = Nested(Before, allow_none=True)
    reason_code = Choice(tuple(corrections.REASONS))
    corrected_by = Uuid(allow_none=True)
    corrected_at = Instant()


class CorrectionQuery(Page):
    """Which page of them."""


class Tag(Schema):
    """A tag that a person can have."""

    code = Code()
    zh = Text()
    en = Text()
    kind = Choice(tags.KINDS)


class Tags(Schema):
    """The tags in force today, in the order of the list."""

    items = ListOf(Nested(Tag))
