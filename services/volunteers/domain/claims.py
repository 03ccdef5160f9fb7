"""The rules of two persons: who claims hours does not approve them, and a large reversal is decided by another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

from .hours import MINUTES_PER_DAY, spoken_span

SHORTEST_TEXT, LONGEST_TEXT = 4, 200


class ClaimState(StrEnum):
    """Where a claim stands; only one that waits can be decided on."""

    CLAIMED = "claimed"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class ReversalState(StrEnum):
    """Where a request for a reversal stands."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"


_SPOKEN = {
    "approved": ("批准", "approved"),
    "refused": ("退回", "refused"),
    "withdrawn": ("撤回", "withdrawn"),
}


class ClaimNotFound(NotFound):
    """There is no such claim of hours"""

    code = "claim.not_found"
    title = "没有这项时数申报"

    def __init__(self, claim_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {claim_id} 的时数申报，请核对编号。",
            f"No claim of hours has the id {claim_id}; check it.",
        )


class OwnClaim(Conflict):
    """Nobody decides on hours that he claimed, or that are his own or his ward's"""

    code = "claim.own"
    title = "不能审批自己申报的时数"

    def __init__(self) -> None:
        super().__init__(
            "不能审批自己申报的、本人的或被监护人的时数，请由另一位审批人办理。",
            "Nobody decides on hours that he claimed himself, or that are his own or his ward's: let another approver "
            "do it.",
        )


class ClaimDecided(Conflict):
    """The claim was decided on otherwise, or withdrawn"""

    code = "claim.decided"
    title = "该时数申报已办结"

    def __init__(self, state: str) -> None:
        """Name the state."""
        zh, en = _SPOKEN[state]
        super().__init__(
            f"该申报已{zh}，不能再改；如仍应计入，请重新申报，误记的请冲正。",
            f"The claim was {en} and stays so; claim the hours again if they count after all, reverse the entry if "
            "they do not.",
            extra={"state": state},
        )


class ClaimNotYours(RuleError):
    """Who made a claim withdraws it"""

    status = 403
    code = "claim.not_yours"
    title = "不能撤回他人的时数申报"

    def __init__(self) -> None:
        super().__init__(
            "只有申报人可以撤回；不应计入的，请由审批人退回。",
            "Only who made the claim withdraws it; an approver refuses one that does not count.",
        )


class ClaimRecorded(Conflict):
    """The ledger holds these hours already"""

    code = "claim.recorded"
    title = "这段服务时间已有记录"

    def __init__(self, entry_id: str) -> None:
        """Name the entry."""
        super().__init__(
            f"台账中已有相同的记录（编号 {entry_id}），无需申报；已申报的请撤回或退回。",
            f"The ledger holds the same hours as entry {entry_id}: no claim is needed; withdraw or refuse the one "
            "there is.",
            extra={"other": entry_id},
        )


class ClaimOverlaps(Conflict):
    """Another claim for some of the same time waits"""

    code = "claim.overlap"
    title = "与待审批的申报时间重叠"

    def __init__(self, other: str | None, span: tuple[datetime, datetime] | None = None) -> None:
        """Name the claim that waits and its time; of one that is out of reach, nothing but that there is one."""
        of_whom = f"（{spoken_span(*span)}，编号 {other}）" if span else ""
        of_whom_en = f" {other} ({spoken_span(*span)})" if span else ""
        super().__init__(
            f"该志愿者有一项待审批的申报{of_whom}与此时间重叠，请更正起止时间，或待其办结、撤回后再申报。",
            f"Another claim{of_whom_en} of the volunteer waits for the same time; correct start and end, or wait until "
            "it is decided on or withdrawn.",
            pointer="/started_at",
            extra={"other": other} if other is not None else {},
        )


class ReversalNotFound(NotFound):
    """There is no such request for a reversal"""

    code = "reversal.not_found"
    title = "没有这项冲正申请"

    def __init__(self, request_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {request_id} 的冲正申请，请核对编号。",
            f"No request for a reversal has the id {request_id}; check it.",
        )


class OwnReversal(Conflict):
    """Nobody decides on a reversal that he asked for"""

    code = "reversal.own_request"
    title = "不能决定自己提出的冲正"

    def __init__(self) -> None:
        super().__init__(
            "不能决定自己提出的冲正申请，请由另一位有权人员决定。",
            "Nobody decides on a reversal that he asked for: let another person with the right do it.",
        )


class ReversalDecided(Conflict):
    """The request for a reversal was decided on otherwise"""

    code = "reversal.decided"
    title = "该冲正申请已有决定"

    def __init__(self, state: str) -> None:
        """Name the state."""
        zh, en = _SPOKEN[state]
        super().__init__(
            f"该冲正申请已{zh}，不能再改；被退回的可重新提出。",
            f"The request was {en} and stays so; after a refusal it may be made again.",
            extra={"state": state},
        )


@dataclass(frozen=True, slots=True)
class SecondPerson:
    """Over how many minutes a reversal needs a second person."""

    minutes: int

    def __post_init__(self) -> None:
        """Refuse a number that no entry can have."""
        if not 0 <= self.minutes <= MINUTES_PER_DAY:
            raise ValueError("0 <= minutes <= 1440 must hold")

    @classmethod
    def of(cls, values: Mapping[str, Any], _clause: str | None = None) -> SecondPerson:
        """Read the values of a rule file."""
        return cls(values["minutes"])

    def needed_for(self, minutes: int) -> bool:
        """Tell whether an entry of so many minutes is taken back by two; exactly the limit is not."""
        return minutes > self.minutes


@dataclass(frozen=True, slots=True)
class Party:
    """Who asks or decides: an account, and the volunteer it belongs to where the account says so."""

    account: UUID
    role: str
    person: UUID | None = None
    wards: Collection[UUID] = ()

    def is_same_as(self, account: UUID, person: UUID | None) -> bool:
        """Tell whether another account is this one, or another one of the same person, as far as is known."""
        return self.account == account or (person is not None and person == self.person)

    def concerns(self, volunteer_id: UUID) -> bool:
        """Tell whether a volunteer is this person himself or his ward."""
        return volunteer_id == self.person or volunteer_id in self.wards


def check_claim(decider: Party, volunteer_id: UUID, claimed_by: UUID, claimed_by_person: UUID | None) -> None:
    """Check that somebody else decides on a claim; raises ``OwnClaim``."""
    if decider.is_same_as(claimed_by, claimed_by_person) or decider.concerns(volunteer_id):
        raise OwnClaim


def check_reversal_by(decider: Party, asked_by: UUID, asked_by_person: UUID | None) -> None:
    """Check that somebody else decides on a reversal; raises ``OwnReversal``."""
    if decider.is_same_as(asked_by, asked_by_person):
        raise OwnReversal


def is_decided(state: str, wanted: ClaimState) -> bool:
    """Tell whether a claim is what is wanted already; raises ``ClaimDecided`` when it can no longer become that."""
    if state == wanted:
        return True
    if state != ClaimState.CLAIMED:
        raise ClaimDecided(state)
    return False


def is_reversal_decided(state: str, wanted: ReversalState) -> bool:
    """Tell the same of a request for a reversal; raises ``ReversalDecided``."""
    if state == wanted:
        return True
    if state != ReversalState.ASKED:
        raise ReversalDecided(state)
    return False
