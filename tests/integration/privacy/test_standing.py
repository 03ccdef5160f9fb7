"""Where a volunteer stands: pending, verified, suspended, left, and back; hours that there are stay in every state."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from werkzeug.test import Client, TestResponse

from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, log, person
from tests.support.identity import bearing, verifier
from tests.support.services import fetch, recorded
from tests.support.threads import at_once
from xinhuo.chassis.identity.actor import Actor
from xinhuo.cli.build import make_app

PARENT = {"guardian_name": "测试家长", "guardian_phone": "14200010000", "relation": "mother"}
CLERK = Actor(uuid4(), "clerk")
CHILD = date(datetime.now(UTC).year - 12, 1, 2)


@pytest.fixture(scope="module")
def door(service: Volunteers) -> Client:
    """The way in for those who have a token."""
    service.runtime.verifier = verifier()
    return Client(make_app(service))


def register(client: Client, world: World, *, verified: bool = True, **fields: Any) -> UUID:
    made = client.post("/v1/volunteers", json=person(world.unit_code, team_code=world.team_code, **fields))
    assert made.status_code == 201, made.text
    one = UUID((made.json or {})["id"])
    if verified:
        assert client.post(f"/v1/volunteers/{one}:verify").status_code == 200
    return one


def child(client: Client, world: World, **fields: Any) -> UUID:
    consent = {**PARENT, "consented_on": "2026-03-01"}
    return register(client, world, id_number=id_number(CHILD), guardian_consent=consent, **fields)


def move(client: Client, one: UUID, verb: str, reason: str | None = None) -> TestResponse:
    path = f"/v1/volunteers/{one}:{verb}"
    return client.post(path, json={"reason_code": reason}) if reason else client.post(path)


def moved(client: Client, one: UUID, verb: str, reason: str | None = None) -> str:
    answer = move(client, one, verb, reason)
    assert answer.status_code == 200, answer.text
    return str((answer.json or {})["state"])


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, (answer.json or {}).get("code", "")


def written(service: Volunteers, one: UUID) -> list[tuple[str, str | None]]:
    wanted = "SELECT action, reason FROM audit_log WHERE object_id = :id ORDER BY seq"
    return [(row["action"], row["reason"]) for row in fetch(service, wanted, id=str(one))]


@pytest.mark.parametrize(("verb", "reason", "status"), [
    ("suspend", "conduct", "suspended"), ("leave", "moved", "left"),
])  # fmt: skip
def test_who_is_suspended_or_has_left_gets_no_new_hours_and_keeps_the_old_ones(
    service: Volunteers, client: Client, world: World, verb: str, reason: str, status: str
) -> None:
    one = register(client, world)
    log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"))
    assert moved(client, one, verb, reason) == status
    body = world.body(one, "2026-03-06 09:00", "2026-03-06 10:00")
    refused = log(client, body, 409)
    assert refused["code"] == "volunteer.not_verified"
    [item] = (client.post("/v1/hours:batch", json={"items": [body]}).json or {})["items"]
    assert (item["status"], item["problem"]["code"]) == ("refused", "volunteer.not_verified")
    shown = client.get(f"/v1/volunteers/{one}").json or {}
    assert (shown["minutes_total"], shown["entries"], shown["teams"]) == (60, 1, [world.team_code])
    joining = client.post(f"/v1/teams/{world.team_code}/members", json={"volunteer_id": str(one)})
    assert code(joining) == (409, "volunteer.not_verified")
    assert code(move(client, one, "verify")) == (409, "volunteer.not_verified")
    assert [
        each["id"] for each in (client.get(f"/v1/volunteers?state={status}&team={world.team_code}").json or {})["items"]
    ] == [str(one)]


def test_the_office_suspends_and_resumes_and_the_log_says_why(
    service: Volunteers, client: Client, world: World
) -> None:
    one = register(client, world)
    assert moved(client, one, "suspend", "under_review") == "suspended"
    assert (client.get(f"/v1/volunteers/{one}").json or {})["suspended_for"] == "under_review"
    assert moved(client, one, "suspend", "conduct") == "suspended", "again changes nothing"
    assert (client.get(f"/v1/volunteers/{one}").json or {})["suspended_for"] == "under_review"
    assert moved(client, one, "resume") == moved(client, one, "resume") == "verified"
    assert (client.get(f"/v1/volunteers/{one}").json or {})["suspended_for"] is None
    log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"))
    assert written(service, one)[-2:] == [("volunteer.suspended", "under_review"), ("volunteer.resumed", None)]


def test_one_who_was_never_verified_is_not_after_a_suspension_either(client: Client, world: World) -> None:
    one = register(client, world, verified=False)
    assert moved(client, one, "suspend", "other") == "suspended"
    assert moved(client, one, "resume") == "pending"


def test_who_left_and_comes_back_is_verified_anew(service: Volunteers, client: Client, world: World) -> None:
    one = register(client, world)
    assert moved(client, one, "leave", "graduated") == moved(client, one, "leave", "moved") == "left"
    assert code(move(client, one, "suspend", "conduct")) == (409, "volunteer.has_left")
    assert moved(client, one, "resume") == "pending"
    assert (client.get(f"/v1/volunteers/{one}").json or {})["verified_at"] is None
    log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"), 409)
    assert moved(client, one, "verify") == "verified"
    log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"))
    assert written(service, one)[-3:] == [
        ("volunteer.left", "graduated"), ("volunteer.resumed", None), ("volunteer.verified", None),
    ]  # fmt: skip


def test_a_suspension_ends_when_the_person_leaves(client: Client, world: World) -> None:
    one = register(client, world)
    moved(client, one, "suspend", "conduct")
    assert moved(client, one, "leave", "own_wish") == "left"
    assert (client.get(f"/v1/volunteers/{one}").json or {})["suspended_for"] is None
    assert moved(client, one, "resume") == "pending"


def test_a_volunteer_leaves_himself_but_does_not_suspend_or_resume(client: Client, world: World, door: Client) -> None:
    one = register(client, world)
    me = bearing(Actor(uuid4(), "volunteer", volunteer=one))
    for verb, body in (("suspend", {"reason_code": "conduct"}), ("resume", None)):
        assert code(door.post(f"/v1/volunteers/{one}:{verb}", json=body, headers=me)) == (403, "right.missing")
    left = door.post(f"/v1/volunteers/{one}:leave", json={"reason_code": "own_wish"}, headers=me)
    assert (left.status_code, (left.json or {})["state"]) == (200, "left")
    other = bearing(Actor(uuid4(), "volunteer", volunteer=uuid4()))
    left = door.post(f"/v1/volunteers/{one}:leave", json={"reason_code": "own_wish"}, headers=other)
    assert code(left) == (404, "volunteer.not_found")


@pytest.mark.parametrize("body", [{}, {"reason_code": "bored"}, {"reason_code": "conduct", "note": "张三迟到"}])
def test_a_reason_is_one_of_the_list_and_nothing_else_is_taken(
    client: Client, world: World, body: dict[str, Any]
) -> None:
    one = register(client, world)
    for verb in ("suspend", "leave"):
        answer = client.post(f"/v1/volunteers/{one}:{verb}", json=body)
        assert code(answer) == (422, "input.invalid")
    assert (client.get(f"/v1/volunteers/{one}").json or {})["state"] == "verified"


# --- Children


def withdraw(door: Client, one: UUID) -> None:
    guardian = bearing(Actor(uuid4(), "guardian", wards=(one,)))
    listed = door.get(f"/v1/volunteers/{one}/consents", headers=guardian).json or {}
    [consent] = [each["id"] for each in listed["items"] if each["withdrawn_at"] is None]
    assert door.post(f"/v1/consents/{consent}:withdraw", headers=guardian).status_code == 200


def consent(door: Client, one: UUID) -> None:
    guardian = bearing(Actor(uuid4(), "guardian", wards=(one,)))
    given = door.post(f"/v1/volunteers/{one}/consents", json={"purpose": "registration"}, headers=guardian)
    assert given.status_code == 201, given.text


def test_a_child_without_consent_cannot_be_suspended_but_may_leave_and_waits_again_after(
    client: Client, world: World
) -> None:
    one = register(client, world, verified=False, id_number=id_number(CHILD))
    assert code(move(client, one, "suspend", "conduct")) == (409, "volunteer.waits_for_guardian")
    assert moved(client, one, "leave", "own_wish") == "left"
    assert moved(client, one, "resume") == "pending_guardian"


def test_what_a_guardian_stopped_the_office_does_not_start(client: Client, world: World, door: Client) -> None:
    one = child(client, world)
    withdraw(door, one)
    shown = client.get(f"/v1/volunteers/{one}").json or {}
    assert (shown["state"], shown["suspended_for"]) == ("suspended", None)
    assert code(move(client, one, "resume")) == (409, "consent.withdrawn")
    consent(door, one)
    assert (client.get(f"/v1/volunteers/{one}").json or {})["state"] == "verified"


@pytest.mark.parametrize("first", ["office", "guardian"])
def test_what_office_and_guardian_stopped_both_must_start(
    client: Client, world: World, door: Client, first: str
) -> None:
    one = child(client, world)
    steps = [lambda: moved(client, one, "suspend", "conduct"), lambda: withdraw(door, one)]
    for step in steps if first == "office" else steps[::-1]:
        step()
    assert code(move(client, one, "resume")) == (409, "consent.withdrawn")
    listed = client.get(f"/v1/volunteers?team={world.team_code}").json or {}
    assert listed["items"] == [], "nobody comes upon one whose guardian withdrew"
    consent(door, one)
    assert (client.get(f"/v1/volunteers/{one}").json or {})["state"] == "suspended", "the office has not spoken yet"
    listed = client.get(f"/v1/volunteers?team={world.team_code}").json or {}
    assert [each["id"] for each in listed["items"]] == [str(one)]
    assert moved(client, one, "resume") == "verified"


def test_one_whom_the_office_suspends_after_an_old_withdrawal_is_not_hidden(
    client: Client, world: World, door: Client
) -> None:
    one = child(client, world)
    withdraw(door, one)
    consent(door, one)
    moved(client, one, "suspend", "conduct")
    listed = client.get(f"/v1/volunteers?team={world.team_code}").json or {}
    assert [each["id"] for each in listed["items"]] == [str(one)]
    assert moved(client, one, "resume") == "verified"


def test_one_who_left_and_whose_guardian_withdraws_is_hidden_and_stays_away(
    client: Client, world: World, door: Client
) -> None:
    one = child(client, world)
    moved(client, one, "leave", "own_wish")
    withdraw(door, one)
    assert (client.get(f"/v1/volunteers?team={world.team_code}").json or {})["items"] == []
    assert code(move(client, one, "resume")) == (409, "consent.withdrawn")


# --- The rest


def test_hours_and_a_suspension_at_once_are_in_some_order(service: Volunteers, client: Client, world: World) -> None:
    people = [register(client, world) for _ in range(6)]

    def hours(one: UUID) -> int:
        return client.post("/v1/hours", json=world.body(one, "2026-03-05 09:00", "2026-03-05 10:00")).status_code

    for one in people:
        logged, status = at_once([lambda one=one: hours(one), lambda one=one: moved(client, one, "suspend", "conduct")])  # type: ignore[misc]
        assert (logged in (201, 409), status) == (True, "suspended")
        counted = (client.get(f"/v1/volunteers/{one}").json or {})["entries"]
        assert counted == (1 if logged == 201 else 0)


def test_where_somebody_stands_is_in_no_event(service: Volunteers, client: Client, world: World) -> None:
    one = register(client, world)
    before = len(recorded(service))
    for verb, reason in (("suspend", "conduct"), ("resume", None), ("leave", "moved")):
        moved(client, one, verb, reason)
    assert len(recorded(service)) == before


def test_the_table_knows_a_reason_of_the_suspended_only(service: Volunteers, client: Client, world: World) -> None:
    one = register(client, world)
    with pytest.raises(IntegrityError, match="volunteers_suspended"), service.runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE volunteers SET suspended_for = 'conduct' WHERE id = :id"), {"id": one})
