"""The rules of two persons, as tables of cases."""

from uuid import uuid4

import pytest
import yaml

from services.volunteers.commands.limits import _RULES, second_person
from services.volunteers.domain.claims import (
    ClaimDecided,
    ClaimState,
    OwnClaim,
    OwnReversal,
    Party,
    ReversalDecided,
    ReversalState,
    SecondPerson,
    check_claim,
    check_reversal_by,
    is_decided,
    is_reversal_decided,
)
from tests.support.hours import NOW

ACCOUNT, PERSON, VOLUNTEER = uuid4(), uuid4(), uuid4()

#: The decider, and the person of the claimant's account.
SAME = [
    (Party(ACCOUNT, "clerk"), None),
    (Party(ACCOUNT, "clerk", uuid4()), PERSON),
    (Party(uuid4(), "clerk", PERSON), PERSON),
]
OTHER = [
    (Party(uuid4(), "clerk"), None),
    (Party(uuid4(), "clerk"), PERSON),
    (Party(uuid4(), "clerk", PERSON), None),
    (Party(uuid4(), "clerk", uuid4(), (uuid4(),)), PERSON),
]


@pytest.mark.parametrize(("decider", "claimant"), SAME)
def test_the_same_account_or_person_does_not_decide(decider: Party, claimant: object) -> None:
    with pytest.raises(OwnClaim):
        check_claim(decider, VOLUNTEER, ACCOUNT, claimant)  # type: ignore[arg-type]
    with pytest.raises(OwnReversal):
        check_reversal_by(decider, ACCOUNT, claimant)  # type: ignore[arg-type]


@pytest.mark.parametrize(("decider", "claimant"), OTHER)
def test_another_person_decides_and_two_who_are_not_known_are_not_one(decider: Party, claimant: object) -> None:
    check_claim(decider, VOLUNTEER, ACCOUNT, claimant)  # type: ignore[arg-type]
    check_reversal_by(decider, ACCOUNT, claimant)  # type: ignore[arg-type]


@pytest.mark.parametrize("who", [Party(uuid4(), "clerk", VOLUNTEER), Party(uuid4(), "clerk", None, (VOLUNTEER,))])
def test_nobody_decides_on_his_own_hours_or_his_wards(who: Party) -> None:
    with pytest.raises(OwnClaim):
        check_claim(who, VOLUNTEER, ACCOUNT, None)


@pytest.mark.parametrize("state", list(ClaimState))
@pytest.mark.parametrize("wanted", [ClaimState.APPROVED, ClaimState.REFUSED, ClaimState.WITHDRAWN])
def test_a_claim_becomes_one_thing_once(state: ClaimState, wanted: ClaimState) -> None:
    if state is ClaimState.CLAIMED:
        assert not is_decided(state, wanted)
    elif state is wanted:
        assert is_decided(state, wanted)
    else:
        with pytest.raises(ClaimDecided) as refused:
            is_decided(state, wanted)
        assert refused.value.extra == {"state": state}


@pytest.mark.parametrize("state", list(ReversalState))
@pytest.mark.parametrize("wanted", [ReversalState.APPROVED, ReversalState.REFUSED])
def test_a_request_for_a_reversal_becomes_one_thing_once(state: ReversalState, wanted: ReversalState) -> None:
    if state is ReversalState.ASKED:
        assert not is_reversal_decided(state, wanted)
    elif state is wanted:
        assert is_reversal_decided(state, wanted)
    else:
        with pytest.raises(ReversalDecided):
            is_reversal_decided(state, wanted)


@pytest.mark.parametrize(
    ("limit", "minutes", "needed"), [(480, 480, False), (480, 481, True), (0, 1, True), (1440, 1440, False)]
)
def test_a_second_person_is_needed_for_more_than_the_limit(limit: int, minutes: int, needed: bool) -> None:
    assert SecondPerson(limit).needed_for(minutes) is needed
    assert not SecondPerson(limit).needed_for(-1440), "a reversal is no entry"


@pytest.mark.parametrize("minutes", [-1, 1441])
def test_a_limit_that_no_entry_can_have_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="1440"):
        SecondPerson.of({"minutes": minutes})


def test_the_shipped_limit_is_a_working_day_and_has_its_clause() -> None:
    assert second_person(NOW.date()).minutes == 480
    shipped = yaml.safe_load((_RULES / "second_person.yaml").read_text(encoding="utf-8"))
    assert shipped["versions"][0]["clause"].startswith("本系统默认值")
