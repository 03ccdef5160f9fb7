"""Gives the user's own workbook back: mistaken cells marked and explained, and a column 导入结果.

``python -m services.volunteers.workbooks.marker`` takes on standard input eight bytes of length, that many bytes of
JSON (``results.Outcomes``) and the workbook; it writes the marked workbook.
"""

from __future__ import annotations

import io
from copy import copy
from datetime import date, datetime, time, timedelta
from typing import Any

import msgspec

from . import jail
from .cells import Value
from .columns import RESULT_HEADER, cell_name, letters, normalise_header
from .package import open_package
from .results import Finding, Outcome, Outcomes
from .sheets import Book

#: Up to here the file keeps everything of its own look; a larger one is written anew, with its values only, since
#: keeping all of 100,000 styled rows would take most of a minute and half a gigabyte.
MOST_STYLED_ROWS = 20_000
#: So many cells of a large file get a comment; all of them get the fill and the reason in the last column.
MOST_COMMENTS = 2_000
_AUTHOR = "薪火"
_RED, _PALE_RED, _GREEN, _GREY = "FFFFC7CE", "FFFDE9E7", "FFE2F0D9", "FFEDEDED"
_TEXTS = {
    "valid": "检查通过，尚未导入",
    "entered": "已导入",
    "existing": "已存在",
    "refused": "未导入：",
    "undone": "已撤销",
}
_FILLS = {"valid": _GREY, "entered": _GREEN, "existing": _GREY, "refused": _PALE_RED, "undone": _GREY}
#: What a spreadsheet would take for a formula when the text is typed in or exported again.
_LOOKS_LIKE_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def mark(data: bytes, outcomes: Outcomes) -> bytes:
    """Return the marked workbook. Formulas become their last results, texts that look like formulas stay texts."""
    archive = open_package(data)
    if len(outcomes.rows) > MOST_STYLED_ROWS:
        return _write_anew(Book(archive, data), outcomes)
    return _mark_in_place(data, outcomes)


def result_text(outcome: Outcome) -> str:
    """Return what the column 导入结果 says of a row."""
    return _TEXTS[outcome.status] + "；".join(dict.fromkeys(finding.zh for finding in outcome.findings))


def _comments(findings: list[Finding]) -> dict[str, str]:
    """Return the text for each marked cell: a cell may have more than one mistake."""
    texts: dict[str, list[str]] = {}
    for finding in findings:
        texts.setdefault(finding.cell, []).append(finding.zh)
    return {cell: "\n".join(reasons) for cell, reasons in texts.items()}


# --- The file as it is ----------------------------------------------------------------------------------


def _mark_in_place(data: bytes, outcomes: Outcomes) -> bytes:
    import openpyxl
    from openpyxl.comments import Comment
    from openpyxl.styles import Alignment, Font, PatternFill

    book = openpyxl.load_workbook(io.BytesIO(data), data_only=True, keep_links=False)
    for sheet in book.worksheets:
        _keep_texts(sheet)
    sheet = book[outcomes.sheet]
    fills = {color: PatternFill("solid", fgColor=color) for color in {_RED, *_FILLS.values()}}
    place = _result_column(sheet, outcomes)
    _clear_marks(sheet, outcomes.header_row, place)
    head = sheet.cell(outcomes.header_row, place, RESULT_HEADER)
    head.font = Font(bold=True)
    sheet.column_dimensions[letters(place - 1)].width = 46
    for outcome in outcomes.rows:
        cell = sheet.cell(outcome.row, place, result_text(outcome))
        cell.data_type = "s"
        cell.fill = fills[_FILLS[outcome.status]]
        cell.alignment = Alignment(wrap_text=True, vertical="top")
        for name, text in _comments(outcome.findings).items():
            marked = _head_of(sheet, name)
            marked.fill = fills[_RED]
            comment = Comment(text, _AUTHOR)
            comment.width, comment.height = 320, 40 + 22 * (1 + len(text) // 24)
            marked.comment = comment
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _keep_texts(sheet: Any) -> None:
    """Give texts that look like formulas the prefix that keeps them texts when they are edited or exported."""
    for row in sheet.iter_rows():
        for cell in row:
            if isinstance(cell.value, str) and cell.value.lstrip(" \u00a0").startswith(_LOOKS_LIKE_FORMULA):
                cell.data_type = "s"
                # Cells share their style; this one gets its own.
                cell._style = copy(cell._style)
                cell.quotePrefix = True


def _clear_marks(sheet: Any, header_row: int, place: int) -> None:
    """Take back what an earlier check marked: a corrected file must not show cells as wrong that are right now.

    Our red is also a stock color of spreadsheets, so without our comment it counts only in a file that came back
    from us, which its column 导入结果 (at ``place``) tells.
    """
    from openpyxl.styles import PatternFill

    returned = _is_result_header(sheet.cell(header_row, place).value)
    for row in sheet.iter_rows(min_row=header_row + 1):
        for cell in row:
            commented = cell.comment is not None and cell.comment.author == _AUTHOR
            if commented:
                cell.comment = None
            ours = {_RED, *_FILLS.values()} if cell.column == place else {_RED}
            if (commented or returned) and cell.has_style and cell.fill.fgColor.rgb in ours:
                cell.fill = PatternFill()
            if returned and cell.column == place and str(cell.value or "").startswith(tuple(_TEXTS.values())):
                # A row that was emptied since has no outcome any more, and none is written over the old one.
                cell.value = None


def _is_result_header(value: object) -> bool:
    return isinstance(value, str) and normalise_header(value) == RESULT_HEADER


def _head_of(sheet: Any, name: str) -> Any:
    """Return the cell to mark: the first one of a merged range stands for all of it."""
    for merged in sheet.merged_cells.ranges:
        if name in merged:
            return sheet.cell(merged.min_row, merged.min_col)
    return sheet[name]


def _result_column(sheet: Any, outcomes: Outcomes) -> int:
    """Return the place (1-based) of the column 导入结果: the one that is there, or the first free one."""
    last = 1
    for cell in sheet[outcomes.header_row]:
        if _is_result_header(cell.value):
            return int(cell.column)
        if cell.value not in (None, ""):
            last = int(cell.column)
    rows = [outcomes.header_row, *(outcome.row for outcome in outcomes.rows)]
    if all(sheet.cell(row, last + 1).value in (None, "") for row in rows):
        return last + 1
    return int(sheet.max_column) + 1


# --- Its values alone -----------------------------------------------------------------------------------


def _write_anew(book: Book, outcomes: Outcomes) -> bytes:
    import xlsxwriter

    out = io.BytesIO()
    made = xlsxwriter.Workbook(
        out,
        {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False},
    )
    writer = _Writer(made, made.add_worksheet(outcomes.sheet))
    by_row = {outcome.row: outcome for outcome in outcomes.rows}
    sheet = next(sheet for sheet in book.sheets() if sheet.name == outcomes.sheet)
    place = sheet.facts.last_column + 1
    writer.sheet.set_column(0, place - 1, 16)
    writer.sheet.set_column(place, place, 60)
    for number, values in sheet.rows():
        if number + 1 == outcomes.header_row:
            place = next((column for column, value in enumerate(values) if _is_result_header(value)), place)
        outcome = by_row.get(number + 1)
        marks = _comments(outcome.findings) if outcome else {}
        for column, value in enumerate(values):
            if column != place:
                writer.write(number, column, value, marks.get(cell_name(number, column)))
        if number + 1 == outcomes.header_row:
            writer.sheet.write_string(number, place, RESULT_HEADER)
        elif outcome:
            writer.sheet.write_string(number, place, result_text(outcome), writer.form(_FILLS[outcome.status]))
    made.close()
    return out.getvalue()


class _Writer:
    def __init__(self, book: Any, sheet: Any) -> None:
        self.sheet = sheet
        self._book = book
        self._forms: dict[tuple[str, ...], Any] = {}
        self._comments = 0

    def form(self, color: str = "", number: str = "", prefix: str = "") -> Any:
        """Return a format, made once."""
        key = (color, number, prefix)
        if key not in self._forms:
            wanted: dict[str, Any] = {}
            if color:
                wanted |= {"bg_color": f"#{color[2:]}"}
            if number:
                wanted |= {"num_format": number}
            if prefix:
                wanted |= {"quote_prefix": True}
            self._forms[key] = self._book.add_format(wanted)
        return self._forms[key]

    def write(self, row: int, column: int, value: Value, comment: str | None) -> None:
        """Write a value as what it is, marked when it has a comment."""
        color = _RED if comment else ""
        if isinstance(value, str):
            looks = value.lstrip(" \u00a0").startswith(_LOOKS_LIKE_FORMULA)
            form = self.form(color, "@", "'" if looks else "")
            if value:
                self.sheet.write_string(row, column, value, form)
            elif comment:
                self.sheet.write_blank(row, column, None, form)
        elif isinstance(value, bool):
            self.sheet.write_boolean(row, column, value, self.form(color))
        elif isinstance(value, datetime | date | time | timedelta):
            self.sheet.write_datetime(row, column, value, self.form(color, _number_format(value)))
        else:
            self.sheet.write_number(row, column, value, self.form(color))
        if comment and self._comments < MOST_COMMENTS:
            self._comments += 1
            self.sheet.write_comment(row, column, comment, {"author": _AUTHOR, "x_scale": 2})


def _number_format(value: datetime | date | time | timedelta) -> str:
    if isinstance(value, datetime):
        return "yyyy-mm-dd hh:mm"
    if isinstance(value, date):
        return "yyyy-mm-dd"
    return "hh:mm" if isinstance(value, time) else "[h]:mm"


def _work(framed: bytes) -> bytes:
    length = int.from_bytes(framed[:8], "big")
    outcomes = msgspec.json.decode(framed[8 : 8 + length], type=Outcomes)
    return mark(framed[8 + length :], outcomes)


if __name__ == "__main__":
    jail.main(_work)
