"""The register of units, by HTTP, on PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from werkzeug.test import Client

from services.notices import models
from services.notices.service import Notices
from tests.support.notices import UNITS, codes_of, register_units
from tests.support.services import client_of, empty_tables, make_service, recorded
from tests.support.threads import at_once


@pytest.fixture(scope="module")
def running(database: str) -> Iterator[Notices]:
    service = make_service(Notices, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def service(running: Notices) -> Notices:
    empty_tables(running, ["obligations", "category_units", "notice_units", "notices", "units"])
    return running


@pytest.fixture
def client(service: Notices) -> Client:
    return client_of(service)


def test_a_registered_unit_is_shown_with_label_etag_and_event(service: Notices, client: Client) -> None:
    register_units(client, UNITS[:1])
    answer = client.post("/v1/units", json=UNITS[1])
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/v1/units/TS-ZX-01"
    assert answer.headers["ETag"] == '"1"'
    shown = client.get("/v1/units/TS-ZX-01")
    assert shown.json == answer.json
    assert shown.headers["ETag"] == '"1"'
    assert shown.json is not None
    assert (shown.json["kind_label"], shown.json["staff_count"], shown.json["counted_on"]) == (
        "中心小学",
        199,
        "2020-03-01",
    )
    data = recorded(service, "notices.unit_registered.v1")[1].data
    assert (data.unit_code, data.kind, data.parent_code, data.staff_count) == (  # type: ignore[attr-defined]
        "TS-ZX-01",
        "central_primary",
        "TS-JY",
        199,
    )


def test_a_credit_code_is_checked_and_kept_in_one_spelling(service: Notices, client: Client) -> None:
    made = client.post("/v1/units", json={**UNITS[0], "credit_code": "12440781 45600000 0f"})
    assert (made.status_code, (made.json or {})["credit_code"]) == (201, "12440781456000000F")
    path = f"/v1/units/{UNITS[0]['code']}"
    for given, says in {
        "12440781456000000E": "应为 F",
        "1244078145600000F": "18位",
        "1I440781456000000F": "18位",
        "12440781456000000F0": "18位",
    }.items():
        answer = client.patch(path, json={"credit_code": given}, headers={"If-Match": "*"})
        [problem] = (answer.json or {})["errors"]
        assert (answer.status_code, problem["pointer"], problem["code"]) == (
            422,
            "/credit_code",
            "unit.credit_code_invalid",
        )
        assert says in problem["detail"]
    same = client.patch(path, json={"credit_code": "１2440781456000000f"}, headers={"If-Match": "*"})
    assert (same.json or {})["revision"] == (made.json or {})["revision"], (
        "the same code spelled otherwise is no change"
    )
    none = client.patch(path, json={"credit_code": None}, headers={"If-Match": "*"})
    assert (none.status_code, (none.json or {})["credit_code"]) == (200, None)
    assert "12440781456000000F" not in str([one.data for one in recorded(service)]), "it is in no event"


def test_a_code_can_be_taken_once_and_the_refusal_names_it(service: Notices, client: Client) -> None:
    register_units(client, UNITS[:1])
    answer = client.post("/v1/units", json={**UNITS[0], "name": "另一个单位"})
    assert answer.status_code == 409
    assert answer.json is not None
    assert (answer.json["code"], answer.json["other"]) == ("unit.code_taken", "TS-JY")
    assert len(recorded(service)) == 1


def test_of_two_clerks_who_register_one_code_together_one_wins(service: Notices, client: Client) -> None:
    for round_ in range(10):
        unit = {"code": f"TW-{round_}", "name": "同名单位", "kind": "town"}
        answers = at_once([lambda unit=unit: client.post("/v1/units", json=unit)] * 2)  # type: ignore[misc]
        assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert len(recorded(service)) == 10


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"code": "ts_jy"}, {"/code": "unit.code_invalid"}),
        ({"code": "A" * 33}, {"/code": "unit.code_invalid"}),
        ({"name": "甲"}, {"/name": "text.length"}),
        ({"name": "甲\u202e乙"}, {"/name": "text.invisible"}),
        ({"name": "甲\x00乙"}, {"/name": "text.invisible"}),
        ({"kind": "zoo"}, {"/kind": "unit.kind_unknown"}),
        ({"parent_code": "NOBODY"}, {"/parent_code": "unit.parent_unknown"}),
        ({"parent_code": "TS-NEW"}, {"/parent_code": "unit.parent_unknown"}),
        ({"staff_count": 10}, {"/counted_on": "head_count.invalid"}),
        ({"staff_count": -1, "counted_on": "2020-03-01"}, {"/staff_count": "head_count.invalid"}),
        ({"student_count": 1_000_001, "counted_on": "2020-03-01"}, {"/student_count": "head_count.invalid"}),
        ({"staff_count": 12.5, "counted_on": "2020-03-01"}, {"/staff_count": "field.not_integer"}),
        ({"staff_count": "两百", "counted_on": "2020-03-01"}, {"/staff_count": "field.not_integer"}),
        ({"staff_count": 1, "counted_on": "2099-01-01"}, {"/counted_on": "head_count.in_future"}),
        ({"counted_on": "2026-02-30"}, {"/counted_on": "field.not_date"}),
        ({"aliases": ["新单位"]}, {"/aliases/0": "notice.named_twice"}),
        ({"aliases": ["一", "一"]}, {"/aliases/1": "notice.named_twice"}),
        ({"groups": "有关单位"}, {"/groups": "field.not_list"}),
        ({"staff": 10}, {"/staff": "field.unknown"}),
    ],
)
def test_a_unit_that_breaks_a_rule_is_refused_and_not_kept(
    client: Client, change: dict[str, Any], codes: dict[str, str]
) -> None:
    unit = {"code": "TS-NEW", "name": "新单位", "kind": "town", **change}
    answer = client.post("/v1/units", json=unit)
    assert answer.status_code == 422, answer.text
    assert codes_of(answer) == codes
    assert client.get("/v1/units").json == {"items": [], "after": None}


@pytest.mark.parametrize("unit", ['{"code": "TS-X", "name": "\\ud800甲乙", "kind": "town"}', '{"\\uDFFF": 1}'])
def test_half_a_surrogate_pair_is_no_text(client: Client, unit: str) -> None:
    answer = client.post("/v1/units", data=unit, content_type="application/json")
    assert (answer.status_code, answer.json and answer.json["code"]) == (400, "body.not_json")


def test_rare_characters_are_accepted(client: Client) -> None:
    unit = '{"code": "TS-X", "name": "\\ud842\\udfb7镇·甲", "kind": "town"}'
    answer = client.post("/v1/units", data=unit, content_type="application/json")
    assert (answer.status_code, answer.json and answer.json["name"]) == (201, "𠮷镇·甲")


def test_all_missing_fields_are_named_at_once_and_an_unknown_kind_names_the_allowed(client: Client) -> None:
    empty = client.post("/v1/units", json={})
    assert codes_of(empty) == dict.fromkeys(("/code", "/name", "/kind"), "field.required")
    wrong = client.post("/v1/units", json={"code": "TS-X", "name": "单位", "kind": "学校"})
    assert wrong.json is not None
    assert wrong.json["allowed"]["kindergarten"] == "幼儿园"


def test_a_change_raises_the_revision_and_is_announced(service: Notices, client: Client) -> None:
    register_units(client, UNITS[:2])
    change = {"staff_count": 200, "counted_on": "2020-09-01"}
    answer = client.patch("/v1/units/TS-ZX-01", json=change, headers={"If-Match": '"1"'})
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"2"'
    [event] = recorded(service, "notices.unit_changed.v1")
    assert (event.data.revision, event.data.staff_count, event.data.student_count) == (2, 200, 2999)  # type: ignore[attr-defined]


def test_a_change_of_the_name_alone_is_kept_but_no_event_carries_names(service: Notices, client: Client) -> None:
    register_units(client, UNITS[:1])
    answer = client.patch("/v1/units/TS-JY", json={"name": "台山教育局"}, headers={"If-Match": '"1"'})
    assert answer.json is not None
    assert (answer.json["name"], answer.json["revision"]) == ("台山教育局", 2)
    assert recorded(service, "notices.unit_changed.v1") == []


def test_a_change_that_changes_nothing_leaves_the_revision(service: Notices, client: Client) -> None:
    register_units(client, UNITS[:2])
    same = {"staff_count": 199, "name": "甲镇中心小学"}
    answer = client.patch("/v1/units/TS-ZX-01", json=same, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
    assert recorded(service, "notices.unit_changed.v1") == []


def test_a_change_needs_the_present_etag(client: Client) -> None:
    register_units(client, UNITS[:1])
    without = client.patch("/v1/units/TS-JY", json={"kind": "other"})
    assert without.status_code == 428
    assert client.patch("/v1/units/TS-JY", json={"kind": "other"}, headers={"If-Match": "*"}).status_code == 200
    stale = client.patch("/v1/units/TS-JY", json={"kind": "town"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert stale.json is not None
    assert (stale.json["code"], stale.json["revision"]) == ("precondition.stale", 2)


def test_of_two_changes_made_together_on_one_revision_one_wins(client: Client) -> None:
    register_units(client, UNITS[:1])
    kinds = ("town", "village")
    answers = at_once(
        [
            lambda kind=kind: client.patch("/v1/units/TS-JY", json={"kind": kind}, headers={"If-Match": '"1"'})  # type: ignore[misc]
            for kind in kinds
        ]
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]


def test_a_new_head_count_needs_its_own_day(client: Client) -> None:
    register_units(client, UNITS[:2])
    answer = client.patch("/v1/units/TS-ZX-01", json={"staff_count": 200}, headers={"If-Match": '"1"'})
    assert answer.status_code == 422
    assert codes_of(answer) == {"/counted_on": "head_count.invalid"}


def test_parents_may_not_form_a_circle(client: Client) -> None:
    chain = [{"code": code, "name": f"单位{code}", "kind": "town"} for code in ("AA", "BB", "CC")]
    register_units(client, [chain[0], {**chain[1], "parent_code": "AA"}, {**chain[2], "parent_code": "BB"}])
    answer = client.patch("/v1/units/AA", json={"parent_code": "CC"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 422
    assert codes_of(answer) == {"/parent_code": "unit.parent_cycle"}
    itself = client.patch("/v1/units/AA", json={"parent_code": "AA"}, headers={"If-Match": '"1"'})
    assert codes_of(itself) == {"/parent_code": "unit.parent_unknown"}
    freed = client.patch("/v1/units/BB", json={"parent_code": None}, headers={"If-Match": '"1"'})
    assert freed.status_code == 200
    moved = client.patch("/v1/units/AA", json={"parent_code": "CC"}, headers={"If-Match": '"1"'})
    assert moved.status_code == 200


def test_two_changes_made_together_cannot_close_a_circle(client: Client) -> None:
    for round_ in range(5):
        one, two = f"A{round_}", f"B{round_}"
        register_units(client, [{"code": code, "name": f"单位{code}", "kind": "town"} for code in (one, two)])
        pairs = ((one, two), (two, one))
        answers = at_once(
            list(
                lambda pair=pair: client.patch(  # type: ignore[misc]
                    f"/v1/units/{pair[0]}", json={"parent_code": pair[1]}, headers={"If-Match": '"1"'}
                )
                for pair in pairs
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 422]


def test_an_unknown_unit_is_not_found(client: Client) -> None:
    assert client.get("/v1/units/NOBODY").status_code == 404
    answer = client.patch("/v1/units/NOBODY", json={}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json and answer.json["code"]) == (404, "unit.not_found")


def test_units_are_listed_by_kind_and_parent_in_pages(client: Client) -> None:
    register_units(client)
    first = client.get("/v1/units?limit=4").json
    assert first is not None
    rest = client.get(f"/v1/units?limit=4&after={first['after']}").json
    assert rest is not None
    codes = [unit["code"] for unit in first["items"] + rest["items"]]
    assert codes == sorted(unit["code"] for unit in UNITS)
    assert rest["after"] is None
    kind = client.get("/v1/units?kind=central_primary").json
    assert kind is not None
    assert [unit["code"] for unit in kind["items"]] == ["TS-ZX-01", "TS-ZX-02"]
    below = client.get("/v1/units?parent=TS-JY&kind=kindergarten").json
    assert below is not None
    assert [unit["code"] for unit in below["items"]] == ["TS-KG-01"]


@pytest.mark.parametrize(
    "query", ["limit=100000", "limit=0", "kinds=town", "kind=zoo", "after=nonsense", "after=WyJhXHUwMDAwIl0"]
)
def test_a_wrong_query_is_refused(client: Client, query: str) -> None:
    assert client.get(f"/v1/units?{query}").status_code == 400


def test_markup_in_a_name_is_kept_as_text(client: Client) -> None:
    name = "'; DROP TABLE units; -- <script>{{ 7 * 7 }}</script>"
    register_units(client, [{"code": "TS-XSS", "name": name, "kind": "other"}])
    shown = client.get("/v1/units/TS-XSS").json
    assert shown is not None
    assert shown["name"] == name


def test_the_tables_in_the_code_are_those_of_the_migrations(service: Notices) -> None:
    found = sa.inspect(service.runtime.db.engine)
    for table in models.metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name, schema="notices")}
        assert columns == {column.name: column.nullable for column in table.columns}, table.name
