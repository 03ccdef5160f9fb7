"""The fields of the HTTP boundary, as tables: what each takes, what it refuses and with which code."""

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import marshmallow as ma
import pytest

from xinhuo.chassis import errors
from xinhuo.chassis.errors import RuleError
from xinhuo.chassis.web import schema
from xinhuo.chassis.web.schema import (
    Boolean,
    Choice,
    Code,
    Date,
    Instant,
    Integer,
    ListOf,
    Month,
    Nested,
    Page,
    QueryInteger,
    Schema,
    Text,
    Uuid,
    by_rule,
)

ID = UUID("0195630c-a000-7abc-8def-0123456789ab")
NINE = datetime(2026, 3, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "given", "loaded"),
    [
        (Text(), "甲", "甲"),
        (Text(), "  甲\t\n", "甲"),
        (Text(), "\u3000甲 乙\u3000", "甲 乙"),
        (Text(), "𠮷·😀é", "𠮷·😀é"),  # bad input 29: rare characters
        (Text(), "<b>' OR 1=1 --", "<b>' OR 1=1 --"),
        (Text(max=2), "𠮷𠮷", "𠮷𠮷"),
        (Text(max=3), " 甲 ", "甲"),
        (Text(min=0), "", ""),
        (Text(allow_none=True), None, None),
        (Text(lines=True), "a\r\nb\tc\nd\r\n", "a\nb\tc\nd"),
        (Code(), " A-1_b ", "A-1_b"),
        (Code(), "ＡＢ－０１＿ｃ", "AB-01_c"),  # 30: full-width characters
        (Code(max=3), "ABC", "ABC"),
        (Integer(), 0, 0),
        (Integer(), -(2**31), -(2**31)),
        (Integer(min=1, max=1440), 1, 1),
        (Integer(min=1, max=1440), 1440, 1440),
        (Integer(allow_none=True), None, None),
        (QueryInteger(), "5", 5),
        (QueryInteger(), "-5", -5),
        (QueryInteger(), "００５", 5),
        (Uuid(), str(ID), ID),
        (Uuid(), str(ID).upper(), ID),
        (Date(), "2026-03-05", date(2026, 3, 5)),
        (Date(), "2024-02-29", date(2024, 2, 29)),
        (Date(), "２０２６－０３－０５", date(2026, 3, 5)),
        (Date(), "1900-01-01", date(1900, 1, 1)),
        (Date(), "2999-12-31", date(2999, 12, 31)),
        (Month(), "2026-03", date(2026, 3, 1)),
        (Month(), "２０２６－０３", date(2026, 3, 1)),
        (Instant(), "2026-03-05T09:00:00+08:00", NINE),
        (Instant(), "2026-03-05T01:00:00Z", NINE),
        (Instant(), "2026-03-05T09:00", NINE),  # 22: without a zone it is the office's
        (Instant(), "2026-03-05T09:00:00.250", NINE + timedelta(milliseconds=250)),
        (Boolean(), True, True),
        (Boolean(), False, False),
        (Boolean(), "true", True),
        (Boolean(), "false", False),
        (Choice(["a", "b"]), "b", "b"),
        (ListOf(Code()), [], []),
        (ListOf(Code(), min=1, max=2), ["a", "b"], ["a", "b"]),
        (Nested(Page), {"limit": "3"}, {"limit": 3, "after": None}),
    ],
    ids=repr,
)
def test_a_sound_value_is_loaded(field, given, loaded):
    assert field.deserialize(given) == loaded


@pytest.mark.parametrize(
    ("field", "given", "code"),
    [
        *((field, None, "field.null") for field in (
            Text(), Code(), Integer(), QueryInteger(), Uuid(), Date(), Month(), Instant(), Boolean(),
            Choice(["a"]), ListOf(Code()), Nested(Page),
        )),
        *((Text(), odd, "field.wrong_type") for odd in (5, 1.5, True, [], {}, ["a"])),
        (Text(), "", "text.length"),
        (Text(), " \u3000", "text.length"),
        (Text(min=2), "甲", "text.length"),
        (Text(max=5), "123456", "text.length"),
        (Text(), "x" * 201, "text.length"),
        (Text(), " " + "x" * 200, "text.length"),  # the published bound is of what is sent
        (Text(lines=True), "x\r\n" * 67, "text.length"),
        # 28 and 31: control, zero-width and direction-changing characters
        *((Text(), f"a{character}b", "text.invisible") for character in (
            "\x00", "\x07", "\x1b", "\x7f", "\x85", "\xad", "\n", "\r", "\t", "\u061c", "\u200b", "\u200c", "\u200d",
            "\u200e", "\u200f", "\u2028", "\u2029", "\u202a", "\u202d", "\u202e", "\u2060", "\u2066", "\u2069",
            "\ufeff", "\ufff9", "\ud800", "\U000e0041",
        )),
        *((Text(lines=True), f"a{character}b", "text.invisible") for character in ("\x00", "\x0b", "\r", "\u202e")),
        (Text(), "\u202e甲", "text.invisible"),
        (Code(), "A 1", "code.malformed"),
        (Code(), "é", "code.malformed"),
        (Code(), "甲", "code.malformed"),
        (Code(), "a/b", "code.malformed"),
        (Code(), "٣", "code.malformed"),
        (Code(), "a" * 41, "text.length"),
        (Code(), 7, "field.wrong_type"),
        # 17 and 18: minutes
        (Integer(min=1, max=1440), 0, "field.out_of_range"),
        (Integer(min=1, max=1440), -1, "field.out_of_range"),
        (Integer(min=1, max=1440), 1441, "field.out_of_range"),
        (Integer(), 2**31, "field.out_of_range"),
        (Integer(), -(2**31) - 1, "field.out_of_range"),
        (Integer(), 10**400, "field.out_of_range"),
        *((Integer(), odd, "field.not_integer") for odd in (
            12.5, 60.0, "60", "两小时", "", True, False, [], {}, [1], float("inf"), float("nan"),
        )),
        *((QueryInteger(), odd, "field.not_integer") for odd in (
            "", "--5", "+5", "5-", "1_0", " 5", "0x5", "1e3", "5.0", "٣", "²", "1" * 19, 5, ["1", "2"],
        )),
        (QueryInteger(min=1, max=200), "0", "field.out_of_range"),
        (QueryInteger(min=1, max=200), "201", "field.out_of_range"),
        *((Uuid(), odd, "field.not_uuid") for odd in ("", "x", f"{ID}0", 5, 5.5, True, [], {})),
        # 21: dates that do not exist, and forms that are none
        *((Date(), odd, "field.not_date") for odd in (
            "2026-02-30", "2026-13-01", "2025-02-29", "2026-3-5", "20260305", "2026-W10-4", "05.03.2026", "2026/03/05",
            "2026-03-05T00:00:00", "", "today", 20260305, 46086, True, [], {},
        )),
        (Date(), "1899-12-31", "field.out_of_range"),
        (Date(), "3000-01-01", "field.out_of_range"),
        (Date(), "0001-01-01", "field.out_of_range"),
        *((Month(), odd, "field.not_month") for odd in ("2026-13", "2026-00", "2026", "202603", "三月", "2026-03-05")),
        (Month(), "0001-01", "field.out_of_range"),
        (Month(), 202603, "field.wrong_type"),
        *((Instant(), odd, "field.not_instant") for odd in (
            "2026-03-05", "2026-03-05 09:00", "2026-02-30T09:00:00Z", "2026-03-05T25:00:00",
            "2026-03-05T09:00:00+99:00", "T", "", "now", 1772672400, True, [], {},
        )),
        (Instant(), "0001-01-01T00:00:00+14:00", "field.out_of_range"),
        (Instant(), "9999-12-31T23:59:59-14:00", "field.out_of_range"),
        *((Boolean(), odd, "field.not_boolean") for odd in (1, 0, 1.0, "1", "True", "yes", "是", "", [], {})),
        (Choice(["a", "b"]), "c", "field.not_listed"),
        (Choice(["a", "b"]), "A", "field.not_listed"),
        *((Choice(["a"]), odd, "field.wrong_type") for odd in (1, True, [], {})),
        *((ListOf(Code()), odd, "field.not_list") for odd in ("x", 5, True, {}, {"a": 1})),
        (ListOf(Code(), min=1), [], "list.length"),
        (ListOf(Code(), max=2), ["a", "b", "c"], "list.length"),
        *((Nested(Page), odd, "field.wrong_type") for odd in (5, "x", True, [], [{}])),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_an_unsound_value_is_refused_with_its_code(field, given, code):
    one = Schema.from_dict({"one": field})()
    with pytest.raises(ma.ValidationError) as caught:
        one.load({"one": given})
    (problem,) = schema.problems(caught.value, one)
    assert (problem.pointer, problem.code) == ("/one", code)
    assert problem.zh != problem.en
    assert problem.zh
    assert problem.en.endswith(".")


@pytest.mark.parametrize(
    ("field", "value", "dumped"),
    [
        (Instant(), datetime(2026, 3, 5, 9, tzinfo=timezone(timedelta(hours=8))), "2026-03-05T01:00:00Z"),
        (Instant(), None, None),
        (Month(), date(2026, 3, 1), "2026-03"),
        (Month(), None, None),
        (Date(), date(2026, 3, 5), "2026-03-05"),
        (Uuid(), ID, str(ID)),
    ],
    ids=repr,
)
def test_a_value_is_dumped_in_its_one_form(field, value, dumped):
    assert field.serialize("one", {"one": value}) == dumped


def test_the_message_of_a_length_names_the_bounds_and_of_a_character_its_number():
    for field, given, part in ((Text(min=2, max=9), "甲", "2 至 9"), (Text(), "a\u200bb", "U+200B")):
        with pytest.raises(ma.ValidationError) as caught:
            field.deserialize(given)
        assert part in caught.value.messages[0]


class Person(Schema):
    name = Text(required=True)
    minutes = Integer(required=True)
    sent_as = Code(data_key="sent-as")


class Team(Schema):
    leader = Nested(Person, required=True)
    members = ListOf(Nested(Person))
    groups = ListOf(ListOf(Nested(Person)))
    codes = ListOf(Code())


LEI = {"name": "甲", "minutes": 1}


def problems_of(given, of=Team):
    with pytest.raises(ma.ValidationError) as caught:
        of().load(given)
    return schema.problems(caught.value, of())


def test_all_problems_are_listed_with_their_pointers():
    found = problems_of({"members": [{"name": "甲", "minutes": 1}, {"name": ""}], "codes": ["a", "ä"], "x/y~z": 1})
    assert {(problem.pointer, problem.code) for problem in found} == {
        ("/leader", "field.required"),
        ("/members/1/name", "text.length"),
        ("/members/1/minutes", "field.required"),
        ("/codes/1", "code.malformed"),
        ("/x~1y~0z", "field.unknown"),
    }


@pytest.mark.parametrize(
    ("given", "pointer", "nearest"),
    [
        ({"leader": {**LEI, "minuts": 1}}, "/leader/minuts", "minutes"),
        ({"leader": LEI, "member": []}, "/member", "members"),
        ({"leader": LEI, "members": [{**LEI, "nam": 1}]}, "/members/0/nam", "name"),
        ({"leader": {**LEI, "sent_as": "x"}}, "/leader/sent_as", "sent-as"),
    ],
)  # fmt: skip
def test_an_unknown_field_is_named_with_the_nearest_known_one(given, pointer, nearest):
    (problem,) = problems_of(given)
    assert (problem.pointer, problem.code) == (pointer, "field.unknown")
    assert f"是否指 {nearest}？" in problem.zh
    assert f"did you mean `{nearest}`?" in problem.en


@pytest.mark.parametrize("name", ["闻人砚汀", "44070119310719731X", "14200010001", "born-19310719"])
def test_an_unknown_field_that_may_be_a_persons_name_or_number_is_not_repeated(name):
    (problem,) = problems_of({"leader": {**LEI, name: 1}})
    assert (problem.pointer, problem.code) == ("/leader/…", "field.unknown")
    assert name not in problem.zh + problem.en


def test_an_unknown_field_unlike_all_others_is_named_alone():
    (problem,) = problems_of({"leader": {"name": "甲", "minutes": 1}, "zzz": 1})
    assert problem.zh == "没有这个字段"


def test_a_body_of_another_type_is_a_problem_with_the_whole():
    (problem,) = problems_of([])
    assert (problem.pointer, problem.code) == ("", "field.wrong_type")


class KettleCold(RuleError):
    """The kettle is cold."""

    code = "test_web_schema.kettle_cold"
    title = "水壶是凉的"


errors._registry.pop(KettleCold.code)  # the documentation is made from the registry


def check_hot(value):
    if value < 80:
        raise KettleCold(f"水温{value}度，请加热。", f"The water is {value} degrees; heat it.")


def test_a_rule_of_the_domain_speaks_with_its_own_code_at_the_place_of_the_field():
    kettle = Schema.from_dict({"degrees": Integer(validate=by_rule(check_hot))})
    assert kettle().load({"degrees": 80}) == {"degrees": 80}
    (problem,) = problems_of({"degrees": 79}, kettle)
    assert (problem.pointer, problem.code) == ("/degrees", "test_web_schema.kettle_cold")
    assert (problem.zh, problem.en) == ("水温79度，请加热。", "The water is 79 degrees; heat it.")


def test_rules_about_the_whole_object_point_to_it_or_to_the_field_they_name():
    class Span(Schema):
        first = Date()
        last = Date()

        @ma.validates_schema
        def in_order(self, data, **_):
            if data["last"] < data["first"]:
                raise ma.ValidationError({"last": ["field.out_of_range|不能早于开始|It must not be earlier."]})

        @ma.validates_schema
        def hot(self, data, **_):
            if data["first"].year == 2020:
                raise ma.ValidationError([{"first": KettleCold("凉", "Cold.")}, KettleCold("凉", "Cold.")])

    found = problems_of({"first": "2026-03-05", "last": "2026-03-04"}, Span)
    assert [(problem.pointer, problem.code) for problem in found] == [("/last", "field.out_of_range")]
    found = problems_of({"first": "2020-03-05", "last": "2020-03-05"}, Span)
    assert [problem.pointer for problem in found] == ["/first", ""]


def test_a_message_of_marshmallows_own_is_still_a_problem_in_both_languages():
    (problem,) = problems_of({"n": 1}, Schema.from_dict({"n": Integer(validate=ma.validate.Range(min=5))}))
    assert (problem.pointer, problem.code, problem.zh) == ("/n", "field.invalid", "内容有误")
    assert "greater than" in problem.en


@pytest.mark.parametrize(
    ("given", "loaded"),
    [("ＡＢ１２", "AB12"), ("（１）", "(1)"), ("\u3000", " "), ("甲·𠮷", "甲·𠮷"), ("", ""), (5, 5), (None, None)],
)
def test_full_width_characters_become_ascii_and_all_else_stays(given, loaded):
    assert schema.half_width(given) == loaded
