"""Consents: given by whom one may, never changed but by being withdrawn, and children wait for that of a guardian."""

import json
from collections.abc import Iterator
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
from tests.support.services import KEYS, fetch
from xinhuo.chassis.identity.actor import Actor
from xinhuo.cli.build import make_app

PARENT = {"guardian_name": "测试家长", "guardian_phone": "14200010000", "relation": "mother"}
TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def door(service: Volunteers) -> Iterator[Client]:
    """The way in for those who have a token."""
    service.runtime.verifier = verifier()
    return Client(make_app(service))


CLERK = Actor(uuid4(), "clerk")


def guardian_of(one: UUID) -> Actor:
    return Actor(uuid4(), "guardian", wards=(one,))


def register(client: Client, world: World, years: int = 12, **fields: Any) -> UUID:
    born = date(TODAY.year - years, 1, 2)
    made = client.post("/v1/volunteers", json=person(world.unit_code, id_number=id_number(born), **fields))
    assert made.status_code == 201, made.text
    return UUID((made.json or {})["id"])


def give(door: Client, who: Actor, one: UUID, **body: Any) -> TestResponse:
    form = {"purpose": "registration", **body}
    return door.post(f"/v1/volunteers/{one}/consents", json=form, headers=bearing(who))


def withdraw(door: Client, who: Actor, consent: Any) -> TestResponse:
    return door.post(f"/v1/consents/{consent}:withdraw", headers=bearing(who))


def state(client: Client, one: UUID) -> str:
    return str((client.get(f"/v1/volunteers/{one}").json or {})["state"])


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, (answer.json or {}).get("code", "")


@pytest.mark.parametrize("who", ["guardian", "clerk"])
def test_a_child_waits_until_a_guardian_consents(client: Client, world: World, door: Client, who: str) -> None:
    one = register(client, world)
    assert state(client, one) == "pending_guardian"
    assert code(client.post(f"/v1/volunteers/{one}:verify")) == (409, "consent.required")
    actor, body = (guardian_of(one), {}) if who == "guardian" else (CLERK, {"guardian": PARENT})
    given = give(door, actor, one, **body)
    assert given.status_code == 201, given.text
    shown = given.json or {}
    assert (shown["given_by"], shown["recorded_by"], shown["withdrawn_at"]) == ("guardian", str(actor.subject), None)
    assert shown["how"] == ("online" if who == "guardian" else "paper")
    assert state(client, one) == "pending"
    assert client.post(f"/v1/volunteers/{one}:verify").status_code == 200


def test_the_guardian_is_sealed_with_the_persons_key_and_shown_masked(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one = register(client, world, guardian_consent={**PARENT, "consented_on": "2026-03-01"})
    assert state(client, one) == "pending"
    listed = door.get(f"/v1/volunteers/{one}/consents", headers=bearing(CLERK)).json or {}
    [shown] = listed["items"]
    assert shown["guardian"] == {"guardian_name": "测***", "guardian_phone": "142****0000", "relation": "mother"}
    assert (shown["purpose"], shown["given_on"]) == ("registration", "2026-03-01")
    [row] = fetch(service, "SELECT c.guardian, k.* FROM consent_records c JOIN person_keys k USING (volunteer_id)"
                           " WHERE volunteer_id = :id", id=one)  # fmt: skip
    assert row["guardian"].startswith("p1.")
    key = sealed.key_of(KEYS, {**row, "id": one})
    assert json.loads(key.decrypt(row["guardian"], sealed.GUARDIAN)) == PARENT


def test_who_may_consent_for_whom(client: Client, world: World, door: Client) -> None:
    child, adult = register(client, world), register(client, world, years=30)
    me, grown = Actor(uuid4(), "volunteer", volunteer=child), Actor(uuid4(), "volunteer", volunteer=adult)
    assert code(give(door, me, child)) == (409, "consent.required")
    assert code(give(door, me, child, given_by="guardian")) == (403, "consent.not_yours")
    assert code(give(door, me, child, guardian=PARENT)) == (403, "consent.not_yours")
    assert code(give(door, guardian_of(child), child, given_by="self")) == (403, "consent.not_yours")
    assert code(give(door, CLERK, child)) == (409, "consent.required")
    assert code(give(door, CLERK, child, given_by="guardian")) == (422, "consent.guardian_missing")
    assert code(give(door, CLERK, child, guardian=PARENT, given_on="2999-01-01")) == (422, "consent.in_future")
    assert code(give(door, guardian_of(adult), child)) == (404, "volunteer.not_found")
    assert code(give(door, Actor(uuid4(), "bureau_admin"), child)) == (403, "right.missing")
    assert state(client, child) == "pending_guardian"
    for purpose in ("photo", "publication"):
        own = give(door, grown, adult, purpose=purpose)
        assert ((own.json or {})["given_by"], (own.json or {})["guardian"]) == ("self", None)


def test_a_withdrawn_consent_of_a_guardian_stops_everything_until_there_is_a_new_one(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one = register(client, world)
    parent, me = guardian_of(one), Actor(uuid4(), "volunteer", volunteer=one)
    consent = (give(door, parent, one).json or {})["id"]
    client.post(f"/v1/volunteers/{one}:verify")
    log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"))
    assert code(withdraw(door, me, consent)) == (403, "consent.not_yours")
    first = withdraw(door, parent, consent)
    assert first.status_code == 200
    assert withdraw(door, parent, consent).json == first.json
    assert state(client, one) == "suspended"

    def listed(who: Actor) -> bool:
        path = f"/v1/volunteers?unit={world.unit_code}"
        return str(one) in [item["id"] for item in (door.get(path, headers=bearing(who)).json or {})["items"]]

    operator = Actor(uuid4(), "unit_operator", unit=world.unit_code)
    assert [listed(who) for who in (CLERK, operator, Actor(uuid4(), "auditor"))] == [False] * 3
    assert [listed(who) for who in (me, parent, Actor(uuid4(), "privacy_officer"))] == [True] * 3
    form = {"fields": ["phone"], "reason": "联系志愿者"}
    seen = door.post(f"/v1/volunteers/{one}:unmask", json=form, headers=bearing(CLERK))
    assert code(seen) == (409, "consent.withdrawn")
    assert door.post(f"/v1/volunteers/{one}:unmask", json=form, headers=bearing(parent)).status_code == 200
    log(client, world.body(one, "2026-03-06 09:00", "2026-03-06 10:00"), 409)
    give(door, parent, one)
    assert state(client, one) == "verified"
    assert listed(CLERK)
    rows = fetch(service, "SELECT action, outcome FROM audit_log WHERE object_id = :id ORDER BY seq", id=str(one))
    told = [(row["action"], row["outcome"]) for row in rows]
    assert ("volunteer.suspended", "done") in told
    assert ("volunteer.unmasked", "refused") in told
    assert [action for action, _ in told].count("consent.given") == 2


def test_another_consent_that_stands_keeps_a_child_active(client: Client, world: World, door: Client) -> None:
    one = register(client, world)
    parent = guardian_of(one)
    first = (give(door, parent, one).json or {})["id"]
    give(door, CLERK, one, guardian={**PARENT, "relation": "father"})
    photo = (give(door, parent, one, purpose="photo").json or {})["id"]
    withdraw(door, parent, photo)
    withdraw(door, parent, first)
    assert state(client, one) == "pending"


def test_what_is_out_of_reach_cannot_be_withdrawn(client: Client, world: World, door: Client) -> None:
    one, other = register(client, world), register(client, world)
    consent = (give(door, guardian_of(one), one).json or {})["id"]
    for who in (guardian_of(other), Actor(uuid4(), "unit_operator", unit="U-ELSEWHERE")):
        assert code(withdraw(door, who, consent)) == (404, "consent.not_found")
    assert code(withdraw(door, CLERK, uuid4())) == (404, "consent.not_found")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE consent_records SET given_on = given_on + 1",
        "UPDATE consent_records SET purpose = 'photo' WHERE purpose = 'registration'",
        "UPDATE consent_records SET withdrawn_at = NULL WHERE withdrawn_at IS NOT NULL",
        "UPDATE consent_records SET recorded_by = gen_random_uuid()",
        "DELETE FROM consent_records",
        "TRUNCATE consent_records",
    ],
)
def test_the_records_are_not_changed_but_by_withdrawing(
    service: Volunteers, client: Client, world: World, door: Client, statement: str
) -> None:
    one = register(client, world)
    consent = (give(door, guardian_of(one), one).json or {})["id"]
    withdraw(door, CLERK, consent)
    with pytest.raises(DBAPIError, match="can only be withdrawn"), service.runtime.db.as_owner() as session:
        session.execute(sa.text(statement))


def test_the_consent_of_one_who_was_registered_before_becomes_a_record(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one = register(client, world, guardian_consent={**PARENT, "consented_on": "2026-03-01"})
    with service.runtime.db.as_owner() as session:
        session.execute(sa.text("ALTER TABLE consent_records DISABLE TRIGGER USER"))
        session.execute(sa.text("DELETE FROM consent_records WHERE volunteer_id = :id"), {"id": one})
        session.execute(sa.text("ALTER TABLE consent_records ENABLE TRIGGER USER"))
        row = session.execute(sa.text("SELECT * FROM volunteers JOIN person_keys ON volunteer_id = id WHERE id = :id"),
                              {"id": one}).mappings().one()  # fmt: skip
        clear = sealed.open_columns(KEYS, row, "name", "id_number", "phone")
        before = {name: KEYS.encrypt(str(clear[name]), sealed.PLACES[name]) for name in clear}
        consent = KEYS.encrypt(json.dumps({**PARENT, "consented_on": "2026-03-01"}), sealed.PLACES["guardian_consent"])
        session.execute(sa.text("UPDATE volunteers SET name = :name, id_number = :id_number, phone = :phone,"
                                " guardian_consent = :consent WHERE id = :id"),
                        {**before, "consent": consent, "id": one})  # fmt: skip
        session.execute(sa.text("DELETE FROM person_keys WHERE volunteer_id = :id"), {"id": one})
    assert give(door, CLERK, one, purpose="photo", guardian=PARENT).status_code == 201
    listed = (door.get(f"/v1/volunteers/{one}/consents", headers=bearing(CLERK)).json or {})["items"]
    found = {item["purpose"]: (item["text_version"], item["given_on"], item["guardian"]["relation"]) for item in listed}
    assert found["registration"] == ("0", "2026-03-01", "mother")
    assert found["photo"][0] == "1"
    assert fetch(service, "SELECT guardian_consent FROM volunteers WHERE id = :id", id=one) == [
        {"guardian_consent": None}
    ]
