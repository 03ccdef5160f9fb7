"""Reads a workbook of hours: bytes in, rows, mistakes and warnings out. Run as a program it is its own jail.

``python -m services.volunteers.workbooks.reader 2026-03-05`` takes the file on standard input and writes JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

from xinhuo.chassis.errors import RuleError

from ..domain.workbook_cells import (
    CellHasError,
    CellRequired,
    FormulaNotCalculated,
    PersonRequired,
)
from ..domain.workbooks import MOST_ROWS, NoRows, TooManyRows
from . import cells, columns, jail
from .cells import Value
from .package import open_package
from .results import Finding, Reading, Row, Warned
from .sheets import Book, Sheet

T = TypeVar("T")
#: The row of the template that shows how to fill it in begins with this word and is never imported.
EXAMPLE = "示例"
_PLACES_SHOWN = 20


def read(data: bytes, today: date) -> Reading:
    """Read a workbook; raises one of the file errors of ``domain.workbooks``. Rows with a mistake are left out."""
    book = Book(open_package(data), data)
    sheet, header, others = _find_header(book)
    return _Reader(sheet, header, book.epoch_1904, today).read(others)


def _find_header(book: Book) -> tuple[Sheet, columns.Header, list[str]]:
    """Return the first sheet with a complete header row, that row, and the names of the sheets before it."""
    candidates: list[columns.Candidate] = []
    passed: list[str] = []
    for sheet in book.sheets():
        for number, values in sheet.rows():
            if number >= columns.HEADER_ROWS:
                break
            texts = [cells.as_text(value) for value in values[: columns.MOST_COLUMNS]]
            candidate = columns.examine(texts, number)
            if not candidate.problems:
                return sheet, candidate.header, passed
            candidates.append(candidate)
        passed.append(sheet.name)
    raise columns.nearest_problem(candidates)


@dataclass
class _Noted:
    """What warnings are made of, gathered row by row."""

    hidden: list[str] = field(default_factory=list)
    blank: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, sheet: Sheet, header: columns.Header, epoch_1904: bool, today: date) -> None:
        self.sheet = sheet
        self.header = header
        self.places = header.places
        self.epoch_1904 = epoch_1904
        self.today = today
        self.rows: list[Row] = []
        self.findings: list[Finding] = []
        self.noted = _Noted()
        self._known_ids: dict[Value, str] = {}
        self._known_names: dict[Value, str] = {}
        self._merged, self._merged_ranges = self._spread_merges()
        #: The values of cells that may head a merged range, as met so far.
        self._above: dict[tuple[int, int], Value] = {}

    def read(self, sheets_before: list[str]) -> Reading:
        total = 0
        waiting_blank: list[str] = []
        last = self.header.row
        for number, values in self.sheet.rows():
            if number <= self.header.row:
                continue
            picked = self._pick(number, values)
            if all(cells.is_blank(value) for value in picked.values()) and not self._broken_in(number):
                waiting_blank.append(str(number + 1))
                continue
            if cells.as_text(picked["name"])[: len(EXAMPLE)] == EXAMPLE:
                self.noted.examples.append(str(number + 1))
                last = number
                continue
            # Blank rows count as gaps only when something follows them.
            self.noted.blank += waiting_blank
            waiting_blank = []
            last = number
            total += 1
            if total > MOST_ROWS:
                raise TooManyRows
            if number in self.sheet.facts.hidden:
                self.noted.hidden.append(str(number + 1))
            self._take(number, picked)
        if not total:
            raise NoRows
        return Reading(
            sheet=self.sheet.name,
            header_row=self.header.row + 1,
            columns={key: columns.letters(place) for key, place in self.places.items()},
            total=total,
            rows=self.rows,
            findings=self.findings,
            warnings=self._warnings(last, sheets_before),
        )

    def _spread_merges(self) -> tuple[dict[tuple[int, int], tuple[int, int]], list[str]]:
        """Map each cell below the header in a merged range to the range's first cell, which holds the value."""
        spread: dict[tuple[int, int], tuple[int, int]] = {}
        ranges = []
        wanted = set(self.places.values())
        for (top, left), (bottom, right) in self.sheet.merged:
            bottom = min(bottom, self.sheet.facts.last_row)
            places = [place for place in wanted if left <= place <= right]
            if bottom < top or top <= self.header.row or not places:
                continue
            ranges.append(f"{columns.cell_name(top, left)}:{columns.cell_name(bottom, right)}")
            # Only downwards: the same value in two columns of one row would never be meant.
            if left in wanted:
                spread |= {(row, left): (top, left) for row in range(top + 1, bottom + 1)}
        return spread, ranges

    def _pick(self, number: int, values: list[Value]) -> dict[str, Value]:
        picked: dict[str, Value] = {}
        for key, place in self.places.items():
            value = values[place] if place < len(values) else ""
            if self._merged:
                if (source := self._merged.get((number, place))) and cells.is_blank(value):
                    value = self._above.get(source, "")
                if not cells.is_blank(value):
                    self._above[(number, place)] = value
            picked[key] = value
        return picked

    def _broken_in(self, number: int) -> bool:
        facts = self.sheet.facts
        if not facts.uncalculated and not facts.errors:
            return False
        return any(
            (number, place) in facts.uncalculated or (number, place) in facts.errors for place in self.places.values()
        )

    def _take(self, number: int, picked: dict[str, Value]) -> None:
        before = len(self.findings)
        name = self._cell(number, "name", picked, self._name)
        id_number = self._cell(number, "id_number", picked, self._id_number, required=False)
        volunteer = self._cell(number, "volunteer", picked, cells.as_code, required=False)
        if id_number is None and volunteer is None:
            self._need_person(number, picked)
        activity = self._cell(number, "activity", picked, cells.as_code)
        served_on = self._cell(number, "served_on", picked, self._date)
        span = None if served_on is None else self._span(number, served_on, picked)
        minutes = self._cell(number, "minutes", picked, cells.as_minutes, required=False)
        if len(self.findings) > before or name is None or activity is None or span is None:
            return
        if minutes is None:
            minutes = (span[1] - span[0]) // timedelta(minutes=1)
        self.rows.append(Row(number + 1, name, id_number, volunteer, activity, *span, minutes))

    def _span(self, number: int, served_on: date, picked: dict[str, Value]) -> tuple[datetime, datetime] | None:
        def clock(value: Value) -> timedelta:
            return cells.as_clock(value, served_on, epoch_1904=self.epoch_1904)

        starts, ends = (self._cell(number, key, picked, clock) for key in ("starts", "ends"))
        if starts is None or ends is None:
            return None
        try:
            return cells.service_span(served_on, starts, ends)
        except RuleError as error:
            self._found(number, "ends", error)
            return None

    def _need_person(self, number: int, picked: dict[str, Value]) -> None:
        """Note that a row says nothing of whose hours it holds, unless what it says is wrong already."""
        if all(cells.is_blank(picked.get(key, "")) and not self._is_broken(number, key) for key in columns.PERSON):
            self._found(number, "id_number" if "id_number" in self.places else "volunteer", PersonRequired())

    def _is_broken(self, number: int, key: str) -> bool:
        place = (number, self.places.get(key, -1))
        return place in self.sheet.facts.uncalculated or place in self.sheet.facts.errors

    def _cell(
        self, number: int, key: str, picked: dict[str, Value], read: Callable[[Value], T], *, required: bool = True
    ) -> T | None:
        """Return a cell's value, or None after noting what is wrong with it."""
        if key not in self.places:
            return None
        place = (number, self.places[key])
        value = picked[key]
        try:
            if place in self.sheet.facts.uncalculated:
                raise FormulaNotCalculated
            if place in self.sheet.facts.errors:
                raise CellHasError
            if cells.is_blank(value):
                if required:
                    raise CellRequired(columns.BY_KEY[key].header)
                return None
            return read(value)
        except RuleError as error:
            self._found(number, key, error)
            return None

    def _found(self, number: int, key: str, error: RuleError) -> None:
        cell = columns.cell_name(number, self.places[key])
        self.findings.append(Finding(number + 1, cell, error.code, error.zh, error.en))

    def _id_number(self, value: Value) -> str:
        """Check an identity number once, however many rows its owner has."""
        if value not in self._known_ids:
            self._known_ids[value] = cells.as_id_number(value, self.today)
        return self._known_ids[value]

    def _date(self, value: Value) -> date:
        return cells.as_date(value, epoch_1904=self.epoch_1904)

    def _name(self, value: Value) -> str:
        if value not in self._known_names:
            self._known_names[value] = cells.as_name(value)
        return self._known_names[value]

    def _warnings(self, last: int, sheets_before: list[str]) -> list[Warned]:
        noted = self.noted
        trailing = max(self.sheet.facts.last_row_there - last, 0)
        ignored = [f"{columns.letters(place)}: {text}" for place, text in self.header.ignored.items()]
        made = [
            _warned("rows.hidden", noted.hidden, "有 {n} 个隐藏行，已按普通行处理，请确认是否应当导入。",
                    "{n} hidden row(s) are treated like all others; make sure that they are meant."),
            _warned("cells.merged", self._merged_ranges, "有 {n} 处合并单元格，其内容已用于所合并的每一行，请核对。",
                    "{n} merged range(s): the value counts for each row of the range; check them."),
            _warned("rows.blank", noted.blank, "数据中间有 {n} 个空行，已跳过。",
                    "{n} blank row(s) between the data were skipped."),
            _warned("rows.example", noted.examples, "有 {n} 个示例行，已跳过。", "{n} example row(s) were skipped."),
            _warned("columns.ignored", ignored, "有 {n} 列不在模板中，未使用。",
                    "{n} column(s) are not in the template and were not used."),
            _warned("sheets.ignored", sheets_before, "前面有 {n} 个工作表没有完整的表头，未使用。",
                    "{n} sheet(s) before this one have no complete header row and were not used."),
        ]  # fmt: skip
        if trailing:
            made.append(
                Warned(
                    "rows.trailing", f"末尾有 {trailing} 个空白行，已忽略。",
                    f"{trailing} blank row(s) at the end were ignored.", trailing, [],
                )
            )  # fmt: skip
        return [warned for warned in made if warned.count]


def _warned(code: str, places: list[str], zh: str, en: str) -> Warned:
    count = len(places)
    return Warned(code, zh.format(n=count), en.format(n=count), count, places[:_PLACES_SHOWN])


if __name__ == "__main__":
    jail.main(lambda data: jail.encode(read(data, date.fromisoformat(sys.argv[1]))))
