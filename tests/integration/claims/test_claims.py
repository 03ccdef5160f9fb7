"""Hours that are claimed wait, are approved by somebody else, and are then entered like all others, on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.volunteers.commands import claims
from tests.support.hours import World
from tests.support.identity import bearing
from tests.support.services import deliver, delivery_of, fetch, recorded
from tests.support.statements import noted
from tests.support.threads import at_once
from xinhuo.chassis.identity.actor import Actor
from xinhuo.contracts.volunteers import HoursLogged

from .scene import EVIDENCE, SPAN, Scene, code

CLAIMANTS = ("me", "parent", "leader", "operator")
APPROVERS = ("other", "clerk", "admin")


@pytest.mark.parametrize("claimant", CLAIMANTS)
@pytest.mark.parametrize("approver", APPROVERS)
def test_who_may_claims_and_somebody_else_who_may_approves(scene: Scene, claimant: str, approver: str) -> None:
    who, by = getattr(scene, claimant), getattr(scene, approver)
    claim = scene.claimed(who, minutes=100)
    assert (claim["state"], claim["minutes"], claim["evidence"]) == ("claimed", 100, EVIDENCE)
    assert (claim["claimed_by"], claim["claimed_as"], claim["decided_by"]) == (str(who.subject), who.role, None)
    assert (scene.ledger(), scene.told()) == ([], [])
    assert scene.get(scene.clerk, f"/v1/volunteers/{scene.volunteer}")["minutes_total"] == 0

    approved = scene.approve(by, claim)

    assert approved.status_code == 200, approved.text
    shown = approved.json or {}
    assert (shown["state"], shown["decided_by"], shown["decided_as"]) == ("approved", str(by.subject), by.role)
    [row] = scene.ledger()
    assert (row["source"], row["recorded_by"], row["approved_by"]) == ("claim", who.subject, by.subject)
    entry = scene.get(scene.me, f"/v1/hours/{shown['entry_id']}")
    assert (entry["recorded_by"], entry["approved_by"], entry["minutes"]) == (str(who.subject), str(by.subject), 100)
    assert scene.told() == ["HoursLogged"]
    assert scene.audited(claim["id"]) == [("claim.made", who.subject, None), ("claim.approved", by.subject, None)]
    # Again, by whomever: the same result and nothing more.
    for again in (by, scene.clerk):
        assert (scene.approve(again, claim).status_code, scene.approve(again, claim).json) == (200, shown)
    assert (len(scene.ledger()), scene.told()) == (1, ["HoursLogged"])
    assert len(scene.audited(claim["id"])) == 2


def test_the_event_of_an_approved_claim_counts_once_however_often_it_comes(scene: Scene) -> None:
    scene.approve(scene.clerk, scene.claimed(scene.me))
    [event] = [one for one in recorded(scene.service, HoursLogged.topic) if one.data.volunteer_id == scene.volunteer]
    before = scene.get(scene.operator, "/v1/statistics?group_by=volunteer")["totals"]
    for _ in range(3):
        deliver(scene.service, "keep_statistics", [delivery_of(event.data, event_id=event.id)])
    after = scene.get(scene.operator, "/v1/statistics?group_by=volunteer")["totals"]
    assert (before["minutes"], after["minutes"], after["entries"]) == (0, 120, 1)


def test_nobody_decides_on_what_he_claimed(scene: Scene) -> None:
    claim = scene.claimed(scene.operator)
    for role in ("unit_operator", "clerk", "bureau_admin"):
        # Also after his role was changed: it is the account that counts.
        same = replace(scene.operator, role=role)
        for refused in (scene.approve(same, claim), scene.refuse(same, claim)):
            assert code(refused) == (409, "claim.own")
            assert "另一位" in (refused.json or {})["detail"]
    assert (scene.ledger(), scene.audited(claim["id"])[1:]) == ([], [])
    assert scene.approve(scene.other, claim).status_code == 200
    # Not even once it is approved does his own word stand for it.
    assert code(scene.approve(scene.operator, claim)) == (409, "claim.own")


def test_another_account_of_the_same_person_does_not_help_where_it_is_known(scene: Scene) -> None:
    unit = scene.world.unit_code
    mother = uuid4()
    linked = Actor(uuid4(), "team_leader", unit, scene.world.team_code, volunteer=mother)
    claim = scene.claimed(linked)
    mine = scene.claimed(scene.me, "2026-03-06 09:00", "2026-03-06 10:00")
    theirs = scene.claimed(scene.leader, "2026-03-07 09:00", "2026-03-07 10:00")
    refused = [
        (Actor(uuid4(), "unit_operator", unit, volunteer=mother), claim),  # who claimed, with a second account
        (Actor(uuid4(), "unit_operator", unit, volunteer=scene.volunteer), mine),  # who served, with a second account
        (Actor(uuid4(), "clerk", volunteer=scene.volunteer), theirs),  # who served, whoever claimed
        (Actor(uuid4(), "unit_operator", unit, wards=(scene.volunteer,)), theirs),  # the guardian of who served
    ]
    for who, one in refused:
        assert code(scene.approve(who, one)) == (409, "claim.own"), who
        assert code(scene.refuse(who, one)) == (409, "claim.own"), who
    assert scene.ledger() == []
    someone = Actor(uuid4(), "unit_operator", unit, volunteer=uuid4(), wards=(uuid4(),))
    assert [scene.approve(someone, one).status_code for one in (claim, mine, theirs)] == [200, 200, 200]


def test_a_claim_is_decided_once(scene: Scene) -> None:
    refused, withdrawn, approved = (
        scene.claimed(scene.me, f"2026-03-0{day} 09:00", f"2026-03-0{day} 10:00") for day in (1, 2, 3)
    )
    first = scene.refuse(scene.clerk, refused)
    assert (first.status_code, (first.json or {})["reason"]) == (200, "签到表上没有本人")
    assert scene.refuse(scene.other, refused, "另一个理由").json == first.json
    back = scene.decide(scene.me, withdrawn["id"], "withdraw")
    assert (back.status_code, (back.json or {})["state"]) == (200, "withdrawn")
    assert scene.decide(scene.me, withdrawn["id"], "withdraw").json == back.json
    assert scene.approve(scene.clerk, approved).status_code == 200
    wrong = [
        (refused, "refused", ["approve", "withdraw"]),
        (withdrawn, "withdrawn", ["approve", "refuse"]),
        (approved, "approved", ["refuse", "withdraw"]),
    ]
    for claim, state, verbs in wrong:
        for verb in verbs:
            who = scene.me if verb == "withdraw" else scene.clerk
            body = {"reason": "不符合要求"} if verb == "refuse" else {}
            answer = scene.decide(who, claim["id"], verb, **body)
            assert (*code(answer), (answer.json or {})["state"]) == (409, "claim.decided", state)
    assert [row["kind"] for row in scene.ledger()] == ["entry"]
    assert scene.audited(refused["id"])[1:] == [("claim.refused", scene.clerk.subject, "签到表上没有本人")]
    # What was refused or withdrawn may be claimed anew.
    for span in (("2026-03-01 09:00", "2026-03-01 10:00"), ("2026-03-02 09:00", "2026-03-02 10:00")):
        scene.claimed(scene.me, *span)


@pytest.mark.parametrize("reason", [None, "", "不行", "字" * 201, 5])
def test_a_refusal_says_why(scene: Scene, reason: Any) -> None:
    claim = scene.claimed(scene.me)
    answer = scene.post(scene.clerk, f"/v1/claims/{claim['id']}:refuse", {} if reason is None else {"reason": reason})
    assert code(answer) == (422, "input.invalid")
    assert (answer.json or {})["errors"][0]["pointer"] == "/reason"
    assert scene.get(scene.me, f"/v1/claims/{claim['id']}")["state"] == "claimed"


def test_only_who_made_a_claim_withdraws_it(scene: Scene) -> None:
    claim = scene.claimed(scene.parent)
    for who in (scene.me, scene.leader, scene.operator):
        assert code(scene.decide(who, claim["id"], "withdraw")) == (403, "claim.not_yours")
    assert code(scene.decide(scene.stranger, claim["id"], "withdraw")) == (404, "claim.not_found")
    assert scene.decide(scene.parent, claim["id"], "withdraw").status_code == 200


# --- What hours are refused by, claims are --------------------------------------------------------------

WRONG: list[tuple[str, tuple[str, str], dict[str, Any], tuple[int, str]]] = [
    ("more minutes than the span", SPAN, {"minutes": 121}, (422, "hours.invalid")),
    ("end before start", SPAN[::-1], {}, (422, "hours.ends_before_start")),
    ("not over yet", ("2026-12-30 09:00", "2026-12-30 10:00"), {}, (422, "hours.in_future")),
    ("before the activity", ("2025-11-05 09:00", "2025-11-05 10:00"), {}, (422, "hours.outside_activity")),
    ("an activity there is not", SPAN, {"activity_id": str(uuid4())}, (422, "activity.unknown")),
    ("no minutes", SPAN, {"minutes": 0}, (422, "hours.invalid")),
    ("half a minute", SPAN, {"minutes": 12.5}, (422, "input.invalid")),
    ("minutes in words", SPAN, {"minutes": "两小时"}, (422, "input.invalid")),
    ("no evidence", SPAN, {"evidence": None}, (422, "input.invalid")),
    ("hardly any evidence", SPAN, {"evidence": "有"}, (422, "input.invalid")),
    ("evidence with a zero-width space", SPAN, {"evidence": "签到\u200b表第三页"}, (422, "input.invalid")),
    ("a field there is not", SPAN, {"approved_by": str(uuid4())}, (422, "input.invalid")),
    ("a state of one's own", SPAN, {"state": "approved"}, (422, "input.invalid")),
]


@pytest.mark.parametrize(("what", "span", "fields", "expected"), WRONG, ids=[one[0] for one in WRONG])
def test_what_hours_are_refused_by_claims_are(
    scene: Scene, what: str, span: tuple[str, str], fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    for who in (scene.me, scene.operator):
        answer = scene.post(who, "/v1/claims", {**scene.body(*span), **fields})
        assert code(answer) == expected, (what, answer.text)
    assert fetch(scene.service, "SELECT FROM hour_claims WHERE volunteer_id = :one", one=scene.volunteer) == []


def test_the_ledger_is_looked_at_when_claiming_and_again_when_approving(scene: Scene) -> None:
    entry = scene.entry("2026-03-05 08:00", "2026-03-05 09:30")
    overlapping = scene.claim(scene.me)
    assert (*code(overlapping), (overlapping.json or {})["other"]) == (409, "hours.overlap", entry["id"])
    same = scene.claim(scene.me, "2026-03-05 08:00", "2026-03-05 09:30")
    assert (*code(same), (same.json or {})["other"]) == (409, "claim.recorded", entry["id"])
    # Logged by others after it was claimed: partly the same time, the very same, or a day that is full by then.
    partly, very, full = (
        scene.claimed(scene.me, f"2026-03-1{day} 20:00", f"2026-03-1{day} 22:00") for day in (0, 1, 2)
    )
    scene.entry("2026-03-10 21:00", "2026-03-10 23:00")
    recorded_since = scene.entry("2026-03-11 20:00", "2026-03-11 22:00")
    scene.entry("2026-03-12 00:00", "2026-03-12 20:00")
    scene.entry("2026-03-12 22:00", "2026-03-13 02:00")
    assert code(scene.approve(scene.clerk, partly)) == (409, "hours.overlap")
    again = scene.approve(scene.clerk, very)
    assert (*code(again), (again.json or {})["other"]) == (409, "claim.recorded", recorded_since["id"])
    limit = scene.approve(scene.clerk, full)
    assert code(limit) == (422, "hours.day_limit")
    assert "errors" not in (limit.json or {}), "no field of this request is wrong"
    for claim in (partly, very, full):
        assert scene.get(scene.me, f"/v1/claims/{claim['id']}")["state"] == "claimed"
        assert scene.refuse(scene.clerk, claim).status_code == 200


def test_the_same_claim_is_there_once_and_one_that_overlaps_waits_its_turn(scene: Scene) -> None:
    claim = scene.claimed(scene.me)
    for who in (scene.me, scene.parent, scene.leader):
        again = scene.claim(who, evidence="另一份签到表")
        assert (again.status_code, again.json) == (200, claim), who
    part = scene.claim(scene.parent, "2026-03-05 10:00", "2026-03-05 10:30")
    assert (*code(part), (part.json or {})["other"]) == (409, "claim.overlap", claim["id"])
    other = replace(scene.leader, team=_other_team(scene))
    body = {**scene.body("2026-03-05 10:00", "2026-03-05 10:30"), "activity_id": str(_activity_of(scene, other.team))}
    hidden = scene.post(other, "/v1/claims", body)
    assert code(hidden) == (409, "claim.overlap")
    assert "other" not in (hidden.json or {})
    assert claim["id"] not in hidden.text
    scene.claimed(scene.me, "2026-03-05 11:00", "2026-03-05 12:00")
    scene.approve(scene.clerk, claim)
    assert code(scene.claim(scene.me)) == (409, "claim.recorded")


def _other_team(scene: Scene) -> str:
    form = {"code": f"{scene.world.team_code}-B", "name": "二队", "unit_code": scene.world.unit_code}
    assert scene.office.post("/v1/teams", json=form).status_code == 201
    return str(form["code"])


def _activity_of(scene: Scene, team: str | None) -> UUID:
    return scene.world.add_activity(team_code=team)


# --- Whose, and where -----------------------------------------------------------------------------------


def test_one_claims_for_oneself_ones_wards_ones_team_and_ones_unit(scene: Scene) -> None:
    elsewhere = World(scene.service)
    [stranger] = elsewhere.add_volunteers(1)
    for who in (scene.me, scene.parent, Actor(uuid4(), "volunteer"), Actor(uuid4(), "guardian")):
        foreign_one, nobody = (scene.claim(who, one=one).json or {} for one in (stranger, uuid4()))
        assert (foreign_one["status"], foreign_one["code"]) == (422, "volunteer.unknown")
        assert {**foreign_one, "trace_id": ""} == {**nobody, "trace_id": ""}
    foreign = {**scene.body(), "activity_id": str(elsewhere.activity_id)}
    for who in (scene.leader, scene.operator):
        assert code(scene.post(who, "/v1/claims", foreign)) == (422, "activity.unknown")
    # Who serves elsewhere claims for himself there, and those who are there decide.
    claim = scene.post(scene.me, "/v1/claims", foreign)
    assert claim.status_code == 201, claim.text
    there = Actor(uuid4(), "unit_operator", elsewhere.unit_code)
    assert code(scene.approve(scene.operator, claim.json or {})) == (404, "claim.not_found")
    assert scene.approve(there, claim.json or {}).status_code == 200


def test_what_is_out_of_reach_is_not_there(scene: Scene) -> None:
    claim = scene.claimed(scene.me)
    for verb, body in (("approve", {}), ("refuse", {"reason": "不符合要求"})):
        foreign = scene.decide(scene.stranger, claim["id"], verb, **body)
        nothing = scene.decide(scene.stranger, uuid4(), verb, **body)
        assert code(foreign) == code(nothing) == (404, "claim.not_found")
        assert code(scene.decide(scene.leader, claim["id"], verb, **body)) == (403, "right.missing")
        assert code(scene.decide(scene.me, claim["id"], verb, **body)) == (403, "right.missing")
    for who in (scene.clerk, scene.admin):
        assert code(scene.claim(who)) == (403, "right.missing")
    assert code(scene.door.get(f"/v1/claims/{claim['id']}")) == (401, "token.missing")


def test_claims_are_listed_by_page_and_state_within_reach(scene: Scene) -> None:
    made = [scene.claimed(scene.me, f"2026-03-0{day} 09:00", f"2026-03-0{day} 10:00") for day in range(1, 6)]
    scene.approve(scene.clerk, made[0])
    scene.refuse(scene.clerk, made[1])
    scene.decide(scene.me, made[2]["id"], "withdraw")
    ids = [claim["id"] for claim in made]

    def listed(who: Actor, query: str = "") -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            page = scene.get(who, f"/v1/claims?limit=2{query}{after}")
            found += [item["id"] for item in page["items"]]
            if page["after"] is None:
                return found
            after = f"&after={page['after']}"

    watching = [Actor(uuid4(), role) for role in ("auditor", "privacy_officer")]
    for who in (scene.me, scene.parent, scene.leader, scene.operator, scene.clerk, scene.admin, *watching):
        assert listed(who, f"&volunteer={scene.volunteer}") == ids, who
    for who in (scene.stranger, replace(scene.me, volunteer=uuid4()), replace(scene.parent, wards=())):
        assert listed(who, f"&volunteer={scene.volunteer}") == [], who
    states = {"claimed": ids[3:], "approved": ids[:1], "refused": ids[1:2], "withdrawn": ids[2:3]}
    for state, expected in states.items():
        assert listed(scene.operator, f"&state={state}") == expected
    unit, team = scene.world.unit_code, scene.world.team_code
    for query in (f"&unit={unit}", f"&team={team}", f"&activity={scene.world.activity_id}"):
        assert listed(scene.clerk, query) == ids
    assert listed(scene.operator, f"&unit={scene.stranger.unit}") == []
    answer = scene.door.get("/v1/claims?state=open", headers=bearing(scene.operator))
    assert code(answer) == (400, "query.invalid")


# --- People who may not serve now -----------------------------------------------------------------------


def test_a_child_without_a_guardians_consent_claims_nothing(scene: Scene) -> None:
    child = scene.child(consented=False)
    for who in (Actor(uuid4(), "guardian", wards=(child,)), Actor(uuid4(), "volunteer", volunteer=child), scene.leader):
        assert code(scene.claim(who, one=child)) == (409, "consent.required")


def test_of_a_withdrawn_consent_claims_are_not_approved_and_their_evidence_is_not_shown(scene: Scene) -> None:
    child = scene.child(consented=True)
    assert scene.office.post(f"/v1/volunteers/{child}:verify").status_code == 200
    parent = Actor(uuid4(), "guardian", wards=(child,))
    claim = scene.claimed(parent, one=child)
    [consent] = scene.get(parent, f"/v1/volunteers/{child}/consents")["items"]
    assert scene.post(parent, f"/v1/consents/{consent['id']}:withdraw").status_code == 200
    refused = scene.approve(scene.clerk, claim)
    assert code(refused) == (409, "volunteer.not_verified")
    assert code(scene.claim(parent, "2026-03-06 09:00", "2026-03-06 10:00", one=child)) == (
        409, "volunteer.not_verified",
    )  # fmt: skip
    assert scene.get(scene.clerk, f"/v1/claims/{claim['id']}")["evidence"] is None
    assert scene.get(parent, f"/v1/claims/{claim['id']}")["evidence"] == EVIDENCE
    assert (scene.ledger(child), scene.told(child)) == ([], [])
    assert scene.refuse(scene.clerk, claim).status_code == 200


def test_of_who_is_erased_claims_keep_no_evidence_and_wait_no_longer(scene: Scene) -> None:
    waiting = scene.claimed(scene.me)
    done = scene.claimed(scene.me, "2026-03-06 09:00", "2026-03-06 10:00")
    scene.approve(scene.clerk, done)
    [stored] = fetch(scene.service, "SELECT evidence FROM hour_claims WHERE id = :id", id=waiting["id"])
    assert stored["evidence"].startswith("p"), "encrypted with the key of the person"
    assert EVIDENCE not in stored["evidence"]
    held = scene.get(scene.me, f"/v1/volunteers/{scene.volunteer}/export")["claims"]
    assert [(one["id"], one["evidence"]) for one in held] == [(waiting["id"], EVIDENCE), (done["id"], EVIDENCE)]
    officer = Actor(uuid4(), "privacy_officer")
    request = scene.post(scene.me, f"/v1/volunteers/{scene.volunteer}:request-erasure").json or {}
    decided = scene.post(officer, f"/v1/erasure-requests/{request['id']}:decide", {"granted": True})
    assert decided.status_code == 200, decided.text
    shown = {one["id"]: one for one in scene.get(scene.clerk, f"/v1/claims?volunteer={scene.volunteer}")["items"]}
    assert (shown[waiting["id"]]["state"], shown[waiting["id"]]["evidence"]) == ("withdrawn", None)
    assert (shown[done["id"]]["state"], shown[done["id"]]["evidence"]) == ("approved", None)
    assert code(scene.approve(scene.clerk, waiting)) == (409, "claim.decided")
    assert code(scene.claim(scene.leader, "2026-03-08 09:00", "2026-03-08 10:00")) == (409, "volunteer.not_verified")
    assert [row["minutes"] for row in scene.ledger()] == [60]


# --- Twice, at once, and cut short ----------------------------------------------------------------------


def test_of_two_who_approve_at_once_one_enters_the_hours_and_both_get_the_same_answer(scene: Scene) -> None:
    claims_made = [scene.claimed(scene.me, f"2026-03-0{day} 09:00", f"2026-03-0{day} 10:00") for day in range(1, 7)]
    for claim in claims_made:
        approvers = [scene.other, scene.operator, scene.clerk, scene.admin]
        answers = at_once([_work(scene, who, claim) for who in approvers])
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1
        assert (answers[0].json or {})["decided_by"] in {str(who.subject) for who in approvers}
    assert [row["minutes"] for row in scene.ledger()] == [60] * 6
    assert scene.told() == ["HoursLogged"] * 6


def _work(scene: Scene, who: Actor, claim: dict[str, Any]) -> Callable[[], Any]:
    return lambda: scene.approve(who, claim)


def test_of_approving_refusing_and_withdrawing_at_once_one_wins(scene: Scene) -> None:
    for day in range(1, 9):
        claim = scene.claimed(scene.me, f"2026-03-0{day} 09:00", f"2026-03-0{day} 10:00")
        answers = at_once(
            [
                _work(scene, scene.clerk, claim),
                lambda claim=claim: scene.refuse(scene.other, claim),  # type: ignore[misc]
                lambda claim=claim: scene.decide(scene.me, claim["id"], "withdraw"),  # type: ignore[misc]
            ]
        )
        assert sorted(code(answer) for answer in answers) == [(200, "")] + [(409, "claim.decided")] * 2
        state = scene.get(scene.me, f"/v1/claims/{claim['id']}")["state"]
        entered = [row for row in scene.ledger() if row["approved_by"] == scene.clerk.subject]
        approved = fetch(
            scene.service, "SELECT FROM hour_claims WHERE volunteer_id = :one AND state = 'approved'",
            one=scene.volunteer,
        )  # fmt: skip
        assert len(entered) == len(approved), state


def test_the_same_hours_claimed_and_logged_at_once_are_there_once(scene: Scene) -> None:
    for day in range(1, 7):
        span = (f"2026-03-0{day} 09:00", f"2026-03-0{day} 10:00")
        claim = scene.claimed(scene.me, *span)
        logged, approved = at_once(
            [
                lambda span=span: scene.post(  # type: ignore[misc]
                    scene.operator, "/v1/hours", scene.world.body(scene.volunteer, *span)
                ),
                _work(scene, scene.clerk, claim),
            ]
        )
        assert logged.status_code in {200, 201}, logged.text
        assert code(approved) == ((200, "") if logged.status_code == 200 else (409, "claim.recorded"))
    assert [row["minutes"] for row in scene.ledger()] == [60] * 6


def test_many_who_claim_the_same_at_once_make_one_claim(scene: Scene) -> None:
    answers = at_once([lambda: scene.claim(scene.me)] * 6)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({(answer.json or {})["id"] for answer in answers}) == 1


def test_with_a_key_claims_and_decisions_are_repeated_not_redone(scene: Scene) -> None:
    key = {"Idempotency-Key": f"claim-{uuid4()}"}
    first, again = (scene.post(scene.me, "/v1/claims", scene.body(), **key) for _ in range(2))
    assert (first.status_code, again.status_code, again.text) == (201, 201, first.text)
    assert again.headers["Idempotency-Replayed"] == "true"
    other = scene.post(scene.me, "/v1/claims", scene.body("2026-03-08 09:00", "2026-03-08 10:00"), **key)
    assert code(other) == (422, "idempotency.key_reused")
    path = f"/v1/claims/{(first.json or {})['id']}:approve"
    answers = [scene.post(scene.clerk, path, **key) for _ in range(2)]
    assert (answers[0].status_code, answers[1].text) == (200, answers[0].text)
    # The claimant does not get the approver's answer by his key.
    own = scene.post(replace(scene.me, role="clerk"), path, **key)
    assert code(own) == (409, "claim.own")
    assert len(scene.ledger()) == 1


@pytest.mark.parametrize("where", ["before the claim is marked", "at the commit"])
def test_cut_short_nothing_of_an_approval_is_there_and_it_can_be_done_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    claim = scene.claimed(scene.me)

    class CutShort(Exception):
        """As when the process dies there."""

    def die(*_: Any, **__: Any) -> None:
        raise CutShort

    with monkeypatch.context() as patch:
        if where == "at the commit":
            patch.setattr("xinhuo.chassis.roundtrips.commit", die)
        else:
            patch.setattr(claims, "_decide", die)
        answer = scene.approve(scene.clerk, claim)
    assert answer.status_code == 500
    assert (scene.ledger(), scene.told()) == ([], [])
    assert scene.get(scene.me, f"/v1/claims/{claim['id']}")["state"] == "claimed"
    assert [action for action, _, _ in scene.audited(claim["id"])] == ["claim.made"]
    assert scene.approve(scene.clerk, claim).status_code == 200
    assert (len(scene.ledger()), scene.told()) == (1, ["HoursLogged"])


def test_logging_directly_asks_nothing_about_claims_and_says_who_recorded(scene: Scene) -> None:
    scene.claimed(scene.me, "2026-03-09 09:00", "2026-03-09 10:00")
    with noted(scene.service.runtime.db.engine) as statements:
        entry = scene.entry()
    assert entry["approved_by"] is None
    assert entry["recorded_by"] == str(scene.operator.subject)
    assert not [text for text in statements.texts if "hour_claims" in text]
    [row] = scene.ledger()
    assert (row["source"], row["recorded_by"], row["approved_by"]) == ("api", scene.operator.subject, None)
