"""Drafting and issuing notices, by HTTP, on PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from werkzeug.test import Client, TestResponse

from services.notices.service import Notices
from tests.support.notices import NOTICE_6, codes_of, draft, issue, register_units
from tests.support.services import client_of, empty_tables, fetch, make_service, recorded
from tests.support.threads import at_once

ISSUED = "notices.notice_issued.v1"
ADDRESSED = ["TS-KG-01", "TS-MS-01", "TS-TJ", "TS-ZX-01", "TS-ZX-02"]


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
    client = client_of(service)
    register_units(client)
    return client


def body(answer: TestResponse) -> dict[str, Any]:
    assert answer.json is not None, answer.text
    return answer.json


def drafted(client: Client, **changes: Any) -> str:
    answer = draft(client, **changes)
    assert answer.status_code == 201, answer.text
    return str(body(answer)["id"])


# --- Drafting


def test_a_draft_is_kept_with_its_number_and_period_and_binds_nobody(service: Notices, client: Client) -> None:
    answer = draft(client)
    assert answer.status_code == 201, answer.text
    kept = body(answer)
    assert answer.headers["ETag"] == '"1"'
    assert answer.headers["Location"] == f"/v1/notices/{kept['id']}"
    assert (kept["number"], kept["state"], kept["state_label"]) == ("台教办〔2020〕6号", "draft", "草稿")
    assert (kept["starts_at"], kept["ends_at"]) == ("2020-02-29T16:00:00Z", "2020-04-30T16:00:00Z")
    assert kept["addressees"]["unit_codes"] == []
    assert recorded(service, ISSUED) == []
    assert body(client.get(f"/v1/notices/{kept['id']}/obligations"))["items"] == []
    assert body(client.get(f"/v1/notices/{kept['id']}")) == kept


def test_a_draft_shows_labels_and_whose_words_a_deadline_is(client: Client) -> None:
    kept = body(draft(client))
    lecture = kept["categories"][1]
    assert (lecture["counts_hours"], lecture["not_volunteer_reason"]) == (False, "NV2")
    assert "班会" in lecture["not_volunteer_label"]
    assert kept["categories"][3]["service_class_label"] == "扶贫减贫"
    nomination, material, _ = kept["obligations"]
    assert (nomination["due_phrase"], nomination["due_on"]) == ("4月17日前", "2020-04-17")
    # The day counts until 24:00 in the office.
    assert nomination["due_at"] == "2020-04-17T16:00:00Z"
    assert "二十四时" in nomination["due_clause"]
    assert (nomination["due_basis"], material["due_basis"]) == ("通知原文", "本系统默认")
    assert (material["due_at"], material["due_rule"]) == (None, "活动结束后3个工作日内")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        ("台教办〔20〕6号", "台教办〔2020〕6号"),
        ("台教办[2020]6号", "台教办〔2020〕6号"),
        ("台教办〔2020〕第6号", "台教办〔2020〕6号"),
        ("台教办〔2020〕06号", "台教办〔2020〕6号"),
    ],
)
def test_a_number_written_wrongly_is_refused_with_the_corrected_form(client: Client, number: str, advice: str) -> None:
    answer = draft(client, number=number)
    assert answer.status_code == 422
    assert (body(answer)["code"], body(answer)["suggestion"]) == ("number.invalid", advice)
    assert codes_of(answer) == {"/number": "number.invalid"}


def test_full_width_digits_in_a_number_are_the_same_number(client: Client) -> None:
    drafted(client)
    answer = draft(client, number="台教办〔２０２０〕６号")
    assert answer.status_code == 409


def test_a_number_is_unique_for_its_issuer_and_year_and_the_refusal_names_the_other(client: Client) -> None:
    first = drafted(client)
    taken = draft(client, title="另一份通知")
    assert taken.status_code == 409
    assert (body(taken)["code"], body(taken)["other"]) == ("number.taken", first)
    for number in ("台教办〔2021〕6号", "台教〔2020〕6号", "台教办〔2020〕7号"):
        assert draft(client, number=number).status_code == 201


def test_of_two_clerks_who_use_one_number_together_one_wins(client: Client) -> None:
    for serial in range(1, 11):
        number = f"台教办〔2020〕{serial}号"
        answers = at_once([lambda number=number: draft(client, number=number)] * 2)  # type: ignore[misc]
        won, lost = sorted(answers, key=lambda answer: answer.status_code)
        assert (won.status_code, lost.status_code) == (201, 409)
        assert body(lost)["other"] == body(won)["id"]


def changed(part: str, index: int, **fields: Any) -> dict[str, Any]:
    items = [dict(item) for item in NOTICE_6[part]]
    items[index].update(fields)
    return {part: items}


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"title": ""}, {"/title": "text.length"}),
        ({"issuers": []}, {"/issuers": "list.length"}),
        ({"issuers": [{"name": "教育局"}, {"name": "教育局"}]}, {"/issuers/1/name": "notice.named_twice"}),
        (
            {"issuers": [{"name": "教育局", "unit_code": "NOBODY"}]},
            {"/issuers/0/unit_code": "notice.unit_unknown"},
        ),
        ({"issued_on": "2020-02-30"}, {"/issued_on": "field.not_date"}),
        (
            {"issued_on": "2200-01-01", "period": {"starts": "2020-03"}, "obligations": []},
            {"/issued_on": "date.implausible"},
        ),
        ({"period": {}}, {"/period": "period.invalid"}),
        ({"period": {"phrase": "春天"}}, {"/period/phrase": "period.invalid"}),
        ({"period": {"starts": "2020-13"}}, {"/period/starts": "period.invalid"}),
        ({"period": {"starts": "2020-04", "ends": "2020-03"}}, {"/period/ends": "period.invalid"}),
        ({"addressees": {"codes": ["NOBODY"]}}, {"/addressees/codes/0": "notice.unit_unknown"}),
        (
            {"addressees": {"kinds": ["town"], "excluded": ["NOBODY"]}},
            {"/addressees/excluded/0": "notice.unit_unknown"},
        ),
        ({"addressees": {"kinds": ["中心小学"]}}, {"/addressees/kinds/0": "unit.kind_unknown"}),
        ({"addressees": {"units": []}}, {"/addressees/units": "field.unknown"}),
        (changed("categories", 1, code="care-medics"), {"/categories/1/code": "notice.named_twice"}),
        (
            changed("categories", 0, service_class="0021"),
            {"/categories/0/service_class": "category.service_class_unknown"},
        ),
        (
            changed("categories", 1, not_volunteer_reason=None),
            {"/categories/1/not_volunteer_reason": "category.reason_not_fitting"},
        ),
        (
            changed("categories", 1, not_volunteer_reason="NV9"),
            {"/categories/1/not_volunteer_reason": "category.reason_not_fitting"},
        ),
        (
            changed("categories", 0, not_volunteer_reason="NV1"),
            {"/categories/0/not_volunteer_reason": "category.reason_not_fitting"},
        ),
        (
            changed("categories", 0, responsible=[{"role": "责任单位", "units": {}}]),
            {"/categories/0/responsible/0/role": "field.not_listed"},
        ),
        (
            changed("categories", 0, responsible=[{"role": "host", "units": {}}, {"role": "host", "units": {}}]),
            {"/categories/0/responsible/1/role": "notice.named_twice"},
        ),
        (
            changed("categories", 0, responsible=[{"role": "host", "units": {"codes": ["NOBODY"]}}]),
            {"/categories/0/responsible/0/units/codes/0": "notice.unit_unknown"},
        ),
        (changed("obligations", 1, code="nomination"), {"/obligations/1/code": "notice.named_twice"}),
        (changed("obligations", 0, kind="dance"), {"/obligations/0/kind": "field.not_listed"}),
        (changed("obligations", 0, receiver=None), {"/obligations/0/receiver": "field.null"}),
        (changed("obligations", 0, due_on=None), {"/obligations/0/due_on": "obligation.deadline_missing"}),
        (
            changed("obligations", 0, due_on="2020-03-03"),
            {"/obligations/0/due_on": "obligation.due_before_issued"},
        ),
        (changed("obligations", 0, due_on="2999-12-31"), {"/obligations/0/due_on": "date.implausible"}),
        (
            changed("obligations", 1, due_rule=None),
            {"/obligations/1/due_rule": "obligation.deadline_missing"},
        ),
        (
            {"number": "6号", "period": {}, "issuers": [{"name": "教育局", "unit_code": "NOBODY"}]},
            {
                "/number": "number.invalid",
                "/period": "period.invalid",
                "/issuers/0/unit_code": "notice.unit_unknown",
            },
        ),
    ],
)
def test_a_draft_that_breaks_rules_is_refused_naming_each_place(
    client: Client, change: dict[str, Any], codes: dict[str, str]
) -> None:
    answer = draft(client, **change)
    assert answer.status_code == 422, answer.text
    assert codes_of(answer) == codes
    assert body(client.get("/v1/notices"))["items"] == []


def test_all_missing_fields_of_a_draft_are_named_at_once(client: Client) -> None:
    missing = ("number", "title", "issuers", "issued_on", "period", "addressees")
    assert codes_of(client.post("/v1/notices", json={})) == {f"/{name}": "field.required" for name in missing}


@pytest.mark.parametrize(
    ("period", "starts_at", "ends_at"),
    [
        ({"starts": "2020-03", "ends": "2020-04"}, "2020-02-29T16:00:00Z", "2020-04-30T16:00:00Z"),
        ({"starts": "2020-03-05", "ends": "2020-03-05"}, "2020-03-04T16:00:00Z", "2020-03-05T16:00:00Z"),
        ({"phrase": "从3月1日起"}, "2020-02-29T16:00:00Z", None),
        ({"starts": "2020-03-01"}, "2020-02-29T16:00:00Z", None),
    ],
)
def test_a_period_is_given_by_months_days_or_the_phrase_of_the_notice(
    client: Client, period: dict[str, str], starts_at: str, ends_at: str | None
) -> None:
    kept = body(draft(client, period=period))
    assert (kept["starts_at"], kept["ends_at"]) == (starts_at, ends_at)


def test_a_draft_is_changed_part_by_part_under_its_etag(client: Client) -> None:
    notice_id = drafted(client)
    path = f"/v1/notices/{notice_id}"
    answer = client.patch(path, json={"title": "新标题", "theme": None}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    kept = body(answer)
    assert (kept["title"], kept["theme"], kept["number"]) == ("新标题", None, "台教办〔2020〕6号")
    assert len(kept["categories"]) == 5
    assert client.patch(path, json={"title": "又一个"}, headers={"If-Match": '"1"'}).status_code == 412
    assert client.patch(path, json={"title": "又一个"}).status_code == 428
    same = client.patch(path, json={"title": "新标题"}, headers={"If-Match": '"2"'})
    assert same.headers["ETag"] == '"2"'


def test_a_draft_cannot_take_the_number_of_another_notice(client: Client) -> None:
    first = drafted(client)
    second = drafted(client, number="台教办〔2020〕7号")
    answer = client.patch(f"/v1/notices/{second}", json={"number": "台教办〔2020〕6号"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 409
    assert body(answer)["other"] == first
    assert body(client.get(f"/v1/notices/{second}"))["number"] == "台教办〔2020〕7号"


# --- Issuing


def test_issuing_fixes_who_is_bound_and_announces_it(service: Notices, client: Client) -> None:
    notice_id = drafted(client)
    answer = issue(client, notice_id)
    assert answer.status_code == 200, answer.text
    issued = body(answer)
    assert (issued["state"], issued["revision"], issued["state_label"]) == ("issued", 2, "已印发")
    assert issued["addressees"]["unit_codes"] == ADDRESSED
    counts = {rule["code"]: rule["units_by_state"] for rule in issued["obligations"]}
    assert counts == {"nomination": {"open": 4}, "material": {"open": 5}, "year-plan": {"open": 5}}
    [event] = recorded(service, ISSUED)
    data: Any = event.data
    assert (str(data.notice_id), data.number, list(data.addressees)) == (
        notice_id,
        "台教办〔2020〕6号",
        ADDRESSED,
    )
    nomination = data.obligations[0]
    assert nomination.unit_codes == ("TS-MS-01", "TS-TJ", "TS-ZX-01", "TS-ZX-02")
    assert nomination.due_at.isoformat() == "2020-04-17T16:00:00+00:00"
    assert [(item.code, item.counts_hours) for item in data.categories][:2] == [
        ("care-medics", True),
        ("moral-lecture", False),
    ]


def test_kindergartens_plan_and_report_but_may_not_nominate(client: Client) -> None:
    notice_id = drafted(client)
    issue(client, notice_id)
    duties = body(client.get(f"/v1/notices/{notice_id}/obligations?unit=TS-KG-01"))["items"]
    assert [duty["code"] for duty in duties] == ["material", "year-plan"]


def test_issuing_twice_answers_the_same_without_a_second_event(service: Notices, client: Client) -> None:
    notice_id = drafted(client)
    first, second = issue(client, notice_id), issue(client, notice_id)
    assert (first.status_code, second.status_code) == (200, 200)
    assert body(first) == body(second)
    assert len(recorded(service, ISSUED)) == 1
    assert len(fetch(service, "SELECT 1 FROM obligations")) == 14


def test_two_clerks_who_issue_together_issue_once(service: Notices, client: Client) -> None:
    notice_id = drafted(client)
    answers = at_once([lambda: issue(client, notice_id)] * 2)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(recorded(service, ISSUED)) == 1
    assert len(fetch(service, "SELECT 1 FROM obligations")) == 14


def test_an_issued_notice_cannot_be_edited_by_anybody(service: Notices, client: Client) -> None:
    notice_id = drafted(client)
    issue(client, notice_id)
    answer = client.patch(f"/v1/notices/{notice_id}", json={"title": "改"}, headers={"If-Match": "*"})
    assert (answer.status_code, body(answer)["code"]) == (409, "notice.already_issued")
    for statement in ("UPDATE notices SET title = 'x'", "DELETE FROM notices"):
        with pytest.raises(IntegrityError), service.runtime.db.transaction() as session:
            session.execute(sa.text(statement))


def test_a_school_registered_after_the_issue_is_not_silently_obliged(client: Client) -> None:
    notice_id = drafted(client)
    issue(client, notice_id)
    register_units(client, [{"code": "TS-ZX-03", "name": "丙镇中心小学", "kind": "central_primary"}])
    assert body(issue(client, notice_id))["addressees"]["unit_codes"] == ADDRESSED
    late = client.get(f"/v1/notices/{notice_id}/obligations?unit=TS-ZX-03")
    assert body(late)["items"] == []


def test_responsible_units_differ_from_item_to_item(client: Client) -> None:
    register_units(
        client,
        [
            {"code": "YJ", "name": "雁江镇", "kind": "town"},
            {"code": "LJ", "name": "临江镇", "kind": "town"},
            {"code": "SHSW", "name": "社会事务局", "kind": "department"},
        ],
    )
    both = {"codes": ["SHSW"], "kinds": ["town"]}
    categories = [
        {"code": "c2", "name": "助力乡村振兴", "responsible": [{"role": "responsible", "units": both}]},
        {
            "code": "c4",
            "name": "关爱一老一小",
            "responsible": [
                {"role": "host", "units": {"codes": ["SHSW"]}},
                {"role": "co_host", "units": {"kinds": ["town"], "excluded": ["LJ"]}},
            ],
        },
    ]
    addressees = {"kinds": ["town", "department"]}
    notice_id = drafted(
        client, number="资临空发〔2023〕17号", categories=categories, addressees=addressees, obligations=[]
    )
    shown = body(issue(client, notice_id))["categories"]
    bound = [[(part["role_label"], part["unit_codes"]) for part in category["responsible"]] for category in shown]
    assert bound == [
        [("责任单位", ["LJ", "SHSW", "YJ"])],
        [("主办", ["SHSW"]), ("协办", ["YJ"])],
    ]


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({"addressees": {}}, {"/addressees": "addressee.none"}),
        ({"addressees": {"kinds": ["village"]}}, {"/addressees/kinds": "addressee.unknown"}),
        ({"addressees": {"groups": ["没有的组"]}}, {"/addressees/groups": "addressee.unknown"}),
        (
            changed("categories", 0, responsible=[{"role": "host", "units": {"kinds": ["village"]}}]),
            {"/categories/0/responsible/0/units/kinds": "addressee.unknown"},
        ),
        (
            changed("obligations", 2, units={"codes": ["TS-JY", "TS-KG-01"]}),
            {"/obligations/2/units": "obligation.beyond_addressees"},
        ),
        (
            changed("obligations", 2, units={"kinds": ["education_bureau"]}),
            {"/obligations/2/units": "obligation.beyond_addressees"},
        ),
    ],
)
def test_a_notice_that_would_bind_nobody_or_strangers_cannot_be_issued(
    service: Notices, client: Client, change: dict[str, Any], codes: dict[str, str]
) -> None:
    notice_id = drafted(client, **change)
    answer = issue(client, notice_id)
    assert answer.status_code == 422, answer.text
    assert codes_of(answer) == codes
    assert body(client.get(f"/v1/notices/{notice_id}"))["state"] == "draft"
    assert recorded(service, ISSUED) == []


def test_a_notice_too_large_to_announce_is_refused_with_advice_and_stays_a_draft(
    service: Notices, client: Client
) -> None:
    schools = [
        {"code": f"TS-KG-{number:04}-LONG-CODE", "name": f"第{number}幼儿园", "kind": "kindergarten"}
        for number in range(60)
    ]
    register_units(client, schools)
    rule = NOTICE_6["obligations"][2]
    duties = [{**rule, "code": f"plan-{number}"} for number in range(50)]
    notice_id = drafted(client, obligations=duties, categories=[])
    answer = issue(client, notice_id)
    assert answer.status_code == 422
    refused = body(answer)
    assert (refused["code"], refused["units"], refused["duties"]) == ("notice.too_large", 65, 3250)
    assert "拆成" in refused["detail"]
    assert recorded(service, ISSUED) == []
    assert fetch(service, "SELECT 1 FROM notice_units") == []


def test_an_unknown_notice_is_not_found(client: Client) -> None:
    path = "/v1/notices/0196f2b0-0000-7000-8000-000000000000"
    answers = [
        client.get(path),
        client.get(f"{path}/obligations"),
        client.post(f"{path}:issue"),
        client.patch(path, json={}, headers={"If-Match": '"1"'}),
    ]
    assert [(answer.status_code, body(answer)["code"]) for answer in answers] == [(404, "notice.not_found")] * 4


# --- Reading


def test_notices_are_listed_by_number_year_issuer_and_state(client: Client) -> None:
    first = drafted(client)
    joint = [{"name": "共青团台山市委员会"}, {"name": "台山市义务工作者联合会"}]
    second = drafted(client, number="团台联字〔2020〕3号", issuers=joint, issued_on="2020-03-02")
    third = drafted(client, number="资临空发〔2023〕17号", issued_on="2023-03-09", obligations=[])
    issue(client, first)

    def ids(query: str) -> list[str]:
        answer = client.get(f"/v1/notices?{query}")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in body(answer)["items"]]

    assert ids("") == [third, first, second]
    assert ids("number=团台联字〔2020〕3号") == [second]
    assert ids("year=2020") == [first, second]
    assert ids("issuer=台教办") == [first]
    assert ids("issuer=台山市义务工作者联合会") == [second]
    assert ids("issuer=TS-JY") == [third, first]
    assert ids("state=issued") == [first]
    page = body(client.get("/v1/notices?limit=2"))
    assert ids(f"limit=2&after={page['after']}") == [second]


@pytest.mark.parametrize("query", ["number=台教办[2020]6号", "year=20", "state=open", "after=x", "limit=201", "q=x"])
def test_a_wrong_query_for_notices_is_refused(client: Client, query: str) -> None:
    answer = client.get(f"/v1/notices?{query}")
    assert answer.status_code == 400


def test_obligations_are_listed_by_unit_kind_state_and_due_day_in_pages(client: Client) -> None:
    notice_id = drafted(client)
    issue(client, notice_id)

    def keys(query: str) -> list[tuple[str, str]]:
        answer = client.get(f"/v1/notices/{notice_id}/obligations?{query}")
        assert answer.status_code == 200, answer.text
        return [(item["code"], item["unit_code"]) for item in body(answer)["items"]]

    everything = keys("")
    assert len(everything) == 14
    assert everything == sorted(everything)
    assert keys("unit=TS-ZX-01") == [(code, "TS-ZX-01") for code in ("material", "nomination", "year-plan")]
    assert {code for code, _ in keys("kind=year_plan")} == {"year-plan"}
    assert keys("state=open") == everything
    assert keys("state=accepted") == []
    assert keys("due_before=2020-04-17") == []
    assert {code for code, _ in keys("due_before=2020-04-18")} == {"nomination"}
    page = body(client.get(f"/v1/notices/{notice_id}/obligations?limit=10"))
    assert keys(f"limit=10&after={page['after']}") == everything[10:]


def test_a_duty_shows_its_unit_deadline_clause_and_policy(client: Client) -> None:
    notice_id = drafted(client)
    issue(client, notice_id)
    path = f"/v1/notices/{notice_id}/obligations?unit=TS-ZX-01&kind=nomination"
    [duty] = body(client.get(path))["items"]
    wanted = {
        "unit_name": "甲镇中心小学",
        "receiver": "局机关党委",
        "lateness": "forfeit",
        "due_on": "2020-04-17",
        "due_at": "2020-04-17T16:00:00Z",
        "due_phrase": "4月17日前",
        "due_basis": "通知原文",
        "state": "open",
        "past_due": True,
    }
    assert {name: duty[name] for name in wanted} == wanted
    assert "第二百零三条" in duty["due_clause"]


@pytest.mark.parametrize("query", ["unit=nobody", "kind=x", "state=x", "due_before=2020-02-30", "after=WyJhIl0"])
def test_a_wrong_query_for_obligations_is_refused(client: Client, query: str) -> None:
    notice_id = drafted(client)
    assert client.get(f"/v1/notices/{notice_id}/obligations?{query}").status_code == 400


def test_markup_in_a_title_is_kept_as_text(client: Client) -> None:
    title = "'; DROP TABLE notices; -- <script>{{ 7 * 7 }}</script>"
    assert body(draft(client, title=title))["title"] == title


def test_no_event_carries_free_text(service: Notices, client: Client) -> None:
    issue(client, drafted(client))
    payloads = fetch(service, "SELECT convert_from(payload, 'UTF8') AS text FROM outbox")
    words = ("践行", "中心小学", "机关党委", "教育局", "登记表", "4月17日前")
    assert len(payloads) == 7
    assert not [word for word in words for payload in payloads if word in payload["text"]]


def test_one_idempotency_key_drafts_one_notice(client: Client) -> None:
    headers = {"Idempotency-Key": "clerk-1"}
    first = client.post("/v1/notices", json=NOTICE_6, headers=headers)
    second = client.post("/v1/notices", json=NOTICE_6, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert body(first) == body(second)
    assert second.headers["ETag"] == '"1"'
