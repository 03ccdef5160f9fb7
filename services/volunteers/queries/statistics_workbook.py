"""The statistics as a workbook that opens in Excel and WPS."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from io import BytesIO
from typing import Any
from urllib.parse import quote

import xlsxwriter
from sqlalchemy.orm import Session

from xinhuo.chassis.web.spreadsheets import harmless

from ..domain import OFFICE_ZONE
from .statistics import GROUPINGS, all_rows, totals

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
DISPOSITION = f"attachment; filename=\"statistics.xlsx\"; filename*=UTF-8''{quote('志愿服务统计.xlsx')}"
_GROUP_NAMES = {"unit": "单位", "team": "队伍", "category": "活动类别", "month": "月份", "volunteer": "志愿者"}


def statistics_workbook(session: Session, query: Mapping[str, Any], *, now: datetime) -> bytes:
    """Return the statistics of a query as .xlsx: a sheet of rows with a sum, and one that tells what was asked."""
    # First, as it may be refused: a workbook that was begun and is not closed leaves its files behind.
    total = totals(session, query)
    target = BytesIO()
    book = xlsxwriter.Workbook(
        target,
        {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False},
    )
    bold = book.add_format({"bold": True})
    hours = book.add_format({"num_format": "0.00"})
    bold_hours = book.add_format({"bold": True, "num_format": "0.00"})
    grouping = GROUPINGS[query["group_by"]]
    field = "volunteer_no" if query["group_by"] == "volunteer" else grouping.field
    sheet = book.add_worksheet("统计")
    sheet.set_column(0, 0, 24)
    sheet.set_column(1, 3, 14)
    sheet.freeze_panes(1, 0)
    for column, title in enumerate((grouping.title, "服务时长（分钟）", "服务时长（小时）", "记录数")):
        sheet.write_string(0, column, title, bold)
    line = 0
    for line, row in enumerate(all_rows(session, query), 1):
        sheet.write_string(line, 0, harmless(_text(row[field])))
        sheet.write_number(line, 1, row["minutes"])
        sheet.write_number(line, 2, row["minutes"] / 60, hours)
        sheet.write_number(line, 3, row["entries"])
    sheet.write_string(line + 1, 0, "合计", bold)
    sheet.write_number(line + 1, 1, total["minutes"], bold)
    sheet.write_number(line + 1, 2, total["minutes"] / 60, bold_hours)
    sheet.write_number(line + 1, 3, total["entries"], bold)
    about = book.add_worksheet("说明")
    about.set_column(0, 0, 16)
    about.set_column(1, 1, 32)
    for line, (name, value) in enumerate(_about(query, now)):
        about.write_string(line, 0, name, bold)
        about.write_string(line, 1, harmless(value))
    book.close()
    return target.getvalue()


def _about(query: Mapping[str, Any], now: datetime) -> Iterable[tuple[str, str]]:
    yield "统计方式", f"按{_GROUP_NAMES[query['group_by']]}"
    yield "单位", query.get("unit") or "全部"
    yield "队伍", query.get("team") or "全部"
    yield "活动类别", query.get("category") or "全部"
    yield "起始月份", _text(query["since"]) if query.get("since") else "不限"
    yield "截止月份", _text(query["until"]) if query.get("until") else "不限"
    yield "导出时间", f"{now.astimezone(OFFICE_ZONE):%Y-%m-%d %H:%M:%S}（北京时间）"
    yield "计算口径", "服务时长为台账中有效记录的分钟数之和，已冲正的记录不计入；活动按服务开始之日归入月份。"


def _text(value: Any) -> str:
    return f"{value:%Y-%m}" if isinstance(value, date) else str(value)
