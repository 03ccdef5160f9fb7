"""A reversal of many minutes is asked for by one and decided by another; smaller ones go as they always did."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.volunteers.commands.hours import reverse_entries
from tests.support.services import fetch
from tests.support.threads import at_once
from xinhuo.chassis.db import database_now
from xinhuo.chassis.identity.actor import Actor

from .scene import Scene, code

LONG = ("2026-03-05 08:00", "2026-03-05 17:00")
SHORT = ("2026-03-06 08:00", "2026-03-06 16:00")
DECIDERS = ("other", "clerk", "admin")


def asked(scene: Scene, who: Actor, entry: dict[str, Any]) -> dict[str, Any]:
    answer = scene.reverse(who, entry)
    assert answer.status_code == 202, answer.text
    return answer.json or {}


def decide(scene: Scene, who: Actor, request: Any, verb: str, **body: Any) -> Any:
    return scene.post(who, f"/v1/reversal-requests/{request}:{verb}", body or None)


@pytest.mark.parametrize(("minutes", "status"), [(1, 201), (480, 201), (481, 202), (540, 202)])
def test_a_reversal_of_more_than_a_working_day_waits_for_somebody_else(scene: Scene, minutes: int, status: int) -> None:
    made = scene.post(scene.operator, "/v1/hours", scene.world.body(scene.volunteer, *LONG, minutes)).json or {}
    answer = scene.reverse(scene.clerk, made)
    assert answer.status_code == status, answer.text
    rows = scene.ledger()
    if status == 201:
        assert (rows[1]["minutes"], rows[1]["recorded_by"], rows[1]["approved_by"]) == (
            -minutes, scene.clerk.subject, None,
        )  # fmt: skip
        assert scene.audited(made["id"]) == [("hours.reversed", scene.clerk.subject, "wrong_time")]
    else:
        assert [row["kind"] for row in rows] == ["entry"]
        shown = answer.json or {}
        assert (shown["state"], shown["minutes"], shown["reason_code"]) == ("asked", minutes, "wrong_time")
        assert (shown["asked_by"], shown["entry_id"]) == (str(scene.clerk.subject), made["id"])
        assert scene.audited(made["id"]) == [("reversal.asked", scene.clerk.subject, "wrong_time")]
        assert scene.told() == ["HoursLogged"]


@pytest.mark.parametrize("decider", DECIDERS)
def test_somebody_else_decides_and_the_ledger_names_both(scene: Scene, decider: str) -> None:
    entry, by = scene.entry(*LONG), getattr(scene, decider)
    request = asked(scene, scene.operator, entry)
    # To ask again, whoever does, changes nothing and decides nothing.
    for who in (scene.operator, scene.clerk):
        assert asked(scene, who, entry) == request

    approved = decide(scene, by, request["id"], "approve")

    assert approved.status_code == 200, approved.text
    shown = approved.json or {}
    assert (shown["state"], shown["decided_by"], shown["decided_as"]) == ("approved", str(by.subject), by.role)
    _, reversal = scene.ledger()
    assert (str(reversal["id"]), reversal["minutes"]) == (shown["reversal_id"], -540)
    assert (reversal["recorded_by"], reversal["approved_by"]) == (scene.operator.subject, by.subject)
    assert scene.told() == ["HoursLogged", "HoursReversed"]
    again = decide(scene, scene.clerk, request["id"], "approve")
    assert (again.status_code, again.json) == (200, shown)
    assert len(scene.ledger()) == 2
    assert scene.audited(entry["id"]) == [
        ("reversal.asked", scene.operator.subject, "wrong_time"),
        ("reversal.approved", by.subject, None),
        ("hours.reversed", by.subject, "wrong_time"),
    ]
    # The time is free for what was right, and an entry that is taken back is so for everybody.
    assert code(scene.reverse(scene.clerk, entry)) == (409, "entry.already_reversed")
    scene.entry(*LONG)


def test_the_administrator_is_the_second_person_and_never_the_first(scene: Scene) -> None:
    for span in (LONG, SHORT):
        entry = scene.entry(*span)
        assert code(scene.reverse(scene.admin, entry)) == (403, "right.missing")
    assert [row["kind"] for row in scene.ledger()] == ["entry", "entry"]


def test_nobody_decides_on_what_he_asked_for(scene: Scene) -> None:
    person = uuid4()
    who = replace(scene.operator, volunteer=person)
    request = asked(scene, who, scene.entry(*LONG))
    same = [who, replace(who, role="clerk"), Actor(uuid4(), "clerk", volunteer=person)]
    for decider in same:
        for verb, body in (("approve", {}), ("refuse", {"reason": "记录无误"})):
            assert code(decide(scene, decider, request["id"], verb, **body)) == (409, "reversal.own_request")
    assert [row["kind"] for row in scene.ledger()] == ["entry"]
    assert decide(scene, Actor(uuid4(), "clerk", volunteer=uuid4()), request["id"], "approve").status_code == 200


def test_a_refused_reversal_leaves_the_entry_and_may_be_asked_for_again(scene: Scene) -> None:
    entry = scene.entry(*LONG)
    request = asked(scene, scene.operator, entry)
    for reason in ({}, {"reason": "不"}):
        answer = scene.post(scene.clerk, f"/v1/reversal-requests/{request['id']}:refuse", reason)
        assert code(answer) == (422, "input.invalid")
    refused = decide(scene, scene.clerk, request["id"], "refuse", reason="签到表证实服务九小时")
    assert (refused.status_code, (refused.json or {})["state"]) == (200, "refused")
    assert decide(scene, scene.other, request["id"], "refuse", reason="又一个理由").json == refused.json
    late = decide(scene, scene.admin, request["id"], "approve")
    assert (*code(late), (late.json or {})["state"]) == (409, "reversal.decided", "refused")
    assert [row["kind"] for row in scene.ledger()] == ["entry"]
    anew = asked(scene, scene.clerk, entry)
    assert anew["id"] != request["id"]
    assert decide(scene, scene.other, anew["id"], "approve").status_code == 200
    assert code(decide(scene, scene.admin, anew["id"], "refuse", reason="来得太晚")) == (409, "reversal.decided")


def test_what_is_out_of_reach_is_not_there_and_lists_show_what_is(scene: Scene) -> None:
    entry = scene.entry(*LONG)
    assert code(scene.reverse(scene.stranger, entry)) == (404, "entry.not_found")
    request = asked(scene, scene.operator, entry)
    for verb, body in (("approve", {}), ("refuse", {"reason": "不属本单位"})):
        assert code(decide(scene, scene.stranger, request["id"], verb, **body)) == (404, "reversal.not_found")
        assert code(decide(scene, scene.clerk, uuid4(), verb, **body)) == (404, "reversal.not_found")
        assert code(decide(scene, scene.leader, request["id"], verb, **body)) == (403, "right.missing")

    def listed(who: Actor, query: str = "") -> list[str]:
        found = scene.get(who, f"/v1/reversal-requests?limit=200{query}")["items"]
        return [one["id"] for one in found if one["volunteer_id"] == str(scene.volunteer)]

    for who in (scene.me, scene.parent, scene.leader, scene.operator, scene.clerk, Actor(uuid4(), "auditor")):
        assert listed(who) == listed(who, "&state=asked") == [request["id"]]
        assert listed(who, "&state=approved") == []
    for who in (scene.stranger, replace(scene.me, volunteer=uuid4())):
        assert listed(who) == []


def test_pages_of_requests_follow_each_other(scene: Scene) -> None:
    made = [
        asked(scene, scene.operator, scene.entry(f"2026-03-0{day} 08:00", f"2026-03-0{day} 17:00"))["id"]
        for day in range(1, 4)
    ]
    found, after = [], ""
    for _ in made:
        page = scene.get(scene.operator, f"/v1/reversal-requests?limit=1{after}")
        found += [one["id"] for one in page["items"]]
        after = f"&after={page['after']}"
    assert found == made
    assert page["after"] is None


def test_of_two_who_decide_at_once_one_reverses_and_both_get_the_same_answer(scene: Scene) -> None:
    request = asked(scene, scene.operator, scene.entry(*LONG))
    answers = at_once([lambda who=who: decide(scene, who, request["id"], "approve")  # type: ignore[misc]
                       for who in (scene.other, scene.clerk, scene.admin)])  # fmt: skip
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert scene.told() == ["HoursLogged", "HoursReversed"]


def test_many_who_ask_at_once_make_one_request(scene: Scene) -> None:
    entry = scene.entry(*LONG)
    answers = at_once([lambda who=who: scene.reverse(who, entry)  # type: ignore[misc]
                       for who in (scene.operator, scene.other, scene.clerk)])  # fmt: skip
    assert {answer.status_code for answer in answers} == {202}
    assert len({(answer.json or {})["id"] for answer in answers}) == 1
    asks = [action for action, _, _ in scene.audited(entry["id"]) if action == "reversal.asked"]
    assert asks == ["reversal.asked"]


def test_with_a_key_a_request_and_a_decision_are_repeated_not_redone(scene: Scene) -> None:
    entry, key = scene.entry(*LONG), {"Idempotency-Key": f"reverse-{uuid4()}"}
    path, body = f"/v1/hours/{entry['id']}:reverse", {"reason_code": "duplicate"}
    first, again = (scene.post(scene.operator, path, body, **key) for _ in range(2))
    assert (first.status_code, again.status_code, again.text) == (202, 202, first.text)
    path = f"/v1/reversal-requests/{(first.json or {})['id']}:approve"
    first, again = (scene.post(scene.clerk, path, **key) for _ in range(2))
    assert (first.status_code, again.text) == (200, first.text)
    assert scene.told() == ["HoursLogged", "HoursReversed"]


def test_what_an_import_took_back_meanwhile_is_told_and_the_request_can_be_refused(scene: Scene) -> None:
    entry = scene.entry(*LONG)
    request = asked(scene, scene.operator, entry)
    with scene.service.runtime.db.transaction() as session:
        reverse_entries(session, [UUID(entry["id"])], "import_undone", database_now(session))
    assert code(decide(scene, scene.clerk, request["id"], "approve")) == (409, "entry.already_reversed")
    assert decide(scene, scene.clerk, request["id"], "refuse", reason="导入已撤销").status_code == 200
    assert code(scene.reverse(scene.operator, entry)) == (409, "entry.already_reversed")


def test_small_reversals_make_no_requests(scene: Scene) -> None:
    entry = scene.entry(*SHORT)
    assert scene.reverse(scene.operator, entry).status_code == 201
    assert fetch(scene.service, "SELECT FROM reversal_requests WHERE entry_id = :id", id=entry["id"]) == []
