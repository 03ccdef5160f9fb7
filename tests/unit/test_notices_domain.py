"""The rules of notices, as tables of cases with the edges first."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from services.notices import domain
from services.notices.domain import DocumentNumber, LatenessPolicy, UnitFacts

CN = timezone(timedelta(hours=8))


# --- Document numbers


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("台教办〔2020〕6号", ("台教办", 2020, 6)),
        ("团台联字〔2020〕3号", ("团台联字", 2020, 3)),
        ("资临空发〔2023〕17号", ("资临空发", 2023, 17)),
        ("台〔1900〕1号", ("台", 1900, 1)),
        ("台教办〔2099〕99999号", ("台教办", 2099, 99999)),
        ("台" * 12 + "〔2020〕10号", ("台" * 12, 2020, 10)),
        ("  台教办〔２０２０〕６号 ", ("台教办", 2020, 6)),
    ],
)
def test_a_number_of_the_standard_form_is_read(text, parts):
    number = domain.parse_number(text)
    assert number == DocumentNumber(*parts)
    assert domain.parse_number(str(number)) == number


@pytest.mark.parametrize(
    ("text", "reasons", "suggestion"),
    [
        ("台教办〔20〕6号", ["short_year"], "台教办〔2020〕6号"),
        ("台教办〔79〕6号", ["short_year"], "台教办〔2079〕6号"),
        ("台教办〔80〕6号", ["short_year"], "台教办〔1980〕6号"),
        ("台教办[2020]6号", ["brackets"], "台教办〔2020〕6号"),
        ("台教办(2020)6号", ["brackets"], "台教办〔2020〕6号"),
        ("台教办（2020）6号", ["brackets"], "台教办〔2020〕6号"),
        ("台教办【2020】6号", ["brackets"], "台教办〔2020〕6号"),
        ("台教办〔2020]6号", ["brackets"], "台教办〔2020〕6号"),
        ("台教办〔2020〕第6号", ["ordinal"], "台教办〔2020〕6号"),
        ("台教办〔2020〕06号", ["leading_zero"], "台教办〔2020〕6号"),
        ("台教办〔2020〕6", ["suffix"], "台教办〔2020〕6号"),
        ("台教办 〔2020〕 6 号", ["spaces"], "台教办〔2020〕6号"),
        ("台教办〔2020年〕6号", ["spaces"], "台教办〔2020〕6号"),
        (
            "台教办[20]第06",
            ["brackets", "short_year", "ordinal", "leading_zero", "suffix"],
            "台教办〔2020〕6号",
        ),
    ],
)
def test_a_number_written_wrongly_is_refused_with_the_corrected_form(text, reasons, suggestion):
    with pytest.raises(domain.InvalidNumber) as caught:
        domain.parse_number(text)
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("number.invalid", 422, "/number")
    assert error.extra == {"reasons": reasons, "suggestion": suggestion}
    assert f"应写作 {suggestion}" in error.zh
    assert f"Write {suggestion}" in error.en
    assert "GB/T 9704-2012" in str(error.clause)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("台教办〔2020〕0号", "serial"),
        ("台教办〔2020〕100000号", "serial"),
        ("台教办〔1899〕6号", "year"),
        ("台教办〔2100〕6号", "year"),
        ("", "unreadable"),
        ("关于开展志愿服务的通知", "unreadable"),
        ("TJB〔2020〕6号", "unreadable"),
        ("台" * 13 + "〔2020〕6号", "unreadable"),
        ("台教办〔2020〕6号\n台教办〔2020〕7号", "unreadable"),
        ("台教办〔٢٠٢٠〕6号", "unreadable"),
    ],
)
def test_a_number_nobody_can_correct_is_refused_without_a_guess(text, reason):
    with pytest.raises(domain.InvalidNumber) as caught:
        domain.parse_number(text)
    assert reason in caught.value.extra["reasons"]
    assert "suggestion" not in caught.value.extra


# --- Periods


@pytest.mark.parametrize(
    ("starts", "ends", "first", "after"),
    [
        ("2020-03", "2020-04", datetime(2020, 3, 1, tzinfo=CN), datetime(2020, 5, 1, tzinfo=CN)),
        ("2020-03-05", "2020-03-05", datetime(2020, 3, 5, tzinfo=CN), datetime(2020, 3, 6, tzinfo=CN)),
        ("2020-02", "2020-02", datetime(2020, 2, 1, tzinfo=CN), datetime(2020, 3, 1, tzinfo=CN)),
        ("2020-12", "2020-12", datetime(2020, 12, 1, tzinfo=CN), datetime(2021, 1, 1, tzinfo=CN)),
        ("2020-03-05", "2020-12-31", datetime(2020, 3, 5, tzinfo=CN), datetime(2021, 1, 1, tzinfo=CN)),
        ("1949-01", "2199-12", datetime(1949, 1, 1, tzinfo=CN), datetime(2200, 1, 1, tzinfo=CN)),
    ],
)
def test_a_period_includes_its_last_month_or_day(starts, ends, first, after):
    period = domain.campaign_period(starts, ends)
    assert (period.starts_at, period.ends_at) == (first, after)
    assert period.starts_at.tzinfo is UTC
    assert period.holds(first)
    assert period.holds(after - timedelta(seconds=1))
    assert not period.holds(after)
    assert not period.holds(first - timedelta(seconds=1))


def test_a_period_without_an_end_stays_open():
    period = domain.campaign_period("2020-03-01")
    assert period.ends_at is None
    assert period.holds(datetime(2999, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("starts", "ends", "pointer"),
    [
        ("2020-04", "2020-03", "/ends"),
        ("2020-03-05", "2020-03-04", "/ends"),
        ("2020-02-30", None, "/starts"),
        ("2020-13", None, "/starts"),
        ("2020-03", "2020-00", "/ends"),
        ("2020-3", None, "/starts"),
        ("三月", None, "/starts"),
        ("２０２０-03", None, "/starts"),
    ],
)
def test_a_period_that_cannot_be_is_refused(starts, ends, pointer):
    with pytest.raises(domain.InvalidPeriod) as caught:
        domain.campaign_period(starts, ends)
    assert (caught.value.code, caught.value.pointer) == ("period.invalid", pointer)


@pytest.mark.parametrize(
    ("phrase", "same_as"),
    [
        ("3月至4月", ("2020-03", "2020-04")),
        ("３月 至 ４月", ("2020-03", "2020-04")),
        ("3月", ("2020-03", "2020-03")),
        ("3月5日", ("2020-03-05", "2020-03-05")),
        ("3月5日至25日", ("2020-03-05", "2020-03-25")),
        ("3月5日—4月30日", ("2020-03-05", "2020-04-30")),
        ("3月5日至4月", ("2020-03-05", "2020-04")),
        ("3月至4月17日", ("2020-03", "2020-04-17")),
        ("从3月1日起", ("2020-03-01", None)),
        ("自3月起", ("2020-03", None)),
    ],
)
def test_the_phrase_of_a_notice_becomes_a_period(phrase, same_as):
    assert domain.period_of_phrase(phrase, 2020) == domain.campaign_period(*same_as)


@pytest.mark.parametrize(
    "phrase", ["", "及时", "3月至", "3月5日至", "3月至25日", "13月", "2月30日", "11月至1月", "3月至4月至5月"]
)
def test_a_phrase_that_names_no_period_is_refused(phrase):
    with pytest.raises(domain.InvalidPeriod):
        domain.period_of_phrase(phrase, 2020)


# --- Deadlines


@pytest.mark.parametrize(
    ("due_on", "utc"),
    [
        (date(2020, 4, 17), datetime(2020, 4, 17, 16, tzinfo=UTC)),
        (date(2020, 4, 30), datetime(2020, 4, 30, 16, tzinfo=UTC)),
        (date(2010, 6, 28), datetime(2010, 6, 28, 16, tzinfo=UTC)),
        (date(2010, 7, 1), datetime(2010, 7, 1, 16, tzinfo=UTC)),
        (date(2023, 3, 25), datetime(2023, 3, 25, 16, tzinfo=UTC)),  # a Saturday is not moved
        (date(2020, 2, 29), datetime(2020, 2, 29, 16, tzinfo=UTC)),
        (date(2020, 12, 31), datetime(2020, 12, 31, 16, tzinfo=UTC)),
        (date(2199, 12, 31), datetime(2199, 12, 31, 16, tzinfo=UTC)),
    ],
)
def test_due_by_a_day_includes_that_day_until_midnight_local(due_on, utc):
    deadline = domain.due_at(due_on)
    assert deadline == utc
    assert deadline.tzinfo is UTC


@pytest.mark.parametrize("due_on", [date(1948, 12, 31), date(2200, 1, 1), date.max, date.min])
def test_a_due_day_in_an_impossible_year_is_refused(due_on):
    with pytest.raises(domain.ImplausibleDate) as caught:
        domain.due_at(due_on)
    assert caught.value.pointer == "/due_on"


@pytest.mark.parametrize(
    ("submitted_at", "late"),
    [
        (datetime(2020, 4, 17, 23, 59, 59, tzinfo=CN), False),
        (datetime(2020, 4, 17, 23, 59, 59, 999999, tzinfo=CN), False),
        (datetime(2020, 4, 18, 0, 0, 0, tzinfo=CN), True),
        (datetime(2020, 4, 17, 15, 59, 59, tzinfo=UTC), False),
        (datetime(2020, 4, 17, 16, 0, 0, tzinfo=UTC), True),
        (datetime(2020, 4, 17, 23, 59, 59), False),  # without a zone: office time
        (datetime(2020, 4, 18, 0, 0, 0), True),
    ],
)
def test_late_begins_at_midnight_local(submitted_at, late):
    assert domain.is_late(submitted_at, domain.due_at(date(2020, 4, 17))) is late


IN_TIME = datetime(2020, 4, 17, 23, 59, 59, tzinfo=CN)
TOO_LATE = datetime(2020, 4, 18, tzinfo=CN)
DUE = datetime(2020, 4, 17, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("submitted_at", "due", "policy", "marked"),
    [
        (IN_TIME, DUE, LatenessPolicy.FORFEIT, False),
        (IN_TIME, DUE, LatenessPolicy.LATE_FLAG, False),
        (TOO_LATE, DUE, LatenessPolicy.LATE_FLAG, True),
        (TOO_LATE, DUE, LatenessPolicy.REMINDER, False),
        (TOO_LATE, DUE, LatenessPolicy.NONE, False),
        (TOO_LATE, None, LatenessPolicy.FORFEIT, False),
    ],
)
def test_lateness_has_the_consequence_of_its_policy(submitted_at, due, policy, marked):
    assert domain.check_submission(submitted_at, due, policy) is marked


def test_a_forfeited_submission_is_told_the_deadline_and_the_time():
    with pytest.raises(domain.DeadlinePassed) as caught:
        domain.check_submission(TOO_LATE, DUE, LatenessPolicy.FORFEIT)
    error = caught.value
    assert (error.code, error.status) == ("deadline.passed", 409)
    assert error.extra == {"deadline": "2020-04-18T00:00:00+08:00", "now": "2020-04-18T00:00:00+08:00"}
    assert "2020-04-17 24:00" in error.zh
    assert "2020-04-17 24:00" in error.en


def test_a_deadline_within_a_day_is_told_to_the_second():
    error = domain.DeadlinePassed(datetime(2020, 4, 17, 9, 30, tzinfo=UTC), TOO_LATE)
    assert "2020-04-17 17:30:00" in error.zh


def test_the_codes_of_obligations_and_policies_are_permanent():
    assert {str(kind) for kind in domain.ObligationKind} == {
        "year_plan",
        "plan",
        "activity_material",
        "news_lead",
        "news",
        "major_event",
        "photos",
        "summary",
        "monthly_report",
        "report",
        "nomination",
    }
    assert {str(policy) for policy in LatenessPolicy} == {"late_flag", "forfeit", "reminder", "none"}


# --- Units


@pytest.mark.parametrize("code", ["TS", "TS-0101", "A1-B2-C3", "A" * 32, "01"])
def test_a_unit_code_of_capitals_digits_and_hyphens_is_taken(code):
    assert domain.check_unit_code(code) == code


@pytest.mark.parametrize(
    ("code", "suggestion"),
    [
        ("ts-0101", "TS-0101"),
        (" TS_0101 ", "TS-0101"),
        ("TS--0101", "TS-0101"),
        ("TS.01", "TS-01"),
        ("ＴＳ０１", None),
        ("TS０１", "TS01"),
        ("A", None),
        ("A" * 33, None),
        ("", None),
        ("-", None),
        ("台山一中", None),
        ("TS/01", None),
        ("TS\n", "TS"),
    ],
)
def test_another_unit_code_is_refused_with_the_corrected_form_where_there_is_one(code, suggestion):
    with pytest.raises(domain.InvalidUnitCode) as caught:
        domain.check_unit_code(code)
    assert caught.value.extra.get("suggestion") == suggestion
    assert (f"应写作 {suggestion}" in caught.value.zh) is (suggestion is not None)


REGISTER = [
    UnitFacts("YJ-LINJIANG", "town", frozenset({"towns"})),
    UnitFacts("YJ-YANJIANG", "town", frozenset({"towns", "core"})),
    UnitFacts("TS-MID1", "middle_school", frozenset({"schools", "core"})),
    UnitFacts("TS-KG1", "kindergarten"),
]


@pytest.mark.parametrize(
    ("named", "bound"),
    [
        ({"codes": ["TS-KG1"]}, ["TS-KG1"]),
        ({"kinds": ["town"]}, ["YJ-LINJIANG", "YJ-YANJIANG"]),
        ({"kinds": ["town"], "excluded": ["YJ-LINJIANG"]}, ["YJ-YANJIANG"]),
        ({"groups": ["core"]}, ["TS-MID1", "YJ-YANJIANG"]),
        (
            {"groups": ["core", "schools"], "codes": ["TS-MID1", "TS-KG1"]},
            ["TS-KG1", "TS-MID1", "YJ-YANJIANG"],
        ),
        ({"codes": ["TS-KG1", "TS-KG1"], "excluded": ["TS-MID1"]}, ["TS-KG1"]),
    ],
)
def test_addressees_are_those_named_by_code_kind_or_group_less_the_excluded(named, bound):
    assert domain.resolve_addressees(iter(REGISTER), **named) == bound


@pytest.mark.parametrize(
    ("named", "pointer", "unknown"),
    [
        ({"codes": ["TS-KG1", "NO-2", "NO-1"]}, "/addressees/codes", ["NO-1", "NO-2"]),
        ({"kinds": ["hospital"]}, "/addressees/kinds", ["hospital"]),
        ({"groups": ["harbours"]}, "/addressees/groups", ["harbours"]),
        ({"kinds": ["town"], "excluded": ["NO-1"]}, "/addressees/excluded", ["NO-1"]),
    ],
)
def test_what_the_register_does_not_hold_is_refused_by_name(named, pointer, unknown):
    with pytest.raises(domain.AddresseeUnknown) as caught:
        domain.resolve_addressees(REGISTER, **named)
    assert (caught.value.pointer, caught.value.extra) == (pointer, {"unknown": unknown})


@pytest.mark.parametrize("named", [{}, {"codes": ["TS-KG1"], "excluded": ["TS-KG1"]}])
def test_a_notice_that_would_bind_nobody_is_refused(named):
    with pytest.raises(domain.NoAddressees):
        domain.resolve_addressees(REGISTER, **named)


TODAY = date(2026, 3, 5)


@pytest.mark.parametrize(
    ("staff", "students", "counted_on"),
    [
        (0, 0, TODAY),
        (199, 2999, TODAY),
        (200, 3000, date(2025, 9, 1)),
        (1_000_000, None, TODAY),
        (None, 5, TODAY),
        (None, None, TODAY),
        (None, None, None),
    ],
)
def test_sound_head_counts_are_taken(staff, students, counted_on):
    assert domain.check_head_counts(staff, students, counted_on, today=TODAY) is None


@pytest.mark.parametrize(
    ("staff", "students", "counted_on", "code", "pointer"),
    [
        (-1, 0, TODAY, "head_count.invalid", "/staff_count"),
        (0, -1, TODAY, "head_count.invalid", "/student_count"),
        (1.0, 0, TODAY, "head_count.invalid", "/staff_count"),
        (True, 0, TODAY, "head_count.invalid", "/staff_count"),
        ("200", 0, TODAY, "head_count.invalid", "/staff_count"),
        (1_000_001, 0, TODAY, "head_count.invalid", "/staff_count"),
        (None, 3000, None, "head_count.invalid", "/counted_on"),
        (200, 3000, date(2026, 3, 6), "head_count.in_future", "/counted_on"),
    ],
)
def test_unsound_head_counts_are_refused_at_their_place(staff, students, counted_on, code, pointer):
    with pytest.raises((domain.InvalidHeadCount, domain.CountedInFuture)) as caught:
        domain.check_head_counts(staff, students, counted_on, today=TODAY)
    assert (caught.value.code, caught.value.pointer) == (code, pointer)


# --- Errors that need the register


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (domain.NumberTaken("台教办〔2020〕6号", "0198-1"), 409, "number.taken"),
        (domain.UnitCodeTaken("TS-01"), 409, "unit.code_taken"),
        (domain.UnitNotFound("TS-01"), 404, "unit.not_found"),
        (domain.ParentUnknown("TS-01"), 422, "unit.parent_unknown"),
        (domain.NoticeNotFound("0198-1"), 404, "notice.not_found"),
        (domain.NoticeAlreadyIssued("台教办〔2020〕6号"), 409, "notice.already_issued"),
    ],
)
def test_errors_of_state_have_their_status_and_say_what_to_do(error, status, code):
    assert (error.status, error.code) == (status, code)
    assert "请" in error.zh
    assert error.en.endswith(".")
