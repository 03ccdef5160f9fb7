"""What the API takes and shows of claims of hours, and of reversals that two persons decide."""

from typing import Any

import marshmallow as ma
from marshmallow import fields as mf

from xinhuo.chassis.web.schema import Choice, Code, Instant, Integer, Page, Schema, Text, Uuid

from ..domain.claims import LONGEST_TEXT, SHORTEST_TEXT, ClaimState, ReversalState
from ..models import REVERSAL_REASONS, Served

_STATES = tuple(state.value for state in ClaimState)
_REVERSAL_STATES = tuple(state.value for state in ReversalState)


class ClaimHours(Schema):
    """Hours that are not in the ledger, as for logging them, and what shows that they were served."""

    volunteer_id = Uuid(required=True)
    activity_id = Uuid(required=True)
    started_at = Instant(required=True)
    ended_at = Instant(required=True)
    minutes = Integer()
    evidence = Text(min=SHORTEST_TEXT, max=LONGEST_TEXT, required=True)

    @ma.post_load
    def _served(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        evidence = data.pop("evidence")
        return {"served": Served(**data), "evidence": evidence}


class Claim(Schema):
    """A claim, who made it, who decided on it and how; ``entry_id`` is the entry that it became."""

    id = Uuid()
    state = Choice(_STATES)
    volunteer_id = Uuid()
    activity_id = Uuid()
    team_code = Code()
    unit_code = Code()
    started_at = Instant()
    ended_at = Instant()
    minutes = mf.Integer()
    evidence = Text(allow_none=True)
    claimed_by = Uuid()
    claimed_as = Text()
    claimed_at = Instant()
    decided_by = Uuid(allow_none=True)
    decided_as = Text(allow_none=True)
    decided_at = Instant(allow_none=True)
    reason = Text(allow_none=True)
    entry_id = Uuid(allow_none=True)


class ClaimQuery(Page):
    """Which claims to list."""

    state = Choice(_STATES, load_default=None)
    volunteer = Uuid(load_default=None)
    activity = Uuid(load_default=None)
    team = Code(load_default=None)
    unit = Code(load_default=None)


class Refuse(Schema):
    """Why not; whoever asked is told."""

    reason = Text(min=SHORTEST_TEXT, max=LONGEST_TEXT, required=True)


class ReversalRequest(Schema):
    """A reversal that somebody else decides on: who asked and why, and what was decided."""

    id = Uuid()
    state = Choice(_REVERSAL_STATES)
    entry_id = Uuid()
    volunteer_id = Uuid()
    minutes = mf.Integer()
    reason_code = Choice(REVERSAL_REASONS)
    asked_by = Uuid()
    asked_as = Text()
    asked_at = Instant()
    decided_by = Uuid(allow_none=True)
    decided_as = Text(allow_none=True)
    decided_at = Instant(allow_none=True)
    reason = Text(allow_none=True)
    reversal_id = Uuid(allow_none=True)


class ReversalQuery(Page):
    """Which requests to list."""

    state = Choice(_REVERSAL_STATES, load_default=None)
