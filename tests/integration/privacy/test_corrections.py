"""Corrections: what the register said before is kept, sealed, with who, when and why, and goes with the person."""

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from werkzeug.test import Client, TestResponse

from services.volunteers import sealed
from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, log, person
from tests.support.identity import bearing, verifier
from tests.support.services import KEYS, fetch, recorded
from tests.support.threads import at_once
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.person_keys import PersonKey, WrappedKey
from xinhuo.chassis.security import CannotDecrypt
from xinhuo.cli.build import make_app

PARENT = {"guardian_name": "测试家长", "guardian_phone": "14200010000", "relation": "mother"}
CLERK = Actor(uuid4(), "clerk")
OFFICER = Actor(uuid4(), "privacy_officer")


@pytest.fixture(scope="module")
def door(service: Volunteers) -> Client:
    """The way in for those who have a token."""
    service.runtime.verifier = verifier()
    return Client(make_app(service))


def register(client: Client, world: World, **fields: Any) -> tuple[UUID, dict[str, Any]]:
    form = person(world.unit_code, team_code=world.team_code, **fields)
    made = client.post("/v1/volunteers", json=form)
    assert made.status_code == 201, made.text
    one = UUID((made.json or {})["id"])
    assert client.post(f"/v1/volunteers/{one}:verify").status_code == 200
    return one, form


def correct(client: Client, one: UUID, who: Actor | None = None, **fields: Any) -> TestResponse:
    body = {"reason_code": "mistyped", **fields}
    return client.post(f"/v1/volunteers/{one}:correct", json=body, headers=bearing(who) if who else {})


def corrected(client: Client, one: UUID, who: Actor | None = None, **fields: Any) -> dict[str, Any]:
    answer = correct(client, one, who, **fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


def in_clear(door: Client, one: UUID) -> dict[str, Any]:
    me = Actor(uuid4(), "volunteer", volunteer=one)
    answer = door.get(f"/v1/volunteers/{one}/export", headers=bearing(me))
    assert answer.status_code == 200, answer.text
    return dict(answer.json or {})


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, (answer.json or {}).get("code", "")


def history(client: Client, one: UUID) -> list[dict[str, Any]]:
    return list((client.get(f"/v1/volunteers/{one}/corrections").json or {})["items"])


def test_every_field_is_corrected_and_what_was_before_is_kept(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, form = register(client, world)
    new = {"name": "测试员乙", "id_number": id_number(), "phone": "14200019999"}
    shown = corrected(door, one, CLERK, **new)
    assert (shown["state"], shown["name"]) == ("verified", "测***")
    held = in_clear(door, one)
    assert {field: held[field] for field in new} == new
    [kept] = held["corrections"]
    assert kept["before"] == {field: form[field] for field in new}
    assert (kept["fields"], kept["reason_code"], kept["corrected_by"]) == (
        ["id_number", "name", "phone"], "mistyped", str(CLERK.subject),
    )  # fmt: skip
    [masked] = history(client, one)
    assert masked["before"] == {
        "name": "测***", "phone": f"142****{form['phone'][-4:]}",
        "id_number": f"{form['id_number'][:2]}{14 * '*'}{form['id_number'][-2:]}",
    }  # fmt: skip
    wanted = "SELECT action, subject, reason FROM audit_log WHERE object_id = :id ORDER BY seq DESC LIMIT 2"
    rows = fetch(service, wanted, id=str(one))
    assert ("volunteer.corrected", CLERK.subject, "mistyped") in [tuple(row.values()) for row in rows]


def test_what_was_before_is_sealed_with_the_persons_own_key(service: Volunteers, client: Client, world: World) -> None:
    one, form = register(client, world)
    corrected(client, one, phone="14200019998")
    [row] = fetch(service, "SELECT before, wrapped, kek FROM corrections JOIN person_keys USING (volunteer_id)"
                           " WHERE volunteer_id = :id", id=one)  # fmt: skip
    assert form["phone"] not in row["before"]
    key = PersonKey(KEYS, one, WrappedKey(row["wrapped"], row["kek"]))
    assert json.loads(key.decrypt(row["before"], sealed.CORRECTION)) == {"phone": form["phone"]}
    with pytest.raises(CannotDecrypt):
        PersonKey(KEYS, one, None).decrypt(row["before"], sealed.CORRECTION)


def test_a_workbook_and_a_search_find_the_person_by_what_is_corrected(
    service: Volunteers, client: Client, world: World
) -> None:
    one, form = register(client, world)
    new = id_number()
    corrected(client, one, id_number=new, name="测试员丙")
    found = fetch(service, "SELECT id_number_index, name_index FROM volunteers WHERE id = :id", id=one)
    assert [bytes(value) for value in found[0].values()] == [
        sealed.id_number_index(KEYS, "01", new), sealed.name_index(KEYS, "测试员丙"),
    ]  # fmt: skip
    again = client.post("/v1/volunteers", json={**form, "phone": "14200019997"})
    assert again.status_code == 201, "the old number is free"
    assert code(client.post("/v1/volunteers", json={**form, "id_number": new})) == (409, "volunteer.exists")


@pytest.mark.parametrize("phone", ["+86 142 0001 9996", "００８６１４２０００１９９９６", "142-0001-9996"])
def test_what_is_so_already_leaves_no_trace(service: Volunteers, client: Client, world: World, phone: str) -> None:
    one, form = register(client, world, phone="14200019996")
    before = fetch(service, "SELECT seq FROM audit_head")
    corrected(client, one, phone=phone, name=form["name"], id_number=form["id_number"].lower(), tags=[])
    assert history(client, one) == []
    assert fetch(service, "SELECT seq FROM audit_head") == before


def test_corrections_are_listed_in_their_order_by_page(client: Client, world: World) -> None:
    one, _ = register(client, world)
    for last in range(3):
        corrected(client, one, phone=f"1420001800{last}", reason_code="changed")
    assert [item["before"]["phone"][-4:] for item in history(client, one)][1:] == ["8000", "8001"]
    first = client.get(f"/v1/volunteers/{one}/corrections?limit=2")
    following = first.headers["Link"].split(">")[0].removeprefix("<")
    assert len((first.json or {})["items"]) == 2
    assert [item["before"]["phone"][-4:] for item in (client.get(following).json or {})["items"]] == ["8001"]
    assert code(client.get(f"/v1/volunteers/{uuid4()}/corrections")) == (404, "volunteer.not_found")


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, (422, "correction.empty")),
        ({"reason_code": "bored", "phone": "14200010001"}, (422, "input.invalid")),
        ({"reason_code": None, "phone": "14200010001"}, (422, "input.invalid")),
        ({"unit_code": "U-1"}, (422, "input.invalid")),
        ({"phone": "1420001000a"}, (422, "input.invalid")),
        ({"phone": "+852 6000 0000"}, (422, "input.invalid")),
        ({"phone": "0750-0000000"}, (422, "input.invalid")),
        ({"name": "测"}, (422, "input.invalid")),
        ({"name": None}, (422, "input.invalid")),
        ({"id_number": "440781200001010019"}, (422, "id_number.check_digit")),
        ({"id_number": "440781000101001"}, (422, "id_number.fifteen_digits")),
        ({"tags": ["no_such_tag"]}, (422, "tag.unknown")),
    ],
)
def test_a_bad_correction_is_refused_and_changes_nothing(
    client: Client, world: World, door: Client, fields: dict[str, Any], found: tuple[int, str]
) -> None:
    one, form = register(client, world)
    assert code(correct(client, one, **fields)) == found
    assert history(client, one) == []
    assert in_clear(door, one)["phone"] == form["phone"]


def test_the_number_of_somebody_else_is_refused_and_names_him_only_within_reach(
    client: Client, world: World, door: Client
) -> None:
    (one, _), (other, taken) = register(client, world), register(client, world)
    refused = correct(client, one, id_number=taken["id_number"], phone="14200017000")
    assert (*code(refused), (refused.json or {})["other"]) == (409, "volunteer.exists", str(other))
    me = Actor(uuid4(), "volunteer", volunteer=one)
    refused = correct(door, one, me, id_number=taken["id_number"])
    assert code(refused) == (409, "volunteer.exists")
    assert "other" not in (refused.json or {})
    assert history(client, one) == [], "nothing of it is entered"


def test_of_two_who_take_the_same_number_at_once_one_gets_it(client: Client, world: World) -> None:
    people = [register(client, world)[0] for _ in range(4)]
    number = id_number()
    answers = at_once([lambda one=one: correct(client, one, id_number=number) for one in people])  # type: ignore[misc]
    assert sorted(code(answer) for answer in answers) == [(200, ""), *[(409, "volunteer.exists")] * 3]


def test_who_may_not_verify_people_has_a_name_verified_anew_but_not_a_phone(
    client: Client, world: World, door: Client
) -> None:
    one, _ = register(client, world)
    me = Actor(uuid4(), "volunteer", volunteer=one)
    leader = Actor(uuid4(), "team_leader", unit=world.unit_code, team=world.team_code)
    for who in (me, leader):
        assert corrected(door, one, who, phone=f"1420001600{who is me:d}")["state"] == "verified"
        shown = corrected(door, one, who, name="测试员丁" if who is me else "测试员戊")
        assert (shown["state"], shown["verified_at"]) == ("pending", None)
        log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"), 409)
        assert client.post(f"/v1/volunteers/{one}:verify").status_code == 200
    operator = Actor(uuid4(), "unit_operator", unit=world.unit_code)
    assert corrected(door, one, operator, name="测试员己")["state"] == "verified"


def test_who_corrects_whom(client: Client, world: World, door: Client) -> None:
    one, _ = register(client, world)
    fields = {"phone": "14200015000"}
    stranger = Actor(uuid4(), "volunteer", volunteer=uuid4())
    assert code(correct(door, one, stranger, **fields)) == (404, "volunteer.not_found")
    for role in ("auditor", "privacy_officer", "ops"):
        assert code(correct(door, one, Actor(uuid4(), role), **fields)) == (403, "right.missing")
    guardian = Actor(uuid4(), "guardian", wards=(one,))
    assert corrected(door, one, guardian, **fields)["phone"] == "142****5000"


def test_a_number_that_says_a_child_makes_it_wait_for_a_guardian_and_back(client: Client, world: World) -> None:
    one, _ = register(client, world)
    child = id_number(date(datetime.now(UTC).year - 12, 1, 2))
    assert corrected(client, one, id_number=child)["state"] == "pending_guardian"
    assert code(client.post(f"/v1/volunteers/{one}:verify")) == (409, "consent.required")
    assert corrected(client, one, id_number=id_number())["state"] == "verified"


def test_of_one_whose_guardian_withdrew_nobody_but_the_family_corrects(
    client: Client, world: World, door: Client
) -> None:
    child = id_number(date(datetime.now(UTC).year - 12, 1, 2))
    one, _ = register(client, world, id_number=child, guardian_consent={**PARENT, "consented_on": "2026-03-01"})
    guardian = Actor(uuid4(), "guardian", wards=(one,))
    [consent] = (door.get(f"/v1/volunteers/{one}/consents", headers=bearing(guardian)).json or {})["items"]
    door.post(f"/v1/consents/{consent['id']}:withdraw", headers=bearing(guardian))
    assert code(correct(door, one, CLERK, phone="14200014000")) == (409, "consent.withdrawn")
    assert corrected(door, one, guardian, phone="14200014000")["state"] == "suspended"


def test_a_suspension_survives_a_correction(client: Client, world: World) -> None:
    one, _ = register(client, world)
    client.post(f"/v1/volunteers/{one}:suspend", json={"reason_code": "conduct"})
    shown = corrected(client, one, name="测试员庚", phone="14200013000")
    assert (shown["state"], shown["suspended_for"]) == ("suspended", "conduct")


def test_an_erasure_takes_what_was_before_with_it(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, _ = register(client, world, tags=["party_member"])
    corrected(client, one, phone="14200012000", tags=["doctor"])
    client.post(f"/v1/volunteers/{one}:suspend", json={"reason_code": "conduct"})
    me = bearing(Actor(uuid4(), "volunteer", volunteer=one))
    asked = door.post(f"/v1/volunteers/{one}:request-erasure", headers=me).json or {}
    path = f"/v1/erasure-requests/{asked['id']}:decide"
    assert door.post(path, json={"granted": True}, headers=bearing(OFFICER)).status_code == 200
    [kept] = history(client, one)
    assert (kept["fields"], kept["before"]) == (["phone", "tags"], None)
    shown = client.get(f"/v1/volunteers/{one}").json or {}
    assert (shown["state"], shown["suspended_for"], shown["tags"]) == ("erased", None, [])
    assert fetch(service, "SELECT 1 FROM volunteer_tags WHERE volunteer_id = :id", id=one) == []
    for verb, body in (("correct", {"phone": "14200012001", "reason_code": "other"}), ("resume", None),
                       ("leave", {"reason_code": "other"}), ("suspend", {"reason_code": "other"})):  # fmt: skip
        assert code(client.post(f"/v1/volunteers/{one}:{verb}", json=body)) == (409, "volunteer.erased")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE corrections SET reason_code = 'other' WHERE volunteer_id = :id",
        "UPDATE corrections SET before = 'p1.x' WHERE volunteer_id = :id",
        "UPDATE corrections SET before = NULL, corrected_by = NULL, fields = '{name}' WHERE volunteer_id = :id",
        "DELETE FROM corrections WHERE volunteer_id = :id",
        "TRUNCATE corrections",
        "INSERT INTO corrections SELECT gen_random_uuid(), :id, '{name}', '张三', 'other', NULL, now()",
        "INSERT INTO corrections SELECT gen_random_uuid(), :id, '{}', NULL, 'other', NULL, now()",
    ],
)
def test_the_history_is_not_changed_but_by_an_erasure(
    service: Volunteers, client: Client, world: World, statement: str
) -> None:
    one, _ = register(client, world)
    corrected(client, one, phone="14200011000")
    with pytest.raises(DBAPIError), service.runtime.db.transaction() as session:
        session.execute(sa.text(statement), {"id": one})
    assert len(history(client, one)) == 1


def test_a_correction_is_in_no_event(service: Volunteers, client: Client, world: World) -> None:
    one, _ = register(client, world)
    before = len(recorded(service))
    corrected(client, one, name="测试员辛")
    assert len(recorded(service)) == before
