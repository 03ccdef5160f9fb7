"""Odd workbooks for tests, made with openpyxl or put together part by part."""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from typing import Any

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

TODAY = date(2026, 3, 1)
HEADERS = ("姓名", "身份证号", "志愿者编号", "活动编号", "服务日期", "开始时间", "结束时间", "服务分钟", "备注")
ID_NUMBER = "440700198001010005"
GOOD: tuple[Any, ...] = ("赵安安", ID_NUMBER, None, "HD-2020-0001", date(2020, 3, 5), time(9), time(11), None, None)


def saved(book: Workbook) -> bytes:
    """Return a workbook's bytes."""
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def hours(
    *rows: Sequence[Any],
    headers: Sequence[Any] = HEADERS,
    above: Sequence[Sequence[Any]] = (),
    change: Callable[[Worksheet], object] | None = None,
) -> bytes:
    """Return a workbook with these headers and rows; ``change`` may do the rest to its sheet."""
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    sheet.title = "时数"
    for row in (*above, headers, *rows):
        sheet.append(list(row) or [None])
    if change is not None:
        change(sheet)
    return saved(book)


def row_with(**cells: Any) -> list[Any]:
    """Return a row without a mistake, but for the cells given by header."""
    values = dict(zip(HEADERS, GOOD, strict=True)) | cells
    return [values[header] for header in HEADERS]


def repacked(
    data: bytes, add: Mapping[str, bytes] | None = None, replace: Mapping[str, tuple[bytes, bytes]] | None = None
) -> bytes:
    """Return the same package with members added, or with a text replaced in members."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.infolist():
            content = source.read(member)
            if replace and member.filename in replace:
                old, new = replace[member.filename]
                assert old in content, f"{old!r} is not in {member.filename}"
                content = content.replace(old, new)
            target.writestr(member.filename, content)
        for name, content in (add or {}).items():
            target.writestr(name, content)
    return out.getvalue()
