"""What the HTTP API of notices accepts and returns."""

from typing import Any

from marshmallow import fields as mf

from xinhuo.chassis.web.schema import (
    Boolean,
    Choice,
    Code,
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
    by_rule,
)

from . import domain
from .domain.drafts import Role
from .rules import check_kind_known

STATES = ("draft", "issued")
OBLIGATION_STATES = ("open", "submitted", "returned", "accepted", "overdue", "forfeited")


def _unit_code(**options: Any) -> Text:
    return Text(max=64, validate=by_rule(domain.check_unit_code), **options)


class _UnitFields(Schema):
    aliases = ListOf(Text(max=100), max=20)
    groups = ListOf(Text(max=40), max=20)
    parent_code = _unit_code(allow_none=True)
    staff_count = Integer(allow_none=True)
    student_count = Integer(allow_none=True)
    counted_on = Date(allow_none=True)
    credit_code = Text(max=40, allow_none=True, validate=by_rule(domain.check_credit_code))


class RegisterUnit(_UnitFields):
    """A school, town or office to enter in the register."""

    code = _unit_code(required=True)
    name = Text(min=2, max=100, required=True)
    kind = Text(max=40, required=True)


class ChangeUnit(_UnitFields):
    """What to change about a unit; what is left out stays."""

    name = Text(min=2, max=100)
    kind = Text(max=40)


class Unit(Schema):
    """A registered unit."""

    code = Text()
    name = Text()
    aliases = ListOf(Text())
    kind = Text()
    kind_label = Text()
    groups = ListOf(Text())
    parent_code = Text(allow_none=True)
    staff_count = Integer(allow_none=True)
    student_count = Integer(allow_none=True)
    counted_on = Date(allow_none=True)
    credit_code = Text(allow_none=True)
    revision = Integer()
    registered_at = Instant()
    changed_at = Instant()


class UnitsQuery(Page):
    """Which units to list."""

    kind = Text(max=40, validate=by_rule(check_kind_known))
    parent = _unit_code()


class Selection(Schema):
    """Units by code, kind or group, less the excluded ones."""

    codes = ListOf(_unit_code(), load_default=list)
    kinds = ListOf(Text(max=40), max=50, load_default=list)
    groups = ListOf(Text(max=40), max=50, load_default=list)
    excluded = ListOf(_unit_code(), load_default=list)


class Issuer(Schema):
    """An issuing office; the first one leads."""

    name = Text(min=2, max=100, required=True)
    unit_code = _unit_code(allow_none=True, load_default=None)


class Responsible(Schema):
    """The units that have one role in a category."""

    role = Choice(list(Role), required=True)
    units = Nested(Selection, required=True)


class Category(Schema):
    """A kind of activity that a notice opens."""

    code = Code(required=True)
    name = Text(required=True)
    service_class = Text(max=4, allow_none=True, load_default=None)
    counts_hours = Boolean(load_default=True)
    not_volunteer_reason = Text(max=10, allow_none=True, load_default=None)
    responsible = ListOf(Nested(Responsible), max=3, load_default=list)


class Obligation(Schema):
    """A duty that a notice lays on units, by default on every addressee."""

    code = Code(required=True)
    kind = Choice(list(domain.ObligationKind), required=True)
    title = Text(required=True)
    receiver = Text(max=100, required=True)
    lateness = Choice(list(domain.LatenessPolicy), required=True)
    due_on = Date(allow_none=True, load_default=None)
    due_phrase = Text(max=100, allow_none=True, load_default=None)
    due_rule = Text(max=200, allow_none=True, load_default=None)
    system_default = Boolean(load_default=False)
    units = Nested(Selection, allow_none=True, load_default=None)


class Period(Schema):
    """First and last month or day (open without ``ends``), or the phrase of the notice."""

    starts = Text(max=10, allow_none=True, load_default=None)
    ends = Text(max=10, allow_none=True, load_default=None)
    phrase = Text(max=100, allow_none=True, load_default=None)


class DraftNotice(Schema):
    """A notice as it is drafted; ``contact_office`` names an office, never a person."""

    number = Text(max=64, required=True)
    title = Text(max=300, required=True)
    issuers = ListOf(Nested(Issuer), min=1, max=20, required=True)
    issued_on = Date(required=True)
    period = Nested(Period, required=True)
    addressees = Nested(Selection, required=True)
    theme = Text(allow_none=True, load_default=None)
    body = Text(max=100_000, lines=True, allow_none=True, load_default=None)
    basis = ListOf(Text(max=300), max=50, load_default=list)
    contact_office = Text(max=100, allow_none=True, load_default=None)
    categories = ListOf(Nested(Category), max=50, load_default=list)
    obligations = ListOf(Nested(Obligation), max=50, load_default=list)


#: What to change about a draft: each field given replaces the whole of it.
CHANGE_DRAFT = DraftNotice(partial=tuple(DraftNotice().fields))


class _Addressees(Selection):
    unit_codes = ListOf(Text())


class _BoundResponsible(Responsible):
    role_label = Text()
    unit_codes = ListOf(Text())


class _BoundCategory(Category):
    service_class_label = Text(allow_none=True)
    not_volunteer_label = Text(allow_none=True)
    responsible = ListOf(Nested(_BoundResponsible))


class _BoundObligation(Obligation):
    due_at = Instant(allow_none=True)
    due_clause = Text(allow_none=True)
    due_basis = Text()
    units_by_state = mf.Dict(keys=mf.String(), values=mf.Integer())


class NoticeSummary(Schema):
    """A notice in a list."""

    id = Uuid()
    number = Text()
    title = Text()
    issuers = ListOf(Nested(Issuer))
    issued_on = Date()
    starts_at = Instant()
    ends_at = Instant(allow_none=True)
    state = Text()
    state_label = Text()
    revision = Integer()
    created_at = Instant()
    issued_at = Instant(allow_none=True)


class Notice(NoticeSummary):
    """A notice with everything it says; who is bound is known once it is issued."""

    theme = Text(allow_none=True)
    period = Nested(Period)
    body = Text(allow_none=True)
    basis = ListOf(Text())
    contact_office = Text(allow_none=True)
    addressees = Nested(_Addressees)
    categories = ListOf(Nested(_BoundCategory))
    obligations = ListOf(Nested(_BoundObligation))


class NoticesQuery(Page):
    """Which notices to list; ``issuer`` is a number's code, or an issuing office's name or unit code."""

    number = Text(max=64, validate=by_rule(domain.parse_number))
    year = QueryInteger(min=1900, max=2099)
    issuer = Text(max=100)
    state = Choice(STATES)


class UnitObligation(Schema):
    """One duty of one unit; the deadline's day counts until 24:00, ``due_at`` is the first late instant."""

    id = Uuid()
    notice_id = Uuid()
    code = Text()
    unit_code = Text()
    unit_name = Text()
    kind = Text()
    title = Text()
    receiver = Text()
    lateness = Text()
    due_on = Date(allow_none=True)
    due_at = Instant(allow_none=True)
    due_phrase = Text(allow_none=True)
    due_rule = Text(allow_none=True)
    due_clause = Text(allow_none=True)
    due_basis = Text()
    state = Text()
    past_due = Boolean()
    revision = Integer()


class ObligationsQuery(Page):
    """Which duties to list; ``due_before`` finds those whose last day is before a day."""

    unit = _unit_code()
    kind = Choice(list(domain.ObligationKind))
    state = Choice(OBLIGATION_STATES)
    due_before = Date()
