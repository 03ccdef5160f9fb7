"""15-34, 44-46, 49: bodies that are sound JSON and say something wrong, by route; what is odd but right is taken."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.integration.bad_inputs.bodies import Make, activity, hours, notice, someone, unit
from tests.integration.bad_inputs.problems import check_problem, personal_values
from tests.integration.bad_inputs.scene import PHRASE_NUMBER_6, Scene, answer_of
from tests.support.hours import id_number, person
from tests.support.services import fetch


@dataclass(frozen=True)
class Case:
    """One bad body: made from the scene, sent, and the answer that it gets."""

    number: int
    what: str
    path: str
    body: Make
    status: int
    code: str
    pointers: Mapping[str, str] | None = None
    says: tuple[str, ...] = ()
    service: str = "volunteers"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.number:02} {self.what}"


def one(pointer: str, code: str) -> dict[str, str]:
    return {pointer: code}


def minutes(value: Any, what: str, code: str = "field.not_integer", number: int = 17) -> Case:
    top = code if code.startswith("hours") else "input.invalid"
    return Case(number, what, "/v1/hours", hours(minutes=value), 422, top, one("/minutes", code))


def named(value: str, what: str, number: int = 28, code: str = "name.invalid") -> Case:
    return Case(
        number, what, "/v1/volunteers", someone(name=value), 422, "input.invalid", one("/name", code)
    )  # fmt: skip


def phoned(value: str, what: str, number: int = 27, code: str = "phone.invalid") -> Case:
    return Case(
        number, what, "/v1/volunteers", someone(phone=value), 422, "input.invalid", one("/phone", code)
    )  # fmt: skip


def identified(value: str, what: str, number: int, code: str, says: tuple[str, ...] = ()) -> Case:
    return Case(
        number, what, "/v1/volunteers", someone(id_number=value), 422, code, one("/id_number", code), says
    )  # fmt: skip


def wrong_digit() -> tuple[str, str]:
    """Return an identity number whose last character is wrong, and the right character."""
    sound = id_number(date(1991, 2, 3))
    return sound[:17] + ("7" if sound[17] != "7" else "3"), sound[17]


WRONG, RIGHT = wrong_digit()
YEARS_AGO_13 = datetime.now(UTC).date() - timedelta(days=13 * 365)

CASES = [
    Case(
        15, "an unknown field near a known one", "/v1/hours", hours(minute=5), 422, "input.invalid",
        one("/minute", "field.unknown"), ("did you mean `minutes`", "是否指 minutes"),
    ),
    Case(
        15, "an unknown field like no other", "/v1/volunteers", someone(wechat="x"), 422, "input.invalid",
        one("/wechat", "field.unknown"), ("There is no such field",),
    ),
    Case(
        15, "an unknown field inside", "/v1/notices", notice(period={"start": "3月"}), 422, "input.invalid",
        one("/period/start", "field.unknown"), ("`starts`",), "notices",
    ),
    Case(
        16, "nothing of hours", "/v1/hours", lambda _: {}, 422, "input.invalid",
        dict.fromkeys(("/volunteer_id", "/activity_id", "/started_at", "/ended_at"), "field.required"),
    ),
    Case(
        16, "nothing of a person", "/v1/volunteers", lambda _: {}, 422, "input.invalid",
        dict.fromkeys(("/name", "/id_number", "/phone", "/unit_code"), "field.required"),
    ),
    Case(
        16, "nothing of a unit", "/v1/units", lambda _: {}, 422, "input.invalid",
        dict.fromkeys(("/code", "/name", "/kind"), "field.required"), service="notices",
    ),
    Case(
        16, "null in place of values", "/v1/hours",
        hours(volunteer_id=None, activity_id=None, started_at=None, ended_at=None, minutes=None), 422, "input.invalid",
        dict.fromkeys(("/volunteer_id", "/activity_id", "/started_at", "/ended_at", "/minutes"), "field.null"),
    ),
    minutes(0, "minutes 0", "hours.invalid"),
    minutes(-30, "negative minutes", "hours.invalid"),
    minutes(1441, "1,441 minutes", "hours.invalid"),
    minutes(121, "more minutes than the span", "hours.invalid"),
    minutes(12.5, "half a minute"),
    minutes(60.0, "a fraction that is whole"),
    minutes(True, "true minutes"),
    minutes("60", "minutes as a text"),
    minutes([60], "minutes as a list"),
    minutes(10**30, "minutes beyond eight bytes", "field.out_of_range"),
    minutes(-(2**31) - 1, "minutes beyond four bytes", "field.out_of_range"),
    Case(
        17, "more than the day has left", "/v1/hours",
        lambda scene: scene.world.body(scene.busy, "2026-03-05 23:30", "2026-03-06 00:30", 41), 422, "hours.day_limit",
        one("/minutes", "hours.day_limit"), ('"left":40', '"limit":1440', "40"),
    ),
    minutes("两小时", "minutes in words", number=18),
    Case(
        19, "end before start", "/v1/hours", hours(ended_at="2026-03-05T08:00:00+08:00", minutes=60), 422,
        "hours.ends_before_start", one("/ended_at", "hours.ends_before_start"),
    ),
    Case(
        19, "end at the start", "/v1/hours", hours(ended_at="2026-03-05T01:00:00Z"), 422,
        "hours.ends_before_start", one("/ended_at", "hours.ends_before_start"),
    ),
    Case(
        19, "an activity that ends before it starts", "/v1/activities",
        activity(ends_at="2026-03-05T07:00:00+08:00"), 422, "activity.ends_before_start",
    ),
    Case(
        20, "service in the future", "/v1/hours",
        hours(started_at="2998-03-05T09:00:00+08:00", ended_at="2998-03-05T10:00:00+08:00"), 422,
        "hours.in_future", one("/ended_at", "hours.in_future"),
    ),
    Case(
        21, "30 February", "/v1/volunteers", someone(born_on="2026-02-30"), 422, "input.invalid",
        one("/born_on", "field.not_date"),
    ),
    Case(
        21, "30 February with a time", "/v1/hours", hours(started_at="2026-02-30T09:00:00+08:00"), 422,
        "input.invalid", one("/started_at", "field.not_instant"),
    ),
    Case(
        21, "29 February of a common year", "/v1/units", unit(staff_count=1, counted_on="2023-02-29"), 422,
        "input.invalid", one("/counted_on", "field.not_date"), service="notices",
    ),
    Case(
        21, "a date in words", "/v1/notices", notice(issued_on="三月四日"), 422, "input.invalid",
        one("/issued_on", "field.not_date"), service="notices",
    ),
    Case(
        22, "a date where a time is wanted", "/v1/hours", hours(started_at="2026-03-05"), 422, "input.invalid",
        one("/started_at", "field.not_instant"),
    ),
    Case(
        23, "service that overlaps another", "/v1/hours",
        lambda scene: scene.world.body(scene.busy, "2026-03-05 09:00", "2026-03-05 10:00"), 409, "hours.overlap",
        one("/started_at", "hours.overlap"), ("ENTRY",),
    ),
    identified(WRONG, "a wrong check digit", 24, "id_number.check_digit", (f"应为 {RIGHT}", f"should be {RIGHT}")),
    identified("440781900101001", "15 digits", 25, "id_number.fifteen_digits"),
    identified("44078119900101001", "17 digits", 25, "id_number.invalid"),
    identified("4.40781E+17", "digits lost by Excel", 25, "id_number.invalid", ("文本",)),
    Case(
        26, "another date of birth", "/v1/volunteers", someone(id_number=id_number(), born_on="1990-01-02"), 422,
        "birth_date.mismatch", one("/born_on", "birth_date.mismatch"),
    ),
    phoned("1380013800a", "letters in the phone"),
    phoned("+85291234567", "a foreign phone"),
    phoned("+1 202 555 0100", "a phone far away"),
    phoned("0750-5555555", "a landline"),
    phoned("138001380000", "a digit too many"),
    phoned("12800138000", "a prefix that nobody has"),
    named("甲", "a name of one character"),
    named("张😀三", "an emoji"),
    named("张\u0007三", "a control character", code="text.invisible"),
    named("张\u202e三四", "an override of direction", code="text.invisible"),
    named("张" * 200, "200 characters"),
    named("张" * 201, "201 characters", code="text.length"),
    named("张3", "a digit"),
    named("{{7*7}}", "a template"),
    named("张\ufe0f三", "a variation selector"),
    named("张\u200b三", "zero width in a name", 31, "text.invisible"),
    named("张\x00三", "NUL in a name", 31, "text.invisible"),
    phoned("138\u200b00138000", "zero width in a phone", 31, "text.invisible"),
    Case(
        31, "NUL in a title", "/v1/activities", activity(title="清洁\x00家园"), 422, "input.invalid",
        one("/title", "text.invisible"), ("U+0000",),
    ),
    Case(
        31, "a tag character in a place", "/v1/activities", activity(place="广场\U000e0041"), 422, "input.invalid",
        one("/place", "text.invisible"), ("U+E0041",),
    ),
    Case(
        31, "nothing but fillers in a unit's name", "/v1/units", unit(name="\u3164\u3164"), 422, "input.invalid",
        one("/name", "text.invisible"), service="notices",
    ),
    Case(
        31, "what is no character in a notice", "/v1/notices", notice(title="通知\uffff"), 422, "input.invalid",
        one("/title", "text.invisible"), ("U+FFFF",), "notices",
    ),
    Case(
        31, "zero width in a unit's name", "/v1/units", unit(name="新\u2060单位"), 422, "input.invalid",
        one("/name", "text.invisible"), service="notices",
    ),
    Case(
        32, "a unit nobody knows", "/v1/volunteers", someone(unit_code="NOBODY"), 422, "unit.unknown",
        one("/unit_code", "unit.unknown"),
    ),
    Case(
        32, "a team of a unit nobody knows", "/v1/teams",
        lambda _: {"code": "T-NEW", "name": "新队", "unit_code": "NOBODY"}, 422, "unit.unknown",
    ),
    Case(
        32, "a parent nobody knows", "/v1/units", unit(parent_code="NOBODY"), 422, "unit.parent_unknown",
        one("/parent_code", "unit.parent_unknown"), service="notices",
    ),
    Case(
        33, "hours of a child without a guardian's consent", "/v1/hours",
        lambda scene: scene.hours(volunteer_id=str(scene.child)), 409, "consent.required", says=('"age_limit":14',),
    ),
    Case(
        33, "a child whose guardian has a bad phone", "/v1/volunteers",
        someone(
            id_number=id_number(YEARS_AGO_13),
            guardian_consent={
                "guardian_name": "测试员丁", "guardian_phone": "12345678901", "relation": "mother",
                "consented_on": "2026-01-01",
            },
        ),
        422, "input.invalid", one("/guardian_consent/guardian_phone", "phone.invalid"),
    ),
    Case(
        34, "a category that the notice does not open", "/v1/activities",
        activity(notice=PHRASE_NUMBER_6, category="tree-planting"), 422, "category.not_in_notice",
        one("/category", "category.not_in_notice"), ("help-needy", "epidemic"),
    ),
    Case(
        34, "a service class that nobody knows", "/v1/notices",
        notice(categories=[{"code": "a", "name": "甲", "service_class": "9999"}]), 422,
        "category.service_class_unknown", service="notices",
    ),
    Case(
        46, "a stale If-Match", "/v1/units/TS-ZX-01", lambda _: {"name": "改名小学"}, 412, "precondition.stale",
        service="notices", method="PATCH", headers={"If-Match": '"99"'},
    ),
    Case(
        46, "no If-Match", "/v1/units/TS-ZX-01", lambda _: {"name": "改名小学"}, 428, "precondition.required",
        service="notices", method="PATCH",
    ),
    Case(
        50, "a way out of the folder as a code", "/v1/teams",
        lambda scene: {"code": "../x", "name": "新队", "unit_code": scene.world.unit_code}, 422, "input.invalid",
        one("/code", "code.malformed"),
    ),
]  # fmt: skip

NUMBERS = {case.number for case in CASES} | {22, 29, 30, 49}


def check(scene: Scene, written: io.StringIO, case: Case) -> None:
    """Send a case's body; it is refused as said, nothing changes, and nobody's data is in answer and log."""
    body = case.body(scene)
    hidden = personal_values(body)
    if case.service == "notices":
        hidden = []  # names of units are public
    with scene.tables.unchanged():
        answer = scene.send(case.service, case.method, case.path, body, headers=dict(case.headers))
    says = [part.replace("ENTRY", str(scene.entry)) for part in case.says]
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=case.status, code=case.code, pointers=case.pointers, says=says, hidden=hidden,
    )  # fmt: skip
    logged = written.getvalue()
    assert not any(value in logged or json.dumps(value) in logged for value in hidden)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_wrong_body_is_refused_by_code_and_pointer_and_changes_nothing(
    scene: Scene, written: io.StringIO, case: Case
) -> None:
    check(scene, written, case)


def test_what_breaks_inside_is_logged_without_the_data_that_it_quotes(
    scene: Scene, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read above to be silent about people; here it is seen to speak."""
    body = person(scene.world.unit_code, name="测试员戊")

    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"duplicate key (name)=({body['name']}), {body['id_number']}, {body['phone']}")

    monkeypatch.setattr("services.volunteers.commands.people.register_volunteer", fail)
    with scene.tables.unchanged():
        answer = scene.send("volunteers", "POST", "/v1/volunteers", body)
    hidden = personal_values(body)
    found = check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=500, code="internal.error", hidden=hidden,
    )  # fmt: skip
    logged = written.getvalue()
    assert found["trace_id"] in logged
    assert "request_failed" in logged
    assert not any(value in logged for value in hidden)


# --- What is odd and right ------------------------------------------------------------------------------


def test_22_a_time_without_a_zone_is_office_time(scene: Scene) -> None:
    body = scene.hours(started_at="2026-03-09T09:00:00", ended_at="2026-03-09T10:00:00")
    made = answer_of(scene.send("volunteers", "POST", "/v1/hours", body), 201)
    assert (made["started_at"], made["served_on"]) == ("2026-03-09T01:00:00Z", "2026-03-09")


@pytest.mark.parametrize("name", ["𠮷野·阿卜杜拉", "欧阳㐖", "\u9fa6\U0003134a", "O'Brien Smith", "买买提•吾守尔"])
def test_29_rare_names_are_accepted(scene: Scene, name: str) -> None:
    made = answer_of(scene.send("volunteers", "POST", "/v1/volunteers", person(scene.world.unit_code, name=name)), 201)
    assert made["name"].startswith(name[0])


def test_30_full_width_digits_are_read_as_digits(scene: Scene) -> None:
    plain = person(scene.world.unit_code)
    wide = {name: plain[name].translate({code: code + 0xFEE0 for code in range(0x30, 0x5B)})
            for name in ("id_number", "phone", "unit_code")}  # fmt: skip
    made = answer_of(scene.send("volunteers", "POST", "/v1/volunteers", {**plain, **wide}), 201)
    assert made["phone"] == f"{plain['phone'][:3]}****{plain['phone'][-4:]}"
    again = scene.send("volunteers", "POST", "/v1/volunteers", plain)
    assert (again.status_code, again.json and again.json["code"]) == (409, "volunteer.exists")


def test_33_a_child_without_a_guardians_consent_is_not_verified_joins_no_team_and_claims_nothing(scene: Scene) -> None:
    verify = f"/v1/volunteers/{scene.child}:verify", None
    join = f"/v1/teams/{scene.world.team_code}/members", {"volunteer_id": str(scene.child)}
    claim = "/v1/claims", scene.hours(volunteer_id=str(scene.child), evidence="签到表第3页")
    with scene.tables.unchanged():
        for path, body in (verify, join, claim):
            refused = answer_of(scene.send("volunteers", "POST", path, body), 409)
            assert (refused["code"], refused["age_limit"]) == ("consent.required", 14)
            assert "第三十一条" in refused["clause"]


MARKUP = [
    "<script>alert(1)</script>",
    "'; DROP TABLE volunteers.activities; --",
    "{{ 7*7 }}${7*7}<%= 7*7 %>#{7*7}",
    "%s %(a)s {0} :now \\x00 \\",
    "=HYPERLINK(\"http://x.invalid\")",
]  # fmt: skip


@pytest.mark.parametrize("text", MARKUP)
def test_49_sql_html_and_templates_are_stored_and_shown_as_text(scene: Scene, text: str) -> None:
    made = answer_of(scene.send("volunteers", "POST", "/v1/activities", activity(title=text, place=text)(scene)), 201)
    shown = answer_of(scene.send("volunteers", "GET", f"/v1/activities/{made['id']}"), 200)
    assert (shown["title"], shown["place"]) == (text, text)
    kept = fetch(scene.services["volunteers"], "SELECT title FROM activities WHERE id = :id", id=made["id"])
    assert kept == [{"title": text}]
    for path in ("/v1/volunteers", "/v1/activities"):
        answer = scene.send("volunteers", "GET", path, query_string={"unit": text[:40]})
        assert answer.status_code == 400, "and as a code it is refused"


def test_49_markup_in_a_notice_is_text(scene: Scene) -> None:
    body = notice(number="台教办〔2022〕1号", title=MARKUP[1], theme=MARKUP[0], body="\n".join(MARKUP))(scene)
    made = answer_of(scene.send("notices", "POST", "/v1/notices", body), 201)
    shown = answer_of(scene.send("notices", "GET", f"/v1/notices/{made['id']}"), 200)
    assert (shown["title"], shown["theme"], shown["body"]) == (MARKUP[1], MARKUP[0], "\n".join(MARKUP))
