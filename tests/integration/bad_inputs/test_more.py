"""What else can be wrong: odd values in every field and parameter, tampered cursors, keys, tags, batches."""

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.integration.bad_inputs.bodies import activity, notice, unit
from tests.integration.bad_inputs.problems import check_problem, personal_values
from tests.integration.bad_inputs.scene import Scene, answer_of
from tests.support.hours import id_number, person
from tests.support.services import recorded
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.web.app import routes_of

ID = "0195630c-a000-7abc-8def-0123456789ab"

#: Each goes into each field; most are wrong there, some are right, none may break anything.
ODD: list[Any] = [
    None, "", " ", "\t\n", [], {}, True, 0, -1, 1.5, 2**31, 2**63, 10**300, 1e308,
    "0001-01-01", "9999-12-31", "2016-12-31T23:59:60Z", "2026-03-05T24:00:00", "2026-03-05T09:00:00+25:00",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1900-01-01T00:00:00+14:00", "2026-W10-4",
    "２０２６-03-05", "१२", "²", "Ⅻ", "ﬁ", "İ", "T\u0405-JY", "a\u0300",
    "\U0010ffff", "\uffff", "\u2028", "\u3164\u3164",
    "..", "/", "\\", "%00", "%", "_", "'", '"', "null", "NaN", "1e400",
    f"{{{ID}}}", f"urn:uuid:{ID}", ID.upper(), ID.replace("-", ""), f"{ID}\n", "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    ["a", "a"], [None], [[]], [{}], [{"a": 1}], {"": 1}, ["x"] * 1001, "x" * 65, "甲" * 201, "x" * 100_001,
]  # fmt: skip

BODIES: dict[str, tuple[str, str, Callable[[Scene], dict[str, Any]]]] = {
    "a volunteer": ("volunteers", "/v1/volunteers", lambda s: {
        **person(s.world.unit_code), "id_type": "01", "team_code": s.world.team_code, "born_on": "1990-01-01",
        "sex": "1", "guardian_consent": {
            "guardian_name": "测试员", "guardian_phone": "13800138000", "relation": "mother",
            "consented_on": "2020-01-01",
        },
    }),
    "a team": ("volunteers", "/v1/teams", lambda s: {
        "code": f"T-{str(new_id())[-12:]}", "name": "新队", "unit_code": s.world.unit_code,
    }),
    "an activity": ("volunteers", "/v1/activities", lambda s: activity(
        number=str(new_id()), unit_code=s.world.unit_code, notice="台教办〔2020〕6号"
    )(s)),
    "hours": ("volunteers", "/v1/hours", lambda s: s.hours(minutes=10)),
    "a batch of hours": ("volunteers", "/v1/hours:batch", lambda s: {"items": [s.hours(minutes=10)]}),
    "a unit": ("notices", "/v1/units", lambda s: unit(
        code=f"N-{str(new_id())[-12:].upper()}", aliases=["甲"], groups=["乙"], parent_code="TS-JY", staff_count=1,
        student_count=1, counted_on="2020-01-01",
    )(s)),
    "a notice": ("notices", "/v1/notices", lambda s: notice(
        number=f"台教办〔2021〕{next(_numbers)}号", basis=["甲"], body="正文",
        period={"starts": "2021-03", "ends": "2021-04"},
        addressees={"codes": ["TS-JY"], "kinds": ["town"], "groups": ["有关单位"], "excluded": ["TS-KG-01"]},
    )(s)),
}  # fmt: skip
_numbers = itertools.count(1000)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return every place in a body; of a list, its first item only."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*above, key)
        yield from places(item, (*above, key))


def placed(body: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return a body with another value at one place."""
    changed = json.loads(json.dumps(body))
    target = changed
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return changed


def sound(answer: TestResponse, hidden: list[str] | None = None) -> bool:
    """Check that an answer is a success or a proper refusal; return whether it is a refusal."""
    assert answer.status_code < 500, answer.text
    if answer.status_code < 400:
        return False
    code = (answer.json or {})["code"]
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=answer.status_code, code=code, hidden=hidden or [],
    )  # fmt: skip
    return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", BODIES)
def test_no_value_in_any_field_breaks_anything(scene: Scene, what: str) -> None:
    service, path, make = BODIES[what]
    refused = []
    for place in places(make(scene)):
        for value in ODD:
            body = placed(make(scene), place, value)
            answer = scene.send(service, "POST", path, body)
            try:
                if sound(answer, personal_values(body) if what == "a volunteer" else None):
                    refused.append(body)
            except AssertionError as error:
                raise AssertionError(f"{place} = {value!r:.80}: {error}") from None
    with scene.tables.unchanged():
        again = [scene.send(service, "POST", path, body).status_code for body in refused]
    assert all(400 <= status < 500 for status in again)
    assert len(refused) > len(ODD) or what == "a batch of hours"


def cursor(*parts: Any) -> str:
    """Return a cursor of a list's form."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


CURSORS = [
    "x", "====", "%%%", "é", "a" * 500, "a" * 501, cursor(), cursor("a"), cursor("a", "b"), cursor(1, 2),
    cursor(None, None), cursor([], {}), cursor("\0"), "WyJcdWQ4MDAiXQ", cursor(ID), cursor("9" * 300, ID),
    cursor("0001-01-01T00:00:00+14:00", ID), cursor("9999-12-31T23:59:59-14:00", ID), cursor("infinity", ID),
    cursor("NaN", ID), cursor("9223372036854775808", ID), cursor("2026-02-30", ID), cursor("a'b", ID),
]  # fmt: skip
PARAMETERS = [
    "", "0", "-1", "1e3", "１", "9" * 300, "null", "true", "0001-01", "2026-13", "2026-02-30", "9999-12-31", "%", "'",
    "\0", "\U0010ffff", "\uffff", "..", ID, f"{{{ID}}}", "a" * 201, "台教办[2020]6号",
]  # fmt: skip


def test_no_cursor_and_no_parameter_of_any_list_breaks_anything(scene: Scene) -> None:
    sent = 0
    with scene.tables.unchanged():
        for service, name, path, parameters in lists(scene):
            for parameter in parameters:
                for value in CURSORS if parameter == "after" else PARAMETERS:
                    answer = scene.send(service, "GET", path, query_string={parameter: value})
                    sent += 1
                    try:
                        sound(answer)
                    except AssertionError as error:
                        raise AssertionError(f"{name} {parameter}={value!r:.80}: {error}") from None
            twice = scene.send(service, "GET", path, query_string="limit=1&limit=1")
            assert twice.status_code in {400, 404}, name
    assert sent > 500


def lists(scene: Scene) -> Iterator[tuple[str, str, str, list[str]]]:
    """Return service, name, address and parameters of every GET."""
    for service, made in scene.services.items():
        for route in routes_of(type(made)):
            if route.mark.method == "GET":
                known = route.query.fields.items() if route.query is not None else ()
                identifier = scene.notice if service == "notices" else scene.volunteer
                path = route.mark.path.replace("{id:uuid}", str(identifier)).replace("{code}", "TS-JY")
                yield service, route.name, path, [field.data_key or name for name, field in known]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/volunteers/{}", "/v1/hours/{}", "/v1/activities/{}", "/v1/imports/{}", "/v1/imports/{}/result.xlsx",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "identifier", [f"{{{ID}}}", f"urn:uuid:{ID}", ID.replace("-", ""), f"{ID}%0a", ID[:-1], f"{ID}:no-such-verb", ID]
)
def test_an_id_in_another_form_is_not_found(scene: Scene, path: str, identifier: str) -> None:
    with scene.tables.unchanged():
        answer = scene.send("volunteers", "GET", path.format(identifier))
    assert answer.status_code == 404
    assert sound(answer)


@pytest.mark.parametrize(
    ("items", "code"),
    [([], "list.length"), ([{}] * 1001, "list.length"), ("abc", "field.not_list"), ({}, "field.not_list"),
     (None, "field.null"), (1, "field.not_list")],
)  # fmt: skip
def test_a_batch_must_have_1_to_1000_items(scene: Scene, items: Any, code: str) -> None:
    with scene.tables.unchanged():
        answer = scene.send("volunteers", "POST", "/v1/hours:batch", {"items": items})
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=422, code="input.invalid", pointers={"/items": code},
    )  # fmt: skip


def test_items_of_a_batch_that_are_no_objects_are_refused_one_by_one(scene: Scene) -> None:
    items = [None, 1, "abc", [], {}, True, [{}], {"volunteer_id": ID}, scene.hours(minutes=0), scene.hours(minut=5)]
    with scene.tables.unchanged():
        found = answer_of(scene.send("volunteers", "POST", "/v1/hours:batch", {"items": items}), 200)
    assert (found["refused"], found["entered"], found["existing"]) == (len(items), 0, 0)
    for item in found["items"]:
        problem = item["problem"]
        check_problem(
            problem["status"], "application/problem+json", json.dumps(problem, ensure_ascii=False),
            expected=422, code=problem["code"],
        )  # fmt: skip


def test_the_same_item_twice_in_a_batch_counts_once(scene: Scene) -> None:
    item = scene.world.body(scene.volunteer, "2026-04-02 09:00", "2026-04-02 10:00")
    before = len(recorded(scene.services["volunteers"], "volunteers.hours_logged.v1"))
    found = answer_of(scene.send("volunteers", "POST", "/v1/hours:batch", {"items": [item] * 3}), 200)
    assert [result["status"] for result in found["items"]] == ["entered", "existing", "existing"]
    assert len({result["entry"]["id"] for result in found["items"]}) == 1
    assert len(recorded(scene.services["volunteers"], "volunteers.hours_logged.v1")) == before + 1


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "键", "a\tb", "caf\xe9"])
def test_an_idempotency_key_that_is_no_visible_ascii_is_refused(scene: Scene, key: str) -> None:
    headers = {"Idempotency-Key": key.encode().decode("latin-1")}
    with scene.tables.unchanged():
        answer = scene.send("volunteers", "POST", "/v1/volunteers", person(scene.world.unit_code), headers=headers)
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=400, code="idempotency.key_malformed",
    )  # fmt: skip


def test_a_refused_request_does_not_use_up_its_idempotency_key(scene: Scene) -> None:
    body, headers = person(scene.world.unit_code), {"Idempotency-Key": "first-wrong-then-right"}
    with scene.tables.unchanged():
        wrong = scene.send("volunteers", "POST", "/v1/volunteers", {**body, "unit_code": "NOBODY"}, headers=headers)
    assert wrong.status_code == 422
    answer_of(scene.send("volunteers", "POST", "/v1/volunteers", body, headers=headers), 201)


@pytest.mark.parametrize("tag", ['"1", "2"', 'W/"99"', "99", '"', '""', "'; DROP TABLE units", "é", "9" * 400])
def test_an_if_match_that_is_not_the_present_tag_is_refused(scene: Scene, tag: str) -> None:
    with scene.tables.unchanged():
        answer = scene.send(
            "notices", "PATCH", "/v1/units/TS-MS-01", {"name": "改名中学"},
            headers={"If-Match": tag.encode().decode("latin-1")},
        )  # fmt: skip
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=412, code="precondition.stale",
    )  # fmt: skip


def test_a_change_of_nothing_changes_nothing(scene: Scene) -> None:
    tag = scene.send("notices", "GET", "/v1/units/TS-MS-01").headers["ETag"]
    with scene.tables.unchanged():
        answer = scene.send("notices", "PATCH", "/v1/units/TS-MS-01", {}, headers={"If-Match": tag})
    assert (answer.status_code, answer.headers["ETag"]) == (200, tag)


def test_a_unit_cannot_stand_above_itself(scene: Scene) -> None:
    tag = scene.send("notices", "GET", "/v1/units/TS-JY").headers["ETag"]
    for parent, code in (("TS-JY", "unit.parent_unknown"), ("TS-MS-01", "unit.parent_cycle")):
        with scene.tables.unchanged():
            answer = scene.send(
                "notices", "PATCH", "/v1/units/TS-JY", {"parent_code": parent}, headers={"If-Match": tag}
            )  # fmt: skip
        check_problem(
            answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
            expected=422, code=code,
        )  # fmt: skip


@pytest.mark.parametrize(
    "number",
    [
        "台教办[2023]6号", "台教办〔2023〕 6号", "台教办﹝2023﹞6号", "台教办（2023）6号", "台教办〔2023〕06号",
        "台教办〔2023〕0号",
        "台教办〔9999〕6号", "〔2023〕6号", "台教办〔2023〕6", "台教办〔23〕6号", "台教办〔2023〕六号", "6",
    ],
)  # fmt: skip
def test_a_number_of_a_notice_in_another_form_is_refused(scene: Scene, number: str) -> None:
    with scene.tables.unchanged():
        answer = scene.send("notices", "POST", "/v1/notices", notice(number=number)(scene))
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=422, code="number.invalid", pointers={"/number": "number.invalid"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "traceparent", ["", "00-x-y-z", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 50, "a" * 5000]
)
def test_a_malformed_trace_is_replaced(scene: Scene, traceparent: str) -> None:
    answer = scene.send(
        "volunteers", "GET", "/v1/nowhere", headers={"traceparent": traceparent.encode().decode("latin-1")}
    )
    found = check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=404, code="route.not_found",
    )  # fmt: skip
    assert set(found["trace_id"]) != {"0"}


def test_the_identity_numbers_of_these_tests_are_sound(scene: Scene) -> None:
    """Else every refusal above could be for another reason."""
    assert len(id_number()) == 18
    answer_of(scene.send("volunteers", "POST", "/v1/volunteers", person(scene.world.unit_code)), 201)
