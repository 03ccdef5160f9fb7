"""The sample's workbook of hours: 2,000 rows over several months, with mistakes of known kind and number."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from . import campaign
from .campaign import Activity
from .people import COUNT, SEED, Person, make_people

ROWS = 2000
FILE_NAME = "样例时数.xlsx"
TITLE = "志愿服务时数登记表（样例，人员均为虚构）"
#: The columns of the template, in its order, as far as they are filled in here.
HEADERS = ("姓名", "身份证号", "活动编号", "服务日期", "开始时间", "结束时间", "服务分钟", "备注")
_WIDTHS = (12, 22, 16, 12, 10, 10, 10, 18)

#: How many rows have which mistake, and the code under which each is refused.
MISTAKES = {
    "wrong_check_digit": (10, "id_number.check_digit"),
    "lost_digits": (8, "id_number.invalid"),
    "unknown_activity": (10, "activity.unknown"),
    "ends_before_start": (8, "cell.crosses_midnight"),
    "overlap": (6, "hours.overlap"),
    "outside_activity": (8, "hours.outside_activity"),
    "other_name": (6, "import.name_mismatch"),
    "stranger": (4, "volunteer.unknown"),
}
REFUSED = sum(count for count, _ in MISTAKES.values())
ACCEPTED = ROWS - REFUSED

STAR_MINUTES = (6000, 18000)
_TWO_STARS, _ONE_STAR = 5, 30
_STARTS = (time(8, 30), time(9), time(9, 30), time(14), time(14, 30), time(15))
_BREAK = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the workbook; ``mistake`` names what is wrong with it."""

    person: Person
    name: str
    id_number: str | float
    activity: str
    served_on: date
    starts: time
    ends: time
    minutes: int
    minutes_given: bool
    mistake: str | None = None

    @property
    def order(self) -> tuple[Any, ...]:
        """By day and hour, as a clerk collects them."""
        return self.served_on, self.starts, self.person.index, self.mistake or ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows in the order of the file, and what must come of them."""

    rows: tuple[Row, ...]

    @property
    def good(self) -> list[Row]:
        """The rows without a mistake."""
        return [row for row in self.rows if row.mistake is None]

    @property
    def minutes(self) -> int:
        """The minutes that must be in the ledger."""
        return sum(row.minutes for row in self.good)

    @property
    def totals(self) -> Counter[int]:
        """The minutes of each person, by the person's number."""
        totals: Counter[int] = Counter()
        for row in self.good:
            totals[row.person.index] += row.minutes
        return totals

    @property
    def stars(self) -> int:
        """The stars that must be earned; who has two earned each once."""
        return sum(total >= threshold for total in self.totals.values() for threshold in STAR_MINUTES)


def plan() -> Plan:
    """Return the rows, always the same ones."""
    rng = random.Random(SEED)  # noqa: S311  (repeatable on purpose, and no secret)
    people, strangers = make_people([(team.code, team.unit_code) for team in campaign.teams()])
    slots = _Slots(rng, campaign.activities())
    # A step that has no factor in common with 400 spreads those with many hours over the teams.
    spread = [people[index * 37 % COUNT] for index in range(COUNT)]
    rows: list[Row] = []
    for number, person in enumerate(spread[:_TWO_STARS]):
        rows += slots.rows(person, _portions(rng, STAR_MINUTES[1], (420, 450, 480), exactly=number == 0))
    for number, person in enumerate(spread[_TWO_STARS : _TWO_STARS + _ONE_STAR]):
        rows += slots.rows(person, _portions(rng, STAR_MINUTES[0], (360, 390, 420, 450), exactly=number == 0))
    nearly, *others = spread[_TWO_STARS + _ONE_STAR :]
    rows += slots.rows(nearly, [*_portions(rng, STAR_MINUTES[0] - 359, (360,), exactly=True), 359 - 1])
    left = ACCEPTED - len(rows)
    for number, person in enumerate(others):
        count = left // len(others) + (number < left % len(others))
        rows += slots.rows(person, [rng.choice((60, 90, 120, 150, 180, 210, 240)) for _ in range(count)])
    rows += _with_mistakes(rng, slots, others, strangers)
    return Plan(tuple(sorted(rows, key=lambda row: row.order)))


def _portions(rng: random.Random, total: int, sizes: Sequence[int], *, exactly: bool) -> list[int]:
    """Return the minutes of days until ``total`` is reached, the last one shortened when it must fit exactly."""
    found: list[int] = []
    while sum(found) < total:
        found.append(rng.choice(sizes))
    if exactly:
        found[-1] -= sum(found) - total
    return found


class _Slots:
    """Finds days on which a person has not served yet: at most one row a day, so that nothing overlaps."""

    def __init__(self, rng: random.Random, activities: Sequence[Activity]) -> None:
        self._rng = rng
        self._activities = activities
        self._used: dict[int, set[date]] = {}
        self.first: dict[int, Row] = {}

    def rows(self, person: Person, portions: Sequence[int]) -> list[Row]:
        """Return one row for each portion of minutes, each on a day of its own."""
        return [self._row(person, minutes) for minutes in portions]

    def day(self, person: Person) -> tuple[Activity, date]:
        """Return an activity open to a person and one of its days that is free."""
        used = self._used.setdefault(person.index, set())
        # A person serves with the own team, and at what the region offers beside the campaign.
        open_to = [
            one
            for one in self._activities
            if one.region == person.region and (one.notice is None or one.team_code == person.team_code)
        ]
        campaign_ones = [one for one in open_to if one.notice is not None]
        while True:
            # Three days of four belong to the campaign.
            activity = self._rng.choice(campaign_ones if self._rng.randrange(4) else open_to)
            day = self._rng.choice(activity.days)
            if day not in used:
                used.add(day)
                return activity, day

    def _row(self, person: Person, minutes: int) -> Row:
        activity, day = self.day(person)
        long = minutes > 240
        starts = time(8, 30) if long else self._rng.choice(_STARTS)
        # A long day has an hour's rest, so the minutes are given; for a short one often only start and end.
        ends = _later(starts, timedelta(minutes=minutes) + (_BREAK if long else timedelta()))
        row = Row(
            person, person.name, person.id_number, activity.number, day, starts, ends, minutes,
            minutes_given=long or self._rng.randrange(3) == 0,
        )  # fmt: skip
        self.first.setdefault(person.index, row)
        return row


def _with_mistakes(
    rng: random.Random, slots: _Slots, people: Sequence[Person], strangers: Sequence[Person]
) -> list[Row]:
    """Return the rows that must be refused; nobody's total comes near a star through them."""
    activities = {one.number: one for one in campaign.activities()}
    chosen = iter(people)
    rows = []
    for mistake, (count, _) in MISTAKES.items():
        for number in range(count):
            person = strangers[number] if mistake == "stranger" else next(chosen)
            if mistake == "overlap":
                first = slots.first[person.index]
                row = replace(first, starts=_later(first.starts, timedelta(minutes=30)), ends=first.ends)
                rows.append(replace(row, minutes=row.minutes - 30, minutes_given=False, mistake=mistake))
                continue
            (row,) = slots.rows(person, [120])
            rows.append(replace(_spoil(row, mistake, number, activities, rng), mistake=mistake))
    return rows


def _spoil(row: Row, mistake: str, number: int, activities: dict[str, Activity], rng: random.Random) -> Row:
    digits = str(row.id_number)
    match mistake:
        case "wrong_check_digit":
            return replace(row, id_number=digits[:17] + ("7" if digits[17] != "7" else "3"))
        case "lost_digits":
            # What a spreadsheet makes of a number of 18 digits: as a number, and as what it shows of it.
            as_number = float(f"{digits[:15]}000")
            return replace(row, id_number=as_number if number % 2 else f"{as_number:.5E}")
        case "unknown_activity":
            return replace(row, activity=f"YL-{row.served_on.year}-9{rng.randrange(10, 100)}")
        case "ends_before_start":
            return replace(row, starts=row.ends, ends=row.starts, minutes_given=False)
        case "outside_activity":
            return replace(row, served_on=activities[row.activity].last_day + timedelta(days=40))
        case "other_name":
            return replace(row, name=row.name[0] + row.name[2] + row.name[1])
    return row


def _later(at: time, by: timedelta) -> time:
    return (datetime.combine(date(2020, 1, 1), at) + by).time()


def write_workbook(path: Path) -> Plan:
    """Write the workbook, the same bytes every time, whole or not at all; return what is in it."""
    import xlsxwriter

    made = plan()
    partial = path.with_name(f".{path.name}.part")
    with xlsxwriter.Workbook(str(partial)) as book:
        book.set_properties({"title": TITLE, "created": datetime(2020, 3, 1)})
        sheet = book.add_worksheet("时数")
        bold = book.add_format({"bold": True})
        as_text = book.add_format({"num_format": "@"})
        as_date = book.add_format({"num_format": "yyyy-mm-dd"})
        as_time = book.add_format({"num_format": "hh:mm"})
        sheet.write_string(0, 0, TITLE, book.add_format({"bold": True, "font_size": 14}))
        for column, (header, width) in enumerate(zip(HEADERS, _WIDTHS, strict=True)):
            sheet.write_string(2, column, header, bold)
            sheet.set_column(column, column, width)
        sheet.freeze_panes(3, 1)
        for line, row in enumerate(made.rows, 3):
            sheet.write_string(line, 0, row.name)
            if isinstance(row.id_number, float):
                sheet.write_number(line, 1, row.id_number)
            else:
                sheet.write_string(line, 1, row.id_number, as_text)
            sheet.write_string(line, 2, row.activity)
            sheet.write_datetime(line, 3, datetime.combine(row.served_on, time()), as_date)
            sheet.write_datetime(line, 4, row.starts, as_time)
            sheet.write_datetime(line, 5, row.ends, as_time)
            if row.minutes_given:
                sheet.write_number(line, 6, row.minutes)
    partial.replace(path)
    return made
