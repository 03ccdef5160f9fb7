"""The sample of a first start: real notices, invented people, a workbook whose mistakes are counted."""

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from python_calamine import CalamineWorkbook

from services.notices.domain import UnitFacts, check_unit_code
from services.notices.domain.drafts import Draft, check_draft, resolve
from services.notices.rules import words_on
from services.notices.schemas import DraftNotice
from services.volunteers.domain import age_on, check_id_number, check_name, check_phone
from services.volunteers.workbooks.columns import COLUMNS, column_of
from xinhuo.cli.sample import campaign, workbook
from xinhuo.cli.sample.people import COUNT, Person, check_character, make_people
from xinhuo.cli.sample.workbook import ACCEPTED, MISTAKES, REFUSED, ROWS, Plan

TODAY = date(2026, 1, 1)
#: The placeholders that stand for persons in the published notices.
PRINTED = ("张某", "李某", "王某", "赵某", "5550001", "5550002", "5550003", "13800000001", "13800000002", "@")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return workbook.plan()


@pytest.fixture(scope="module")
def everybody() -> list[Person]:
    volunteers, strangers = make_people([(team.code, team.unit_code) for team in campaign.teams()])
    return volunteers + strangers


# --- People ---------------------------------------------------------------------------------------------


def test_every_person_passes_the_checks_of_the_register(everybody: list[Person]) -> None:
    for person in everybody:
        found = check_id_number(person.id_number, today=TODAY)
        assert found.number == person.id_number
        assert check_name(person.name) == person.name
        assert check_phone(person.phone) == person.phone


def test_check_characters_agree_with_the_sample_of_the_standard() -> None:
    # GB 11643-1999, appendix: 11010519491231002X and 440524188001010014.
    assert check_character("11010519491231002") == "X"
    assert check_character("44052418800101001") == "4"


def test_no_two_people_share_name_number_or_telephone(everybody: list[Person]) -> None:
    for values in ([p.name for p in everybody], [p.id_number for p in everybody], [p.phone for p in everybody]):
        assert len(set(values)) == len(everybody)


def test_everybody_was_fourteen_when_serving_and_some_are_pupils(everybody: list[Person]) -> None:
    ages = [age_on(check_id_number(p.id_number, today=TODAY).born_on, date(2020, 3, 1)) for p in everybody]
    assert min(ages) >= 14
    pupils = [p for p in everybody if p.is_student]
    assert 50 < len(pupils) < COUNT / 2


def test_people_and_telephones_are_of_ranges_given_to_nobody(everybody: list[Person]) -> None:
    assert {p.id_number[4:6] for p in everybody} == {"01"}
    assert {p.phone[:7] for p in everybody} == {"1420000"}


def test_nothing_personal_was_taken_over_from_the_notices(everybody: list[Person]) -> None:
    folder = Path(campaign.__file__).parent
    written = [path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")]
    written += [f"{p.name} {p.phone}" for p in everybody]
    assert [text for text in PRINTED if any(text in one for one in written)] == []


# --- Units and notices ----------------------------------------------------------------------------------


def test_units_have_valid_codes_known_kinds_and_parents_before_children() -> None:
    units = campaign.units()
    assert len(units) == 40
    kinds = words_on(TODAY).unit_kinds
    seen: set[str] = set()
    for unit in units:
        assert check_unit_code(unit["code"]) == unit["code"]
        assert unit["kind"] in kinds
        assert unit.get("parent_code") in seen | {None}
        seen.add(unit["code"])
    assert len(seen) == len({unit["name"] for unit in units}) == 40


def test_head_counts_stand_on_both_sides_of_the_quotas() -> None:
    units = campaign.units()
    staff = {unit.get("staff_count") for unit in units}
    students = {unit.get("student_count") for unit in units}
    assert {199, 200, 201} <= staff
    assert {2999, 3000, 3001} <= students


def test_the_three_notices_have_the_printed_numbers_dates_and_receivers() -> None:
    facts = {
        notice["number"]: [
            (duty["kind"], duty.get("due_on"), duty["receiver"], duty["lateness"]) for duty in notice["obligations"]
        ]
        for notice in campaign.notices()
    }
    assert facts == {
        "团台联字〔2020〕3号": [
            ("summary", "2020-04-30", "市义工联秘书处", "late_flag"),
            ("news", None, "市义工联秘书处", "none"),
        ],
        "台教办〔2020〕6号": [
            ("nomination", "2020-04-17", "局机关党委", "forfeit"),
            ("activity_material", None, "局机关党委", "late_flag"),
            ("year_plan", None, "本单位", "reminder"),
        ],
        "资临空发〔2023〕17号": [
            ("photos", "2023-03-25", "党群工作部", "late_flag"),
            ("news_lead", None, "党群工作部", "none"),
        ],
    }
    assert [notice["issued_on"] for notice in campaign.notices()] == ["2020-03-02", "2020-03-04", "2023-03-09"]


def test_notices_can_be_drafted_and_bind_the_units_they_were_sent_to() -> None:
    register = [UnitFacts(unit["code"], unit["kind"], frozenset(unit.get("groups", ()))) for unit in campaign.units()]
    bound = {}
    for notice in campaign.notices():
        draft = msgspec.convert(DraftNotice().load(notice), Draft)
        number, period = check_draft(draft, words_on(draft.issued_on), {unit.code for unit in register})
        assert str(number) == notice["number"]
        assert period.ends_at is not None
        bound[notice["number"]] = resolve(draft, register)
    assert bound["团台联字〔2020〕3号"].addressees == ["TS-GY01", "TS-SZ01", "TS-ZH01", "TS-ZH02", "TS-ZS01"]
    assert len(bound["台教办〔2020〕6号"].addressees) == 16
    nominating = dict((rule.code, codes) for rule, codes in bound["台教办〔2020〕6号"].obligations)["NOMINATION"]
    assert len(nominating) == 13
    assert not [code for code in nominating if code.startswith("TS-YE")]
    assert len(bound["资临空发〔2023〕17号"].addressees) == 14


def test_the_responsible_units_differ_from_item_to_item_as_printed() -> None:
    (notice,) = [one for one in campaign.notices() if one["number"] == "资临空发〔2023〕17号"]
    named = {c["code"]: c["responsible"][0]["units"]["codes"] for c in notice["categories"]}
    assert "LK-LJZ" not in named["LK-LAOXIAO"]
    assert [code for code, units in named.items() if "LK-LJZ" not in units] == ["LK-LAOXIAO"]
    assert len(named["LK-XINFENG"]) == 8


def test_activities_have_teams_unique_numbers_and_categories_of_their_notice() -> None:
    activities = campaign.activities()
    assert len(activities) == 60
    assert len({one.number for one in activities}) == 60
    teams = {team.code for team in campaign.teams()}
    allowed = {
        notice["number"]: {c["code"] for c in notice["categories"] if c.get("counts_hours", True)}
        for notice in campaign.notices()
    }
    for one in activities:
        assert one.team_code in teams
        assert one.notice is None or one.category in allowed[one.notice]
        assert one.first_day <= one.last_day


# --- The workbook ---------------------------------------------------------------------------------------


def test_the_mistakes_are_as_many_as_declared(plan: Plan) -> None:
    counted = Counter(row.mistake for row in plan.rows)
    assert len(plan.rows) == ROWS == 2000
    assert counted == {None: ACCEPTED, **{mistake: count for mistake, (count, _) in MISTAKES.items()}}
    assert REFUSED == 60
    assert len(MISTAKES) >= 4


def test_stars_are_crossed_as_declared_with_the_edges_met(plan: Plan) -> None:
    totals = sorted(plan.totals.values())
    assert sum(6000 <= total < 18000 for total in totals) == 30
    assert sum(total >= 18000 for total in totals) == 5
    assert max(totals) < 36000
    assert plan.stars == 40
    assert {5999, 6000, 18000} <= set(totals)


def test_good_rows_never_overlap_and_no_day_is_too_full(plan: Plan) -> None:
    days: defaultdict[tuple[int, date], int] = defaultdict(int)
    for row in plan.good:
        span = datetime.combine(row.served_on, row.ends) - datetime.combine(row.served_on, row.starts)
        assert 1 <= row.minutes <= span // timedelta(minutes=1)
        assert row.minutes_given or row.minutes == span // timedelta(minutes=1)
        days[row.person.index, row.served_on] += 1
        assert row.minutes <= 480
    # One row a person and day: nothing can overlap.
    assert set(days.values()) == {1}


def test_good_rows_lie_within_their_activities_over_several_months(plan: Plan) -> None:
    activities = {one.number: one for one in campaign.activities()}
    for row in plan.good:
        activity = activities[row.activity]
        assert activity.first_day <= row.served_on <= activity.last_day
        assert activity.region == row.person.region
    assert len({(row.served_on.year, row.served_on.month) for row in plan.good}) >= 6


def test_each_mistake_is_what_its_name_says(plan: Plan) -> None:
    activities = {one.number: one for one in campaign.activities()}
    good = {(row.person.index, row.served_on): row for row in plan.good}
    for row in plan.rows:
        match row.mistake:
            case "unknown_activity":
                assert row.activity not in activities
            case "ends_before_start":
                assert row.ends <= row.starts
            case "outside_activity":
                assert row.served_on > activities[row.activity].last_day
            case "other_name":
                assert row.name != row.person.name
            case "overlap":
                other = good[row.person.index, row.served_on]
                assert other.starts < row.starts < other.ends
                assert plan.rows.index(other) < plan.rows.index(row)
            case "stranger":
                assert row.person.index >= COUNT
            case "wrong_check_digit":
                number = str(row.id_number)
                assert check_character(number[:17]) != number[17]
            case "lost_digits":
                assert isinstance(row.id_number, float) or "E+17" in row.id_number


def test_the_workbook_is_the_same_bytes_every_time_and_reads_as_planned(tmp_path: Path) -> None:
    first, second = tmp_path / "a.xlsx", tmp_path / "b.xlsx"
    plan = workbook.write_workbook(first)
    workbook.write_workbook(second)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.xlsx", "b.xlsx"]
    rows = CalamineWorkbook.from_path(str(first)).get_sheet_by_index(0).to_python()
    assert len(rows) == 3 + len(plan.rows)
    assert rows[3][:4] == [plan.rows[0].name, plan.rows[0].id_number, plan.rows[0].activity, plan.rows[0].served_on]


def test_the_headers_are_those_of_the_template() -> None:
    known = {column.header for column in COLUMNS}
    assert set(workbook.HEADERS) <= known
    required = {column.key for column in COLUMNS if column.required}
    assert required <= {column_of(header) for header in workbook.HEADERS}
