"""What the API takes and shows of volunteers."""

from marshmallow import fields as mf

from xinhuo.chassis.web.schema import (
    Choice,
    Code,
    Date,
    Instant,
    ListOf,
    Nested,
    Page,
    Schema,
    Text,
    Uuid,
    by_rule,
)

from .. import domain
from ..domain import standing, tags

STATES = tuple(status.value for status in domain.VolunteerStatus)


class GuardianConsent(Schema):
    """Who consented for a person under 14, and when."""

    guardian_name = Text(required=True, validate=by_rule(domain.check_name))
    guardian_phone = Text(required=True, validate=by_rule(domain.check_phone))
    relation = Choice(("father", "mother", "grandparent", "other"), required=True)
    consented_on = Date(required=True)


class RegisterVolunteer(Schema):
    """A person to be registered; date of birth and sex, where given, are compared with the identity number."""

    name = Text(required=True, max=200, validate=by_rule(domain.check_name))
    id_type = Choice(("01",), load_default="01")
    id_number = Text(required=True, max=100)
    phone = Text(required=True, max=100, validate=by_rule(domain.check_phone))
    unit_code = Code(required=True)
    team_code = Code()
    tags = ListOf(Code(), max=tags.MOST_TAGS, load_default=())
    born_on = Date()
    sex = Choice(tuple(sex.value for sex in domain.Sex))
    guardian_consent = Nested(GuardianConsent)


class Volunteer(Schema):
    """A volunteer with masked personal fields."""

    id = Uuid()
    volunteer_no = Text()
    state = Choice(STATES)
    name = Text(allow_none=True, metadata={"description": "masked: 张**; null for one who was erased"})
    id_type = Text()
    id_number = Text(allow_none=True, metadata={"description": "masked"})
    phone = Text(allow_none=True, metadata={"description": "masked"})
    unit_code = Code()
    suspended_for = Choice(tuple(standing.SUSPENDED_FOR), allow_none=True)
    teams = mf.List(Code())
    tags = mf.List(Code())
    registered_at = Instant()
    verified_at = Instant(allow_none=True)


class VolunteerWithTotal(Volunteer):
    """A volunteer with what counts in the ledger."""

    minutes_total = mf.Integer()
    entries = mf.Integer()


class VolunteerQuery(Page):
    """Which volunteers to list."""

    team = Code(load_default=None)
    unit = Code(load_default=None)
    state = Choice(STATES, load_default=None)
    volunteer_no = Code(load_default=None)
    tag = Code(load_default=None)
