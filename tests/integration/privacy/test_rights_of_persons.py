"""A person gets all that is held about him, and is erased for good when he asks for it: totals stay."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from werkzeug.test import Client, TestResponse

from services.awards.service import Awards
from services.notify.service import Notify
from services.volunteers import sealed
from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, log, person
from tests.support.identity import bearing, verifier
from tests.support.services import KEYS, client_of, deliver, delivery_of, fetch, make_service, recorded
from xinhuo.chassis.identity.actor import Actor
from xinhuo.chassis.person_keys import PersonKey
from xinhuo.chassis.security import CannotDecrypt
from xinhuo.cli.build import make_app
from xinhuo.contracts.volunteers import HoursLogged, PersonErased

PARENT = {"guardian_name": "测试家长", "guardian_phone": "14200010000", "relation": "mother"}
OFFICER = Actor(uuid4(), "privacy_officer")
CLERK = Actor(uuid4(), "clerk")
GRANT = {"granted": True}


@pytest.fixture(scope="module")
def door(service: Volunteers) -> Client:
    """The way in for those who have a token."""
    service.runtime.verifier = verifier()
    return Client(make_app(service))


def member(client: Client, world: World, **fields: Any) -> tuple[UUID, dict[str, Any], Actor]:
    """Register somebody of the team with an hour of service."""
    form = person(world.unit_code, team_code=world.team_code, **fields)
    made = client.post("/v1/volunteers", json=form)
    assert made.status_code == 201, made.text
    one = UUID((made.json or {})["id"])
    assert client.post(f"/v1/volunteers/{one}:verify").status_code == 200
    log(client, world.body(one, "2026-03-05 09:00", "2026-03-05 10:00"))
    return one, form, Actor(uuid4(), "volunteer", volunteer=one)


def ask(door: Client, who: Actor, one: UUID) -> TestResponse:
    return door.post(f"/v1/volunteers/{one}:request-erasure", headers=bearing(who))


def decide(door: Client, who: Actor, request: Any, **body: Any) -> TestResponse:
    return door.post(f"/v1/erasure-requests/{request}:decide", json=body, headers=bearing(who))


def erase(door: Client, who: Actor, one: UUID) -> None:
    asked = ask(door, who, one)
    assert asked.status_code == 202, asked.text
    assert decide(door, OFFICER, (asked.json or {})["id"], **GRANT).status_code == 200


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, (answer.json or {}).get("code", "")


def test_a_person_gets_everything_in_clear_and_who_looked_at_it(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, form, me = member(client, world, guardian_consent={**PARENT, "consented_on": "2026-03-01"})
    look = {"fields": ["phone"], "reason": "核对证书信息"}
    assert door.post(f"/v1/volunteers/{one}:unmask", json=look, headers=bearing(CLERK)).status_code == 200
    answer = door.get(f"/v1/volunteers/{one}/export", headers=bearing(me))
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    held = answer.json or {}
    assert {name: held[name] for name in ("name", "id_number", "phone", "unit_code")} == {
        name: form[name] for name in ("name", "id_number", "phone", "unit_code")
    }
    assert [team["team_code"] for team in held["teams"]] == [world.team_code]
    assert [entry["minutes"] for entry in held["entries"]] == [60]
    assert [consent["guardian"] for consent in held["consents"]] == [PARENT]
    looked = [(look["action"], look["role"], look["reason"]) for look in held["looked_at"]]
    assert ("volunteer.unmasked", "clerk", "核对证书信息") in looked
    assert looked[-1] == ("volunteer.exported", "volunteer", None)
    assert "wrapped" not in held
    assert "name_index" not in held


def test_who_may_export_whom(client: Client, world: World, door: Client) -> None:
    one, form, _ = member(client, world)
    path = f"/v1/volunteers/{one}/export"
    for who in (OFFICER, Actor(uuid4(), "guardian", wards=(one,))):
        assert (door.get(path, headers=bearing(who)).json or {})["id_number"] == form["id_number"]
    assert code(door.get(path, headers=bearing(CLERK))) == (403, "right.missing")
    stranger = Actor(uuid4(), "volunteer", volunteer=uuid4())
    assert code(door.get(path, headers=bearing(stranger))) == (404, "volunteer.not_found")


def totals(client: Client, service: Volunteers) -> Any:
    stated = client.get("/v1/statistics?group_by=team").json
    ledger = fetch(service, "SELECT count(*) AS n, sum(minutes) AS minutes FROM ledger_entries")
    members = fetch(service, "SELECT count(*) AS n FROM team_members")
    return stated, ledger, members


def test_after_an_erasure_nothing_opens_any_more_and_every_total_is_as_before(
    service: Volunteers, client: Client, world: World, door: Client
) -> None:
    one, form, me = member(client, world, guardian_consent={**PARENT, "consented_on": "2026-03-01"})
    entries = recorded(service, HoursLogged.topic)
    deliver(service, "keep_statistics", [delivery_of(each.data, event_id=each.id) for each in entries])
    [copy] = fetch(service, "SELECT v.*, k.wrapped, k.kek, c.guardian FROM volunteers v"
                            " JOIN person_keys k ON k.volunteer_id = v.id"
                            " JOIN consent_records c ON c.volunteer_id = v.id"
                            " WHERE v.id = :id", id=one)  # fmt: skip
    before = totals(client, service)
    erase(door, me, one)
    assert totals(client, service) == before
    # A copy of the columns, as a backup holds it, opens with no key that is left.
    keyless = PersonKey(KEYS, one, None)
    for name in ("name", "id_number", "phone"):
        with pytest.raises(CannotDecrypt):
            keyless.decrypt(copy[name], sealed.PLACES[name])
        with pytest.raises(CannotDecrypt):
            KEYS.decrypt(copy[name], sealed.PLACES[name])
    with pytest.raises(CannotDecrypt):
        keyless.decrypt(copy["guardian"], sealed.GUARDIAN)
    assert fetch(service, "SELECT 1 FROM person_keys WHERE volunteer_id = :id", id=one) == []
    raw = ""
    with service.runtime.db.transaction() as session:
        names = session.scalars(
            sa.text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'volunteers'")
        ).all()
        for table in names:
            raw += str(session.execute(sa.text(f'SELECT x::text FROM "{table}" x')).all())  # noqa: S608
    for gone in (copy["name"], copy["id_number"], copy["phone"], copy["guardian"], copy["wrapped"],
                 bytes(copy["id_number_index"]).hex(), form["id_number"], form["phone"]):  # fmt: skip
        assert gone not in raw
    shown = client.get(f"/v1/volunteers/{one}").json or {}
    assert (shown["state"], shown["name"], shown["id_number"], shown["phone"]) == ("erased", None, None, None)
    assert (shown["minutes_total"], shown["teams"]) == (60, [world.team_code])
    assert [each.data.volunteer_id for each in recorded(service, PersonErased.topic)][-1] == one


def test_nothing_is_done_with_a_person_who_was_erased(client: Client, world: World, door: Client) -> None:
    one, _, me = member(client, world)
    erase(door, me, one)
    look = {"fields": ["phone"], "reason": "核对证书信息"}
    for who in (CLERK, me):
        assert code(door.post(f"/v1/volunteers/{one}:unmask", json=look, headers=bearing(who))) == (
            409, "volunteer.erased",
        )  # fmt: skip
    assert code(door.get(f"/v1/volunteers/{one}/export", headers=bearing(me))) == (409, "volunteer.erased")
    assert code(ask(door, me, one)) == (409, "volunteer.erased")
    consent = door.post(f"/v1/volunteers/{one}/consents", json={"purpose": "photo"}, headers=bearing(me))
    assert code(consent) == (409, "volunteer.erased")
    assert code(client.post(f"/v1/volunteers/{one}:verify")) == (409, "volunteer.not_verified")
    joining = client.post(f"/v1/teams/{world.team_code}/members", json={"volunteer_id": str(one)})
    assert code(joining) == (409, "volunteer.erased")
    log(client, world.body(one, "2026-03-06 09:00", "2026-03-06 10:00"), 409)
    assert str(one) in [each["id"] for each in (client.get("/v1/volunteers?state=erased").json or {})["items"]]


def test_the_same_identity_number_may_be_registered_again_as_another_person(
    client: Client, world: World, door: Client
) -> None:
    one, form, me = member(client, world)
    erase(door, me, one)
    again = client.post("/v1/volunteers", json=form)
    assert again.status_code == 201
    assert (again.json or {})["id"] != str(one)
    assert (again.json or {})["minutes_total"] == 0


def test_who_asks_for_whom_and_who_decides(service: Volunteers, client: Client, world: World, door: Client) -> None:
    one, _, me = member(client, world, id_number=id_number(date(datetime.now(UTC).year - 12, 1, 2)),
                        guardian_consent={**PARENT, "consented_on": "2026-03-01"})  # fmt: skip
    parent = Actor(uuid4(), "guardian", wards=(one,))
    asked = ask(door, parent, one)
    assert (asked.status_code, (asked.json or {})["asked_as"]) == (202, "guardian")
    assert ask(door, me, one).json == asked.json, "while one is open, asking again changes nothing"
    assert code(ask(door, CLERK, one)) == (403, "right.missing")
    assert code(ask(door, Actor(uuid4(), "volunteer", volunteer=uuid4()), one)) == (404, "volunteer.not_found")
    request = (asked.json or {})["id"]
    same = Actor(parent.subject, "privacy_officer")
    assert code(decide(door, same, request, **GRANT)) == (409, "erasure.own_request")
    assert code(decide(door, CLERK, request, **GRANT)) == (403, "right.missing")
    assert code(decide(door, OFFICER, uuid4(), **GRANT)) == (404, "erasure.not_found")
    for reason in (None, "", "不行"):
        refused = decide(door, OFFICER, request, granted=False, reason=reason) if reason is not None else decide(
            door, OFFICER, request, granted=False
        )  # fmt: skip
        assert code(refused) == (422, "erasure.reason_required")
        assert (refused.json or {})["clause"] == "《未成年人网络保护条例》第三十四条"
    done = decide(door, OFFICER, request, granted=False, reason="争议处理期间须保存记录")
    assert (done.status_code, (done.json or {})["granted"]) == (200, False)
    assert code(decide(door, OFFICER, request, **GRANT)) == (409, "erasure.decided")
    assert (client.get(f"/v1/volunteers/{one}").json or {})["state"] == "verified"
    again = (ask(door, me, one).json or {})["id"]
    assert again != request

    def listed(who: Actor, query: str = "") -> list[str]:
        answer = door.get(f"/v1/erasure-requests?limit=200{query}", headers=bearing(who)).json or {}
        return [each["id"] for each in answer["items"] if each["volunteer_id"] == str(one)]

    assert listed(me) == listed(parent) == listed(OFFICER) == [request, again]
    assert (listed(OFFICER, "&open=true"), listed(OFFICER, "&open=false")) == ([again], [request])
    assert listed(Actor(uuid4(), "volunteer", volunteer=uuid4())) == []
    rows = fetch(service, "SELECT action, reason FROM audit_log WHERE object_id = :id AND action LIKE 'erasure.%'"
                          " ORDER BY seq", id=str(one))  # fmt: skip
    assert [row["action"] for row in rows] == ["erasure.asked", "erasure.refused", "erasure.asked"]
    assert rows[1]["reason"] == "争议处理期间须保存记录"


def test_the_tables_themselves_keep_the_rules(service: Volunteers, client: Client, world: World) -> None:
    one, _, _ = member(client, world)
    wrong = [
        "UPDATE volunteers SET state = 'erased' WHERE id = :id",
        "UPDATE volunteers SET name = NULL WHERE id = :id",
        "UPDATE volunteers SET id_number_index = NULL WHERE id = :id",
        "INSERT INTO erasure_requests (id, volunteer_id, asked_by, asked_as, asked_at, decided_by, decided_at, granted)"
        " SELECT :id, :id, n, 'volunteer', now(), n, now(), true FROM gen_random_uuid() AS n",
        "INSERT INTO erasure_requests (id, volunteer_id, asked_by, asked_as, asked_at, decided_by, decided_at, granted)"
        " VALUES (:id, :id, gen_random_uuid(), 'volunteer', now(), gen_random_uuid(), now(), false)",
    ]
    for statement in wrong:
        with pytest.raises(IntegrityError), service.runtime.db.transaction() as session:
            session.execute(sa.text(statement), {"id": one})


# --- The other services ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def notify(database: str) -> Iterator[Notify]:
    service = make_service(Notify, database)
    yield service
    service.runtime.db.close()


@pytest.fixture(scope="module")
def awards(database: str) -> Iterator[Awards]:
    service = make_service(Awards, database)
    yield service
    service.runtime.db.close()


def hours(one: UUID, day: int = 1) -> HoursLogged:
    return HoursLogged(
        entry_id=uuid4(), volunteer_id=one, team_code="T-1", unit_code="U-1", activity_id=uuid4(),
        category="community", served_on=date(2026, 2, day), minutes=1440,
    )  # fmt: skip


@pytest.mark.parametrize("order", ["in order", "late"])
def test_notify_empties_what_was_told_and_counts_it_still(notify: Notify, order: str) -> None:
    one, other = uuid4(), uuid4()
    client = client_of(notify)
    told = [delivery_of(hours(one)), delivery_of(hours(other))]
    gone = [delivery_of(PersonErased(volunteer_id=one))]
    batches = [("acknowledge_hours", told), ("forget_person", gone)]
    before = (client.get("/v1/acknowledgements/count").json or {})["total"]
    for method, batch in batches if order == "in order" else batches[::-1]:
        deliver(notify, method, batch)
        deliver(notify, method, batch)
    assert (client.get("/v1/acknowledgements/count").json or {})["total"] == before + 2
    assert (client.get(f"/v1/volunteers/{one}/inbox").json or {})["items"] == []
    assert len((client.get(f"/v1/volunteers/{other}/inbox").json or {})["items"]) == 1
    [left] = fetch(notify, "SELECT id, title, text, state FROM messages WHERE volunteer_id = :one", one=one)
    assert (left["title"], left["text"], left["state"]) == ("", "", "forgotten")
    assert code(client.post(f"/v1/messages/{left['id']}:read")) == (404, "message.not_found")


@pytest.mark.parametrize("order", ["in order", "late"])
def test_awards_keeps_the_tally_and_shows_nobody_the_stars(awards: Awards, order: str) -> None:
    one = uuid4()
    client = client_of(awards)
    earned = [delivery_of(hours(one, day)) for day in range(1, 6)]
    gone = [delivery_of(PersonErased(volunteer_id=one))]
    before = json.loads(client.get("/v1/stars/counts").text)["earned"]
    batches = [("add_to_tally", earned), ("forget_person", gone)]
    for method, batch in batches if order == "in order" else batches[::-1]:
        deliver(awards, method, batch)
        deliver(awards, method, batch)
    assert json.loads(client.get("/v1/stars/counts").text)["earned"] == before + 1
    assert code(client.get(f"/v1/volunteers/{one}/stars")) == (404, "stars.volunteer_not_found")
    listed = (client.get("/v1/stars?limit=200").json or {})["items"]
    assert str(one) not in [each["volunteer_id"] for each in listed]
    assert fetch(awards, "SELECT minutes FROM tallies WHERE volunteer_id = :one", one=one) == [{"minutes": 7200}]
