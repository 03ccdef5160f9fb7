"""What the API takes and shows of a person's own data and rights."""

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
    Schema,
    Text,
    Uuid,
    by_rule,
)

from .. import domain
from ..domain import consents, rights, unmask
from .claims import Claim
from .hours import LedgerEntry
from .people import STATES
from .register import Correction


class Unmask(Schema):
    """Which fields are wanted in clear, and why; who asks for himself or for his child need not say why."""

    fields_ = ListOf(
        Choice(unmask.FIELDS), min=1, max=len(unmask.FIELDS), required=True, data_key="fields", attribute="fields"
    )
    # Too short a reason is refused by the rule, which leaves a trace.
    reason = Text(min=0, max=unmask.LONGEST_REASON, load_default=None)


class Unmasked(Schema):
    """The wanted fields in clear."""

    id = Uuid()
    name = Text()
    id_number = Text()
    phone = Text()


class Approve(Schema):
    """The account that may see the data of a person in clear, why, and for how many days."""

    for_subject = Uuid(required=True)
    reason = Text(min=unmask.SHORTEST_REASON, max=unmask.LONGEST_REASON, required=True)
    days = Integer(min=1, max=unmask.MOST_DAYS, load_default=unmask.MOST_DAYS)


class Approval(Schema):
    """An approval."""

    id = Uuid()
    volunteer_id = Uuid()
    asked_by = Uuid()
    approved_by = Uuid()
    reason = Text()
    approved_at = Instant()
    expires_at = Instant()


class Guardian(Schema):
    """Who consented for a person, and how they are related."""

    guardian_name = Text(required=True, validate=by_rule(domain.check_name))
    guardian_phone = Text(required=True, validate=by_rule(domain.check_phone))
    relation = Choice(("father", "mother", "grandparent", "other"), required=True)


class GiveConsent(Schema):
    """A consent: for what, and what is not clear from who enters it."""

    purpose = Choice(consents.PURPOSES, required=True)
    given_by = Choice(tuple(giver.value for giver in consents.GivenBy))
    guardian = Nested(Guardian)
    how = Choice(consents.WAYS)
    given_on = Date()
    text_version = Code(load_default=consents.TEXT_VERSION)


class Consent(Schema):
    """A consent, with when it was withdrawn; the guardian is masked."""

    id = Uuid()
    volunteer_id = Uuid()
    purpose = Choice(consents.PURPOSES)
    text_version = Code()
    given_by = Choice(tuple(giver.value for giver in consents.GivenBy))
    guardian = Nested(Guardian, allow_none=True)
    how = Choice(consents.WAYS)
    given_on = Date()
    recorded_by = Uuid(allow_none=True)
    recorded_at = Instant()
    withdrawn_at = Instant(allow_none=True)


class ConsentQuery(Page):
    """Which page of them."""


class ErasureRequest(Schema):
    """A request to be erased, and what was decided."""

    id = Uuid()
    volunteer_id = Uuid()
    asked_by = Uuid()
    asked_as = Text()
    asked_at = Instant()
    decided_by = Uuid(allow_none=True)
    decided_at = Instant(allow_none=True)
    granted = Boolean(allow_none=True)
    reason = Text(allow_none=True)


class ErasureQuery(Page):
    """Which requests: those that are open, those that were decided, or all."""

    open = Boolean(load_default=None)


class DecideErasure(Schema):
    """The decision; a refusal needs reasons."""

    granted = Boolean(required=True)
    # Too short a reason for a refusal is refused by the rule, with its clause.
    reason = Text(min=0, max=rights.LONGEST_REASON, load_default=None)


class Membership(Schema):
    """A team of the person."""

    team_code = Code()
    joined_at = Instant()


class Look(Schema):
    """Somebody who did something with the data of the person."""

    at = Instant()
    action = Text()
    subject = Uuid(allow_none=True)
    role = Text()
    unit = Text(allow_none=True)
    outcome = Text()
    reason = Text(allow_none=True)


class Export(Schema):
    """Everything that is held about a person, in clear."""

    id = Uuid()
    volunteer_no = Text()
    state = Choice(STATES)
    name = Text()
    id_type = Text()
    id_number = Text()
    phone = Text()
    unit_code = Code()
    registered_at = Instant()
    verified_at = Instant(allow_none=True)
    tags = ListOf(Code())
    teams = ListOf(Nested(Membership))
    entries = ListOf(Nested(LedgerEntry))
    claims = ListOf(Nested(Claim))
    consents = ListOf(Nested(Consent))
    corrections = ListOf(Nested(Correction))
    erasure_requests = ListOf(Nested(ErasureRequest))
    looked_at = ListOf(Nested(Look))
