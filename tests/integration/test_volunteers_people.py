"""People, teams and activities by HTTP, on PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from werkzeug.test import Client

from services.volunteers.domain import registry
from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, know_units, local, log, person
from tests.support.services import client_of, deliver, delivery_of, fetch, make_service, recorded
from xinhuo.contracts.notices import CategoryOfNotice, NoticeIssued, UnitChanged, UnitRegistered

CONSENT = {
    "guardian_name": "测试家长",
    "guardian_phone": "14200010000",
    "relation": "mother",
    "consented_on": "2026-03-01",
}


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def client(service: Volunteers) -> Client:
    return client_of(service)


@pytest.fixture
def world(service: Volunteers) -> World:
    return World(service)


def post(client: Client, path: str, body: dict[str, Any] | None, status: int = 201) -> dict[str, Any]:
    answer = client.post(path, json=body) if body is not None else client.post(path)
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert isinstance(answer.json, dict)
    return answer.json


def get(client: Client, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert isinstance(answer.json, dict)
    return answer.json


def test_a_person_is_registered_masked_and_then_verified(client: Client, world: World) -> None:
    body = person(world.unit_code, name="欧阳测试", team_code=world.team_code)
    made = post(client, "/v1/volunteers", body)
    assert (made["state"], made["name"], made["teams"]) == ("pending", "欧***", [world.team_code])
    assert made["id_number"] == f"44{'*' * 14}{body['id_number'][-2:]}"
    assert made["phone"] == f"142****{body['phone'][-4:]}"
    assert (made["minutes_total"], made["entries"], made["verified_at"]) == (0, 0, None)
    assert registry.is_volunteer_no(made["volunteer_no"])
    verified = post(client, f"/v1/volunteers/{made['id']}:verify", None, 200)
    assert verified["state"] == "verified"
    assert post(client, f"/v1/volunteers/{made['id']}:verify", None, 200) == verified
    assert get(client, f"/v1/volunteers/{made['id']}") == verified
    assert post(client, f"/v1/volunteers/{uuid4()}:verify", None, 404)["code"] == "volunteer.not_found"


def test_nothing_personal_can_be_read_in_the_raw_tables_or_in_events(
    service: Volunteers, client: Client, world: World
) -> None:
    born = date(2015, 5, 5)
    body = person(world.unit_code, name="司马测试员", id_number=id_number(born), guardian_consent=CONSENT)
    made = post(client, "/v1/volunteers", body)
    post(client, f"/v1/volunteers/{made['id']}:verify", None, 200)
    log(client, world.body(UUID(made["id"]), "2026-03-05 09:00", "2026-03-05 10:00"))
    raw = ""
    with service.runtime.db.transaction() as session:
        tables = session.scalars(
            sa.text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'volunteers'")
        ).all()
        for table in tables:
            raw += "\n".join(str(row) for row in session.execute(sa.text(f'SELECT x::text FROM "{table}" x')))  # noqa: S608  (names from the catalogue)
    raw += str([envelope.data for envelope in recorded(service)])
    assert made["id"] in raw
    hidden = [body["name"], body["id_number"], body["phone"], CONSENT["guardian_name"], CONSENT["guardian_phone"]]
    for secret in hidden:
        assert secret not in raw
        assert secret.encode().hex() not in raw


def test_the_same_person_again_is_refused_and_names_the_first(client: Client, world: World) -> None:
    body = person(world.unit_code)
    made = post(client, "/v1/volunteers", body)
    again = {**person(world.unit_code), "id_number": body["id_number"][:17] + body["id_number"][17].lower()}
    refusal = post(client, "/v1/volunteers", again, 409)
    assert (refusal["code"], refusal["other"]) == ("volunteer.exists", made["id"])
    assert body["id_number"] not in str(refusal)


def test_namesakes_are_two_people(client: Client, world: World) -> None:
    first = post(client, "/v1/volunteers", person(world.unit_code, name="同名测试"))
    second = post(client, "/v1/volunteers", person(world.unit_code, name="同名测试"))
    assert first["id"] != second["id"]
    assert first["volunteer_no"] != second["volunteer_no"]


def test_a_child_waits_for_a_guardians_consent_until_the_fourteenth_birthday(client: Client, world: World) -> None:
    child = person(world.unit_code, id_number=id_number(date(2020, 1, 2)))
    assert post(client, "/v1/volunteers", child)["state"] == "pending_guardian"
    another = person(world.unit_code, id_number=id_number(date(2020, 1, 2)))
    assert post(client, "/v1/volunteers", {**another, "guardian_consent": CONSENT})["state"] == "pending"
    of_age = person(world.unit_code, id_number=id_number(date(2005, 1, 2)))
    assert post(client, "/v1/volunteers", of_age)["state"] == "pending"


def test_bad_fields_of_a_person_are_refused_by_code(client: Client, world: World) -> None:
    good = person(world.unit_code)
    wrong = "0" if good["id_number"][-1] != "0" else "1"
    for change, code in [
        ({"id_number": good["id_number"][:-1] + wrong}, "id_number.check_digit"),
        ({"id_number": "110105491231002"}, "id_number.fifteen_digits"),
        ({"id_number": "1.10101E+17"}, "id_number.invalid"),
        ({"born_on": "1970-01-01"}, "birth_date.mismatch"),
        ({"unit_code": "NOWHERE"}, "unit.unknown"),
        ({"team_code": "NOBODY"}, "team.unknown"),
    ]:
        assert post(client, "/v1/volunteers", {**good, **change}, 422)["code"] == code
    refusal = post(client, "/v1/volunteers", {**good, "name": "甲", "phone": "+1 202", "nickname": "x"}, 422)
    assert {error["code"] for error in refusal["errors"]} == {"name.invalid", "phone.invalid", "field.unknown"}
    missing = post(client, "/v1/volunteers", {}, 422)
    assert [error["pointer"] for error in missing["errors"]] == ["/name", "/id_number", "/phone", "/unit_code"]
    assert post(client, "/v1/volunteers", good)["state"] == "pending"


def test_volunteers_are_listed_by_unit_team_state_and_number(client: Client, world: World) -> None:
    ids = [str(one) for one in world.add_volunteers(3)]
    [pending] = world.add_volunteers(1, verified=False)
    post(client, f"/v1/teams/{world.team_code}/members", {"volunteer_id": ids[1]}, 200)

    def listed(query: str) -> list[str]:
        return [item["id"] for item in get(client, f"/v1/volunteers?unit={world.unit_code}&{query}")["items"]]

    assert listed("") == [*ids, str(pending)]
    assert listed("state=pending") == [str(pending)]
    assert listed(f"team={world.team_code}") == [ids[1]]
    number = get(client, f"/v1/volunteers/{ids[2]}")["volunteer_no"]
    assert listed(f"volunteer_no={number}") == [ids[2]]
    first = get(client, f"/v1/volunteers?unit={world.unit_code}&limit=2")
    assert listed(f"limit=2&after={first['after']}") == [ids[2], str(pending)]
    assert "minutes_total" not in first["items"][0]


def test_a_team_belongs_to_a_known_unit_and_has_a_code_of_its_own(client: Client, world: World) -> None:
    form = {"code": f"{world.team_code}-B", "name": "第二队", "unit_code": world.unit_code}
    refusal = post(client, "/v1/teams", {**form, "unit_code": "NOWHERE"}, 422)
    assert refusal["code"] == "unit.unknown"
    assert "NOWHERE" in refusal["detail"]
    made = post(client, "/v1/teams", form)
    assert get(client, f"/v1/teams/{form['code']}") == made
    refusal = post(client, "/v1/teams", form, 409)
    assert (refusal["code"], refusal["other"]) == ("team.code_taken", form["code"])
    codes = [item["code"] for item in get(client, f"/v1/teams?unit={world.unit_code}")["items"]]
    assert codes == [world.team_code, form["code"]]
    first = get(client, f"/v1/teams?unit={world.unit_code}&limit=1")
    second = get(client, f"/v1/teams?unit={world.unit_code}&limit=1&after={first['after']}")
    assert [item["code"] for item in second["items"]] == [form["code"]]
    missing = client.get("/v1/teams/NOBODY")
    assert missing.json is not None
    assert (missing.status_code, missing.json["code"]) == (404, "team.not_found")


def test_joining_a_team_twice_changes_nothing(client: Client, world: World) -> None:
    [one] = world.add_volunteers(1)
    path = f"/v1/teams/{world.team_code}/members"
    first = post(client, path, {"volunteer_id": str(one)}, 200)
    assert post(client, path, {"volunteer_id": str(one)}, 200) == first
    assert get(client, f"/v1/teams/{world.team_code}")["members"] == 1
    assert post(client, path, {"volunteer_id": str(uuid4())}, 422)["code"] == "volunteer.unknown"
    refusal = post(client, "/v1/teams/NOBODY/members", {"volunteer_id": str(one)}, 404)
    assert refusal["code"] == "team.not_found"


def activity_form(world: World, **fields: Any) -> dict[str, Any]:
    return {
        "title": "关爱老人",
        "team_code": world.team_code,
        "category": "care-elderly",
        "starts_at": "2020-03-05T08:00:00",
        "ends_at": "2020-03-05T12:00:00",
        "place": "敬老院",
        **fields,
    }


def issue(service: Volunteers, number: str, *categories: str) -> None:
    notice = NoticeIssued(
        notice_id=uuid4(),
        number=number,
        issued_on=date(2020, 3, 4),
        starts_at=datetime(2020, 2, 29, 16, tzinfo=UTC),
        categories=tuple(CategoryOfNotice(code=code) for code in categories),
    )
    one = delivery_of(notice)
    deliver(service, "open_categories", [one, delivery_of(notice)])
    deliver(service, "open_categories", [one])


def test_an_activity_of_the_past_gets_the_unit_of_its_team_and_a_number(client: Client, world: World) -> None:
    made = post(client, "/v1/activities", activity_form(world))
    assert made["unit_code"] == world.unit_code
    assert made["number"].startswith("HD-2020-")
    assert made["starts_at"] == "2020-03-05T00:00:00Z"
    assert get(client, f"/v1/activities/{made['id']}") == made
    second = post(client, "/v1/activities", activity_form(world))
    assert int(second["number"][-4:]) == int(made["number"][-4:]) + 1
    # Somebody takes the next number by hand: the system goes on behind it.
    by_hand = f"HD-2020-{int(second['number'][-4:]) + 1:04d}"
    first = post(client, "/v1/activities", activity_form(world, number=by_hand))
    third = post(client, "/v1/activities", activity_form(world))
    assert int(third["number"][-4:]) == int(second["number"][-4:]) + 2
    refusal = post(client, "/v1/activities", activity_form(world, number=by_hand), 409)
    assert (refusal["code"], refusal["other"]) == ("activity.number_taken", first["id"])


def test_a_category_must_be_open_in_the_notice(service: Volunteers, client: Client, world: World) -> None:
    number = f"台教办〔2020〕{world.unit_code[2:]}号"
    refusal = post(client, "/v1/activities", activity_form(world, notice=number), 422)
    assert refusal["code"] == "notice.unknown"
    issue(service, number, "care-medics", "care-elderly")
    made = post(client, "/v1/activities", activity_form(world, notice=number))
    assert (made["notice"], made["category"]) == (number, "care-elderly")
    refusal = post(client, "/v1/activities", activity_form(world, notice=number, category="sports"), 422)
    assert (refusal["code"], refusal["allowed"]) == ("category.not_in_notice", ["care-elderly", "care-medics"])


def test_a_faulty_activity_is_refused_by_code(client: Client, world: World) -> None:
    for change, code in [
        ({"ends_at": "2020-03-05T08:00:00"}, "activity.ends_before_start"),
        ({"team_code": "NOBODY"}, "team.unknown"),
        ({"unit_code": "NOWHERE"}, "unit.unknown"),
    ]:
        assert post(client, "/v1/activities", activity_form(world, **change), 422)["code"] == code
    missing = client.get(f"/v1/activities/{uuid4()}")
    assert missing.json is not None
    assert (missing.status_code, missing.json["code"]) == (404, "activity.not_found")


def test_activities_are_listed_by_team_unit_category_and_number(client: Client, world: World) -> None:
    made = post(client, "/v1/activities", activity_form(world, number=f"GA-{world.team_code}"))
    for query in (
        f"team={world.team_code}&category=care-elderly",
        f"unit={world.unit_code}&category=care-elderly",
        f"number=GA-{world.team_code}",
    ):
        assert get(client, f"/v1/activities?{query}")["items"] == [made]
    first = get(client, f"/v1/activities?team={world.team_code}&limit=1")
    rest = get(client, f"/v1/activities?team={world.team_code}&limit=1&after={first['after']}")
    assert rest["items"] == [made]


def test_units_are_followed_in_any_order_and_the_newest_state_stays(service: Volunteers) -> None:
    code = "U-FOLLOW"
    newer = UnitChanged(unit_code=code, kind="middle_school", revision=3, parent_code="P3")
    older = UnitChanged(unit_code=code, kind="town", revision=2, parent_code="P2")
    registered = UnitRegistered(unit_code=code, kind="office")
    for batch in ([newer], [registered, older], [older, newer, registered]):
        deliver(service, "follow_units", [delivery_of(event) for event in batch])
        found = fetch(service, "SELECT kind, parent_code, revision FROM known_units WHERE code = :code", code=code)
        assert found == [{"kind": "middle_school", "parent_code": "P3", "revision": 3}]
    know_units(service, code)
    assert fetch(service, "SELECT kind FROM known_units WHERE code = :code", code=code) == [{"kind": "middle_school"}]


def test_an_activity_and_its_hours_of_another_unit_count_for_that_unit(client: Client, world: World) -> None:
    know_units(world.service, "U-OTHER")
    other = world.add_activity(
        unit_code="U-OTHER", starts_at=local("2026-03-05 08:00"), ends_at=local("2026-03-05 12:00")
    )
    [one] = world.add_volunteers(1)
    body = world.body(one, "2026-03-05 09:00", "2026-03-05 10:00", activity_id=str(other))
    entry = log(client, body)
    assert (entry["unit_code"], entry["team_code"]) == ("U-OTHER", world.team_code)
