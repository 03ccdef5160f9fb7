"""Personal data in clear: with a reason, of a child with an approval, and never without a trace."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from werkzeug.test import Client, TestResponse

from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, person
from tests.support.identity import bearing, verifier
from tests.support.services import fetch
from xinhuo.chassis.identity.actor import Actor
from xinhuo.cli.build import make_app

CONSENT = {
    "guardian_name": "测试家长", "guardian_phone": "14200010000", "relation": "mother", "consented_on": "2026-03-01",
}  # fmt: skip
WHY = "核对证书信息"
ALL = ["name", "id_number", "phone"]


@pytest.fixture(scope="module")
def door(service: Volunteers) -> Iterator[Client]:
    """The way in for those who have a token."""
    before = service.runtime.verifier
    service.runtime.verifier = verifier()
    yield Client(make_app(service))
    service.runtime.verifier = before


def staff(role: str, **fields: Any) -> Actor:
    return Actor(uuid4(), role, **fields)


def registered(client: Client, world: World, born: date | None = None) -> tuple[UUID, dict[str, Any]]:
    form = person(world.unit_code)
    if born is not None:
        form |= {"id_number": id_number(born), "guardian_consent": CONSENT}
    made = client.post("/v1/volunteers", json=form)
    assert made.status_code == 201, made.text
    return UUID((made.json or {})["id"]), form


def child(client: Client, world: World) -> tuple[UUID, dict[str, Any]]:
    today = datetime.now(UTC).date()
    return registered(client, world, date(today.year - 12, 1, 2))


def ask(door: Client, who: Actor, one: UUID, fields: list[str] | None = None, **body: Any) -> TestResponse:
    form = {"fields": fields or ALL, **body}
    return door.post(f"/v1/volunteers/{one}:unmask", json=form, headers=bearing(who))


def looks(service: Volunteers, one: UUID) -> list[tuple[Any, ...]]:
    rows = fetch(service, "SELECT subject, role, outcome, reason FROM audit_log WHERE action = 'volunteer.unmasked'"
                          " AND object_id = :id ORDER BY seq", id=str(one))  # fmt: skip
    return [(row["subject"], row["role"], row["outcome"], row["reason"]) for row in rows]


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, (answer.json or {}).get("code", "")


def test_who_says_why_sees_what_he_asked_for_and_no_more_and_it_is_written_down(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, form = registered(client, world)
    clerk = staff("clerk")
    answer = ask(door, clerk, one, reason=WHY)
    assert answer.status_code == 200, answer.text
    assert answer.json == {"id": str(one), **{name: form[name] for name in ALL}}
    assert answer.headers["Cache-Control"] == "no-store"
    only = ask(door, clerk, one, ["phone"], reason=WHY)
    assert only.json == {"id": str(one), "phone": form["phone"]}
    assert looks(service, one) == [(clerk.subject, "clerk", "done", WHY)] * 2
    log = fetch(service, "SELECT t::text FROM audit_log t")
    assert not any(form["id_number"] in str(row) or form["phone"] in str(row) for row in log)


@pytest.mark.parametrize("reason", [None, "", "  ", "核对", "三个字"])
def test_without_a_reason_it_is_refused_and_that_is_written_down(
    service: Volunteers, client: Client, world: World, door: Client, reason: str | None
) -> None:
    one, form = registered(client, world)
    clerk = staff("clerk")
    answer = ask(door, clerk, one, **({} if reason is None else {"reason": reason}))
    assert code(answer) == (422, "unmask.reason_required")
    assert (answer.json or {})["clause"] == "《中华人民共和国个人信息保护法》第五十一条"
    assert form["id_number"] not in answer.text
    [(subject, role, outcome, _)] = looks(service, one)
    assert (subject, role, outcome) == (clerk.subject, "clerk", "refused")


def test_a_reason_has_four_to_two_hundred_characters(client: Client, world: World, door: Client) -> None:
    one, _ = registered(client, world)
    clerk = staff("clerk")
    assert ask(door, clerk, one, reason="核对信息").status_code == 200
    assert ask(door, clerk, one, reason="核" * 200).status_code == 200
    assert code(ask(door, clerk, one, reason="核" * 201)) == (422, "input.invalid")


@pytest.mark.parametrize("fields", [[], ["guardian_consent"], ["name"] * 4, "name"])
def test_what_can_be_seen_is_a_closed_list(client: Client, world: World, door: Client, fields: Any) -> None:
    one, _ = registered(client, world)
    answer = door.post(
        f"/v1/volunteers/{one}:unmask", json={"fields": fields, "reason": WHY}, headers=bearing(staff("clerk"))
    )
    assert answer.status_code == 422


def test_oneself_and_ones_child_are_seen_without_a_reason_and_it_is_written_down(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, form = child(client, world)
    me, parent = staff("volunteer", volunteer=one), staff("guardian", wards=(one,))
    for who in (me, parent):
        answer = ask(door, who, one)
        assert (answer.status_code, (answer.json or {}).get("id_number")) == (200, form["id_number"])
    assert looks(service, one) == [(me.subject, "volunteer", "done", None), (parent.subject, "guardian", "done", None)]


def test_what_is_out_of_reach_is_not_there(client: Client, world: World, door: Client) -> None:
    one, _ = registered(client, world)
    for who in (staff("unit_operator", unit="U-ELSEWHERE"), staff("volunteer", volunteer=uuid4()),
                staff("guardian", wards=(uuid4(),))):  # fmt: skip
        assert code(ask(door, who, one, reason=WHY)) == (404, "volunteer.not_found")
    for role in ("bureau_admin", "team_leader", "auditor", "privacy_officer", "department", "ops"):
        assert code(ask(door, staff(role), one, reason=WHY)) == (403, "right.missing")


def test_of_a_child_staff_see_nothing_without_a_standing_approval(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, form = child(client, world)
    clerk, other, officer = staff("clerk"), staff("clerk"), staff("privacy_officer")
    refused = ask(door, clerk, one, reason=WHY)
    assert code(refused) == (403, "unmask.approval_required")
    assert (refused.json or {})["clause"] == "《未成年人网络保护条例》第三十六条"
    path, body = f"/v1/volunteers/{one}/unmask-approvals", {"for_subject": str(clerk.subject), "reason": "家访核对"}
    assert code(door.post(path, json=body, headers=bearing(clerk))) == (403, "right.missing")
    made = door.post(path, json=body, headers=bearing(officer))
    assert made.status_code == 201, made.text
    shown = made.json or {}
    assert (shown["asked_by"], shown["approved_by"]) == (str(clerk.subject), str(officer.subject))
    lasts = datetime.fromisoformat(shown["expires_at"]) - datetime.fromisoformat(shown["approved_at"])
    assert lasts == timedelta(days=7)
    assert (ask(door, clerk, one, reason=WHY).json or {})["phone"] == form["phone"]
    assert code(ask(door, other, one, reason=WHY)) == (403, "unmask.approval_required")
    with service.runtime.db.transaction() as session:
        session.execute(
            sa.text("UPDATE unmask_approvals SET approved_at = approved_at - interval '8 days',"
                    " expires_at = expires_at - interval '8 days' WHERE id = :id"), {"id": shown["id"]}
        )  # fmt: skip
    assert code(ask(door, clerk, one, reason=WHY)) == (403, "unmask.approval_required")
    assert [outcome for _, _, outcome, _ in looks(service, one)] == ["refused", "done", "refused", "refused"]


def test_the_service_that_sends_messages_needs_no_approval_for_a_child(
    client: Client, world: World, door: Client
) -> None:
    one, form = child(client, world)
    answer = ask(door, staff("service"), one, ["phone"], reason="发送通知")
    assert (answer.json or {})["phone"] == form["phone"]


def test_nobody_approves_for_himself(service: Volunteers, client: Client, world: World, door: Client) -> None:
    one, _ = child(client, world)
    officer = staff("privacy_officer")
    path, body = f"/v1/volunteers/{one}/unmask-approvals", {"for_subject": str(officer.subject), "reason": "家访核对"}
    assert code(door.post(path, json=body, headers=bearing(officer))) == (409, "unmask.own_approval")
    assert code(door.post(path, json={**body, "days": 8}, headers=bearing(officer))) == (422, "input.invalid")
    nobody = f"/v1/volunteers/{uuid4()}/unmask-approvals"
    body = {**body, "for_subject": str(uuid4())}
    assert code(door.post(nobody, json=body, headers=bearing(officer))) == (404, "volunteer.not_found")
    for asked_by, days in ((officer.subject, 1), (uuid4(), 8)):
        with pytest.raises(IntegrityError), service.runtime.db.transaction() as session:
            session.execute(
                sa.text("INSERT INTO unmask_approvals VALUES (gen_random_uuid(), :one, :asked, :officer, '家访核对',"
                        " now(), now() + make_interval(days => :days))"),
                {"one": one, "asked": asked_by, "officer": officer.subject, "days": days},
            )  # fmt: skip


def test_an_idempotency_key_keeps_no_answer(service: Volunteers, client: Client, world: World, door: Client) -> None:
    one, _ = registered(client, world)
    headers = {**bearing(staff("clerk")), "Idempotency-Key": str(uuid4())}
    for _ in range(2):
        answer = door.post(f"/v1/volunteers/{one}:unmask", json={"fields": ALL, "reason": WHY}, headers=headers)
        assert answer.status_code == 200
    assert len(looks(service, one)) == 2
    assert fetch(service, "SELECT 1 FROM idempotency_keys WHERE route LIKE '%unmask%'") == []
