"""Cells as people fill them in, made into dates, times, numbers and texts; each raises the error of its cell."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta
from typing import TypeAlias

from .. import domain
from ..domain.workbook_cells import (
    CellNotDate,
    CellNotTime,
    CellOnOtherDay,
    CellTooLong,
    EndsNextDay,
)

#: What the reader of workbooks gives for a cell; an empty cell is the empty text.
Value: TypeAlias = "str | float | bool | int | date | time | datetime | timedelta"

MIDNIGHT = timedelta(0)
DAY = timedelta(days=1)
LONGEST_CODE = 64
#: Days counted by the two systems of dates: 1900 is that of Windows, 1904 that of old Macs.
_EPOCHS = {False: date(1899, 12, 30), True: date(1904, 1, 1)}
_LAST_SERIAL = 2_958_465

_FIRST_YEAR, _LAST_YEAR = 1900, 2999
_DATE = re.compile(r"([0-9]{4})\s*[-/.年]\s*([0-9]{1,2})\s*[-/.月]\s*([0-9]{1,2})\s*日?(?:\s*00?:00(?::00)?)?")
_DATE_DIGITS = re.compile(r"([12][0-9]{3})([0-9]{2})([0-9]{2})")
_HALF = r"(上午|早上|早晨|下午|晚上|中午|am|pm)?"
_TIME = re.compile(
    rf"{_HALF}\s*([0-9]{{1,2}})\s*[::时点]\s*([0-9]{{1,2}}|半)?\s*分?(?:\s*:\s*([0-9]{{1,2}}))?\s*{_HALF}",
    re.IGNORECASE,
)
_WITH_DATE = re.compile(r"([0-9]{4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,2}日?)[\sT]+(.+)", re.IGNORECASE)
_AFTERNOON = {"下午", "晚上", "pm"}
_BEFORE_NOON = {"上午", "早上", "早晨", "am"}


def is_blank(value: Value) -> bool:
    """Say whether nothing can be seen in a cell."""
    return isinstance(value, str) and not value.strip(" \t\r\n\u00a0\u3000\u200b\ufeff")


def as_text(value: Value) -> str:
    """Return a cell as text: trimmed, full-width digits narrowed, a whole number without its decimals."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = domain.normalise(str(value).replace("\u00a0", " ")).strip()
    # An apostrophe forces text in a spreadsheet; pasted from elsewhere it is part of the text.
    return text.lstrip("'’`").strip() if not isinstance(value, float) else text


def as_code(value: Value) -> str:
    """Return a cell that holds an id or code; raises CellTooLong."""
    text = as_text(value)
    if len(text) > LONGEST_CODE:
        raise CellTooLong
    return text


def as_name(value: Value) -> str:
    """Return a cell that holds a person's name; raises InvalidName."""
    return domain.check_name(as_text(value))


def as_id_number(value: Value, today: date) -> str:
    """Return a cell that holds an identity number; raises what ``domain.check_id_number`` raises.

    A number cell keeps 15 digits: the others are lost whatever the cell shows.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= 1e15:
        return domain.check_id_number(f"{float(value):.5E}", today=today).number
    return domain.check_id_number(as_text(value), today=today).number


def as_date(value: Value, *, epoch_1904: bool = False) -> date:
    """Return a date cell: a date, a serial number of either system, or text; raises CellNotDate.

    As everywhere, the years 1900 to 2999 are taken.
    """
    day = _any_date(value, epoch_1904=epoch_1904)
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise CellNotDate
    return day


def _any_date(value: Value, *, epoch_1904: bool) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, float | int) and not isinstance(value, bool):
        return _date_of_number(float(value), epoch_1904)
    if isinstance(value, str):
        text = as_text(value)
        match = _DATE.fullmatch(text) or _DATE_DIGITS.fullmatch(text)
        if match:
            return _date(int(match[1]), int(match[2]), int(match[3]))
        if re.fullmatch(r"[0-9]{5}(\.0+)?", text):
            return _date_of_number(float(text), epoch_1904)
    raise CellNotDate


def _date_of_number(number: float, epoch_1904: bool) -> date:
    if math.isfinite(number) and 1 <= number <= _LAST_SERIAL:
        return _EPOCHS[epoch_1904] + timedelta(days=int(number))
    digits = _DATE_DIGITS.fullmatch(str(int(number))) if math.isfinite(number) and number == int(number) else None
    if digits:
        return _date(int(digits[1]), int(digits[2]), int(digits[3]))
    raise CellNotDate


def _date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise CellNotDate from None


def as_clock(value: Value, served_on: date, *, epoch_1904: bool = False) -> timedelta:
    """Return a time cell as the time since midnight, 24:00 included.

    Raises CellNotTime, or CellOnOtherDay when the cell names a day other than ``served_on``.
    """
    if isinstance(value, datetime):
        # Spreadsheets keep a bare time as a moment of the system's first days.
        if value.year > 1904 and value.date() != served_on:
            raise CellOnOtherDay
        return _since_midnight(value.time())
    if isinstance(value, time):
        return _since_midnight(value)
    if isinstance(value, timedelta):
        return _within_day(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        return _clock_of_number(float(value), served_on, epoch_1904)
    if isinstance(value, str):
        return _clock_of_text(value, served_on)
    raise CellNotTime


def _since_midnight(at: time) -> timedelta:
    return _whole_seconds(timedelta(hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond))


def _whole_seconds(span: timedelta) -> timedelta:
    """Round to the second: a third of a day has no exact form in a spreadsheet."""
    return timedelta(seconds=round(span.total_seconds()))


def _within_day(span: timedelta) -> timedelta:
    span = _whole_seconds(span)
    if not MIDNIGHT <= span <= DAY:
        raise CellNotTime
    return span


def _clock_of_number(number: float, served_on: date, epoch_1904: bool) -> timedelta:
    if not math.isfinite(number) or not 0 <= number <= _LAST_SERIAL:
        raise CellNotTime
    if number <= 1:
        return _within_day(timedelta(days=number))
    if number == int(number):
        # 9 or 900: an hour or a day is a guess.
        raise CellNotTime
    if _date_of_number(number, epoch_1904) != served_on:
        raise CellOnOtherDay
    return _within_day(timedelta(days=number - int(number)))


def _clock_of_text(value: str, served_on: date) -> timedelta:
    text = as_text(value).replace("：", ":").replace("∶", ":")
    if dated := _WITH_DATE.fullmatch(text):
        if as_date(dated[1]) != served_on:
            raise CellOnOtherDay
        text = dated[2]
    match = _TIME.fullmatch(text)
    if not match or (match[1] and match[5]):
        raise CellNotTime
    if match[3] is None and ":" in text:
        raise CellNotTime
    half = (match[1] or match[5] or "").lower()
    hours = int(match[2])
    minutes = 30 if match[3] == "半" else int(match[3] or 0)
    seconds = int(match[4] or 0)
    if half in _AFTERNOON and 1 <= hours < 12:
        hours += 12
    elif half in _BEFORE_NOON and hours == 12:
        hours = 0
    if hours > 24 or minutes > 59 or seconds > 59:
        raise CellNotTime
    return _within_day(timedelta(hours=hours, minutes=minutes, seconds=seconds))


def service_span(served_on: date, starts: timedelta, ends: timedelta) -> tuple[datetime, datetime]:
    """Return start and end of a row in office time; raises EndsNextDay when the end is not after the start."""
    if ends <= starts:
        raise EndsNextDay
    midnight = datetime.combine(served_on, time())
    return midnight + starts, midnight + ends


def as_minutes(value: Value) -> int:
    """Return a cell that holds whole minutes; raises InvalidHours."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return domain.check_minutes(int(value))
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,5})(?:\.0+)?\s*(?:分钟|分)?", as_text(value))):
        return domain.check_minutes(int(match[1]))
    return domain.check_minutes(value if isinstance(value, int) else None)
