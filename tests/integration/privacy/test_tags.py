"""Tags of persons: of the list of the office, found within reach, and never outside this service."""

from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from werkzeug.test import Client

from services.volunteers.commands.limits import person_tags
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World, log, person
from tests.support.identity import bearing, verifier
from tests.support.services import fetch
from xinhuo.chassis.identity.actor import Actor
from xinhuo.cli.build import make_app


@pytest.fixture(scope="module")
def door(service: Volunteers) -> Client:
    """The way in for those who have a token."""
    service.runtime.verifier = verifier()
    return Client(make_app(service))


def register(client: Client, world: World, *tags: str, **fields: Any) -> UUID:
    form = person(world.unit_code, team_code=world.team_code, tags=list(tags), **fields)
    made = client.post("/v1/volunteers", json=form)
    assert made.status_code == 201, made.text
    assert (made.json or {})["tags"] == sorted(set(tags))
    return UUID((made.json or {})["id"])


def listed(client: Client, query: str, who: Actor | None = None) -> list[str]:
    answer = client.get(f"/v1/volunteers?limit=200&{query}", headers=bearing(who) if who else {})
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in (answer.json or {})["items"]]


def test_the_list_has_what_the_notices_call_for_in_chinese_and_english(client: Client) -> None:
    items = (client.get("/v1/person-tags").json or {})["items"]
    assert {"党员", "团员", "少先队员", "学生党员", "五老", "教职工", "学生", "医生", "心理咨询师"} <= {
        item["zh"] for item in items
    }
    assert {item["kind"] for item in items} == {"political", "group", "profession"}
    assert all(item["code"].isascii() and item["en"].isascii() for item in items)


def test_tags_are_given_at_registration_and_changed_by_a_correction(client: Client, world: World) -> None:
    one = register(client, world, "party_member", "doctor", "doctor")
    path = f"/v1/volunteers/{one}:correct"
    shown = client.post(path, json={"tags": ["staff", "doctor"], "reason_code": "changed"}).json or {}
    assert shown["tags"] == ["doctor", "staff"]
    [kept] = (client.get(f"/v1/volunteers/{one}/corrections").json or {})["items"]
    assert (kept["fields"], kept["before"]) == (["tags"], {"tags": ["doctor", "party_member"]})
    shown = client.post(path, json={"tags": [], "reason_code": "asked"}).json or {}
    assert (shown["tags"], shown["state"]) == ([], "pending")


def test_an_unknown_tag_is_refused_with_the_list_and_nobody_is_registered(client: Client, world: World) -> None:
    answer = client.post("/v1/volunteers", json=person(world.unit_code, tags=["doctor", "astronaut"]))
    found = answer.json or {}
    assert (answer.status_code, found["code"], found["errors"][0]["pointer"]) == (422, "tag.unknown", "/tags/1")
    assert {"doctor", "party_member"} <= set(found["allowed"])
    assert listed(client, f"unit={world.unit_code}") == []


def test_a_tag_that_the_list_lost_may_stay_with_those_who_have_it(
    service: Volunteers, client: Client, world: World
) -> None:
    one = register(client, world, "doctor")
    with service.runtime.db.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE volunteer_tags SET tag = 'abolished' WHERE volunteer_id = %s", (str(one),)
        )
    path = f"/v1/volunteers/{one}:correct"
    kept = client.post(path, json={"tags": ["abolished", "nurse"], "reason_code": "changed"}).json or {}
    assert kept["tags"] == ["abolished", "nurse"]


def test_the_list_of_volunteers_is_filtered_by_tag_within_reach(client: Client, world: World, door: Client) -> None:
    foreign = World(world.service)
    mine, both = register(client, world, "doctor"), register(client, world, "doctor", "five_elders")
    other, nobody = register(client, foreign, "doctor"), register(client, world)
    assert {str(mine), str(both), str(other)} <= set(listed(client, "tag=doctor"))
    operator = Actor(uuid4(), "unit_operator", unit=world.unit_code)
    leader = Actor(uuid4(), "team_leader", unit=world.unit_code, team=world.team_code)
    for who in (operator, leader):
        assert listed(door, "tag=doctor", who) == [str(mine), str(both)]
        assert listed(door, "tag=five_elders", who) == [str(both)]
    assert listed(door, "tag=doctor", Actor(uuid4(), "volunteer", volunteer=nobody)) == []
    assert listed(door, "tag=astronaut", operator) == []
    assert str(nobody) not in listed(client, "tag=doctor")


def found_in(text: str) -> set[str]:
    """Return which tags a text names, by code or as people call them; 'student' and 'staff' are words of others too."""
    marks = {name for tag in person_tags(NOW.date()).values() for name in (tag.code, tag.zh)}
    return {mark for mark in marks - {"student", "staff", "driver"} if mark in text}


def test_no_tag_is_in_any_event_whatever_is_done_with_the_person(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one = register(client, world, "party_member", "counsellor")
    assert client.post(f"/v1/volunteers/{one}:verify").status_code == 200
    entry = log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"))
    for path, body in (
        (f"/v1/volunteers/{one}:correct", {"tags": ["league_member", "nurse"], "reason_code": "changed"}),
        (f"/v1/hours/{entry['id']}:reverse", {"reason_code": "wrong_time"}),
        (f"/v1/volunteers/{one}:suspend", {"reason_code": "conduct"}),
        (f"/v1/volunteers/{one}:resume", None),
        (f"/v1/volunteers/{one}:leave", {"reason_code": "moved"}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code < 300, answer.text
    me = Actor(uuid4(), "volunteer", volunteer=one)
    asked = door.post(f"/v1/volunteers/{one}:request-erasure", headers=bearing(me)).json or {}
    decide = f"/v1/erasure-requests/{asked['id']}:decide"
    officer = bearing(Actor(uuid4(), "privacy_officer"))
    shown = client.get(f"/v1/volunteers/{one}").text
    assert found_in(shown) == {"league_member", "nurse"}, "what is looked for is found where it is"
    assert door.post(decide, json={"granted": True}, headers=officer).status_code == 200
    # As they are sent: reading them as their contracts say would drop what these do not know.
    events = [row["sent"] for row in fetch(service, "SELECT convert_from(payload, 'UTF8') AS sent FROM outbox")]
    assert len([each for each in events if str(one) in each]) == 3, "logged, reversed, erased"
    assert found_in(" ".join(events)) == set()
    audited = fetch(service, "SELECT x::text AS row FROM audit_log x")
    assert found_in(" ".join(row["row"] for row in audited)) == set()


def test_no_contract_has_room_for_tags() -> None:
    from xinhuo.contracts.base import Event
    from xinhuo.contracts.volunteers import HoursLogged

    def rooms(events: list[type[Any]]) -> list[str]:
        names = [field.name for event in events for field in msgspec.structs.fields(event)]
        return [name for name in names if any(word in name for word in ("tag", "political", "profession"))]

    class Leaky(msgspec.Struct):
        person_tags: list[str]

    known = Event.__subclasses__()
    assert HoursLogged in known
    assert rooms(known) == []
    assert rooms([*known, Leaky]) == ["person_tags"]
