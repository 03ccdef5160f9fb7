"""Workbooks that are written: the template for clerks, and hours as rows of it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from .columns import COLUMNS

SHEET = "服务时数"
_GUIDE = "填写说明"
_CREATED = datetime(2020, 1, 1)
_FORMATS = {"served_on": "yyyy-mm-dd", "starts": "hh:mm", "ends": "hh:mm"}
_GUIDE_TEXT = (
    "1. 每行一个人的一次服务。第 2 行是示例，可以删除；不删也不会被导入。",
    "2. 表头请勿改名或删除；各列的先后可以调整。标 * 的列必填，“身份证号”和“志愿者编号”至少填一项。",
    "3. 身份证号按文本填写。如显示为 1.10101E+17，说明末尾数字已经丢失，须设为文本后重新填写。",
    "4. 不要合并单元格；跨过零点的服务请按日期拆成两行，第一行到 24:00，第二行从 0:00 起。",
    "5. 一个文件最多 10 万行。上传后系统先检查，不会直接入库；确认后才导入，确认后 {undo_hours} 小时内可以整批撤销。",
    "6. 检查后可以下载您自己的文件：有误的单元格会标出原因，并增加“导入结果”一列。",
)


@dataclass(frozen=True, slots=True)
class HoursRow:
    """One row of a workbook of hours, as a clerk would fill it in; texts are written as they stand."""

    name: str
    id_number: str | float
    volunteer: str
    activity: str
    served_on: date | str
    starts: time | str
    ends: time | str
    minutes: int | float | str | None = None
    note: str = ""


def template(undo_hours: int) -> bytes:
    """Return the template: headers, one example row, and a sheet that explains each column.

    ``undo_hours`` is for how long a confirmed import can be undone, which the explanations tell.
    """
    example = {column.key: column.example for column in COLUMNS}
    return _workbook([[example[column.key] for column in COLUMNS]], undo_hours=undo_hours)


def write_rows(path: Path, rows: Iterable[HoursRow]) -> None:
    """Write a workbook of hours in the template's form."""
    path.write_bytes(workbook_of(rows))


def workbook_of(rows: Iterable[HoursRow]) -> bytes:
    """Return a workbook of hours in the template's form; memory stays flat however many rows there are."""
    return _workbook([getattr(row, column.key) for column in COLUMNS] for row in rows)


def _workbook(rows: Iterable[list[Any]], *, undo_hours: int | None = None) -> bytes:
    """Return the workbook; with ``undo_hours`` it is the template, whose one row is faint and explained."""
    import xlsxwriter  # loaded when a workbook is written: it takes a while

    out = io.BytesIO()
    book = xlsxwriter.Workbook(
        out,
        {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False},
    )
    # The same rows make the same bytes, so that the same file is known again.
    book.set_properties({"title": SHEET, "created": _CREATED})
    sheet = book.add_worksheet(SHEET)
    head = {
        True: book.add_format(
            {"bold": True, "font_color": "#FFFFFF", "bg_color": "#B5302A", "border": 1, "align": "center"}
        ),
        False: book.add_format({"bold": True, "bg_color": "#F3E3D3", "border": 1, "align": "center"}),
    }
    text = book.add_format({"num_format": "@"})
    formats = {column.key: text for column in COLUMNS}
    formats |= {key: book.add_format({"num_format": form}) for key, form in _FORMATS.items()}
    formats["minutes"] = book.add_format({"num_format": "0"})
    for place, column in enumerate(COLUMNS):
        sheet.set_column(place, place, column.width, formats[column.key])
    sheet.freeze_panes(1, 0)
    sheet.set_row(0, 22)
    for place, column in enumerate(COLUMNS):
        sheet.write_string(0, place, column.header + ("*" if column.required else ""), head[column.required])
    faint = book.add_format({"font_color": "#808080", "italic": True, "num_format": "@"})
    for number, row in enumerate(rows, 1):
        for place, (column, value) in enumerate(zip(COLUMNS, row, strict=True)):
            _write(sheet, number, place, value, faint if undo_hours else formats[column.key])
    if undo_hours:
        _write_guide(book, undo_hours)
    book.close()
    return out.getvalue()


def _write(sheet: Any, row: int, place: int, value: Any, form: Any) -> None:
    if value is None or value == "":
        return
    if isinstance(value, str):
        sheet.write_string(row, place, value, form)
    elif isinstance(value, date | time):
        sheet.write_datetime(row, place, value, form)
    else:
        sheet.write_number(row, place, value, form)


def _write_guide(book: Any, undo_hours: int) -> None:
    sheet = book.add_worksheet(_GUIDE)
    bold = book.add_format({"bold": True, "bg_color": "#F3E3D3", "border": 1})
    wrap = book.add_format({"text_wrap": True, "valign": "top", "border": 1})
    plain = book.add_format({"text_wrap": True, "valign": "top"})
    sheet.set_column(0, 0, 16)
    sheet.set_column(1, 1, 10)
    sheet.set_column(2, 2, 78)
    row = 0
    for line in _GUIDE_TEXT:
        sheet.merge_range(row, 0, row, 2, line.format(undo_hours=undo_hours), plain)
        sheet.set_row(row, 20)
        row += 1
    row += 1
    for place, title in enumerate(("列名", "是否必填", "怎样填写")):
        sheet.write_string(row, place, title, bold)
    for column in COLUMNS:
        row += 1
        required = "必填" if column.required else ("二选一" if column.key in {"id_number", "volunteer"} else "选填")
        for place, content in enumerate((column.header, required, column.help)):
            sheet.write_string(row, place, content, wrap)
