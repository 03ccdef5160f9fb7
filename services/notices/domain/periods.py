"""The periods of campaigns, the deadlines of obligations, and what comes of being late.

A date-time without a zone is read as office time (Asia/Shanghai); results are aware and in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from xinhuo.chassis.errors import Conflict, RuleError

OFFICE_ZONE = ZoneInfo("Asia/Shanghai")

CLAUSE_LAST_DAY = "参照《民法典》第二百零三条：最后一日的截止时间为二十四时"

# What lies outside was mistyped, and would overflow the calendar at its very end.
PLAUSIBLE_YEARS = range(1949, 2200)

_HALF_WIDTH_DIGITS = str.maketrans("０１２３４５６７８９", "0123456789")


class InvalidPeriod(RuleError):
    """The period of the campaign cannot be read, ends before it starts, or is implausible."""

    code = "period.invalid"
    title = "活动时间不正确"


class ImplausibleDate(RuleError):
    """The date lies in a year that no notice can mean."""

    code = "date.implausible"
    title = "日期超出合理范围"


class DeadlinePassed(Conflict):
    """The obligation closed at its deadline and what comes later is forfeited."""

    code = "deadline.passed"
    title = "已超过截止时间"
    clause = CLAUSE_LAST_DAY

    def __init__(self, deadline: datetime, now: datetime) -> None:
        """Name the first instant that was late and the present one."""
        super().__init__(
            f"报送已于 {_spoken_deadline(deadline)} 截止，逾期视为放弃；如有特殊情况，请与发文单位联系。",
            f"Submission closed at {_spoken_deadline(deadline)} office time; a late one counts as forfeited. "
            "Contact the issuing office if there is a special reason.",
            extra={"deadline": _iso(deadline), "now": _iso(now)},
        )


@dataclass(frozen=True, slots=True)
class Period:
    """When a campaign runs: half-open, in UTC; without an end it runs until it is closed."""

    starts_at: datetime
    ends_at: datetime | None

    def holds(self, at: datetime) -> bool:
        """Say whether an instant lies in the period."""
        at = as_instant(at)
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


_PARTIAL_DATE = re.compile(r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2}))?")
_PHRASE = re.compile(
    r"[从自]?(?P<m1>[0-9]{1,2})月(?:(?P<d1>[0-9]{1,2})日)?"
    r"(?:(?P<open>起)|(?:至|到|—|－|-|~)(?:(?P<m2>[0-9]{1,2})月)?(?:(?P<d2>[0-9]{1,2})日)?)?"
)


def campaign_period(starts: str, ends: str | None = None) -> Period:
    """Return the period of a campaign given by its first and last month or day, both included.

    ``campaign_period("2020-03", "2020-04")`` runs from 1 March 00:00 to 30 April 24:00 office time; without
    ``ends`` the period is open. Raises ``InvalidPeriod``.
    """
    starts_at = _start_of(_first_day(starts, "/starts"))
    if ends is None:
        return Period(starts_at, None)
    # 民法典 第一千二百五十九条: “届满”包括本数，故末月、末日计算在内。
    ends_at = _start_of(_day_after(ends, "/ends"))
    if ends_at <= starts_at:
        raise InvalidPeriod(
            f"活动结束时间（{ends}）早于开始时间（{starts}），请更正。",
            f"The campaign ends ({ends}) before it starts ({starts}); correct one of them.",
            pointer="/ends",
        )
    return Period(starts_at, ends_at)


def period_of_phrase(phrase: str, year: int) -> Period:
    """Return the period that a notice of a year means by ``3月至4月``, ``3月5日至25日`` or ``从3月1日起``."""
    match = _PHRASE.fullmatch(re.sub(r"\s", "", phrase).translate(_HALF_WIDTH_DIGITS))
    if match is None or (match["open"] is None and _lacks_its_end(match)):
        raise InvalidPeriod(
            "活动时间无法识别，请写成“3月至4月”“3月5日至25日”或“从3月1日起”，或直接填写起止日期。",
            "The period cannot be read; write 3月至4月, 3月5日至25日 or 从3月1日起, or enter the dates.",
            pointer="/period",
        )
    starts = _partial(year, match["m1"], match["d1"])
    if match["open"]:
        return campaign_period(starts)
    return campaign_period(starts, _partial(year, match["m2"] or match["m1"], _last_day_of(match)))


def _lacks_its_end(match: re.Match[str]) -> bool:
    """Say whether a phrase ends in a bare 至, or names a last day after a first month without one."""
    bare = match["m2"] is None and match["d2"] is None and not match[0].endswith(("月", "日"))
    return bare or (match["m2"] is None and match["d2"] is not None and match["d1"] is None)


def _last_day_of(match: re.Match[str]) -> str | None:
    """Return the last day of a phrase; a phrase that names one day only ends on it."""
    one_part = match["m2"] is None and match["d2"] is None
    return match["d1"] if one_part else match["d2"]


def _partial(year: int, month: str, day: str | None) -> str:
    return f"{year:04}-{int(month):02}" + (f"-{int(day):02}" if day else "")


def _first_day(text: str, pointer: str) -> date:
    """Return the first day that a month or a day written as ``2020-03`` or ``2020-03-05`` covers."""
    match = _PARTIAL_DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        day = date(int(match[1]), int(match[2]), int(match[3] or 1))
    except ValueError:
        raise InvalidPeriod(
            f"“{text}”不是有效的月份或日期，请写成 2020-03 或 2020-03-05。",
            f"{text!r} is no month or day of the calendar; write 2020-03 or 2020-03-05.",
            pointer=pointer,
        ) from None
    return check_plausible(day, pointer)


def _day_after(text: str, pointer: str) -> date:
    """Return the day after the last one that a month or a day covers."""
    first = _first_day(text, pointer)
    if len(text) > len("2020-03"):
        return first + timedelta(days=1)
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1)


def check_plausible(day: date, pointer: str) -> date:
    """Return a date that a notice can mean, or raise ``ImplausibleDate``."""
    if day.year not in PLAUSIBLE_YEARS:
        raise ImplausibleDate(
            f"日期 {day.isoformat()} 不在 1949 年至 2199 年之间，请核对年份。",
            f"The date {day.isoformat()} is not between 1949 and 2199; check the year.",
            pointer=pointer,
        )
    return day


def due_at(due_on: date) -> datetime:
    """Return the first instant that is late for something due by (前) a day: its 24:00 office time, in UTC.

    The day itself counts. A fixed date is not moved by weekends or holidays unless the notice says so.
    Raises ``ImplausibleDate``.
    """
    # 参照《民法典》第二百零三条: 期间的最后一日的截止时间为二十四时。
    return _start_of(check_plausible(due_on, "/due_on") + timedelta(days=1))


def is_late(submitted_at: datetime, due_at: datetime) -> bool:
    """Say whether a submission came too late: 23:59:59 of the last day is in time, 24:00:00 is not."""
    return as_instant(submitted_at) >= as_instant(due_at)


def as_instant(at: datetime) -> datetime:
    """Return an instant in UTC; one without a zone is read as office time."""
    return (at if at.tzinfo is not None else at.replace(tzinfo=OFFICE_ZONE)).astimezone(UTC)


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), OFFICE_ZONE).astimezone(UTC)


def _iso(at: datetime) -> str:
    return as_instant(at).astimezone(OFFICE_ZONE).isoformat(timespec="seconds")


def _spoken_deadline(deadline: datetime) -> str:
    """Return a deadline in office time, midnight as 24:00 of the day that ends."""
    local = as_instant(deadline).astimezone(OFFICE_ZONE)
    if local.time() == time():
        return f"{local.date() - timedelta(days=1)} 24:00"
    return f"{local:%Y-%m-%d %H:%M:%S}"


class ObligationKind(StrEnum):
    """What a notice asks units for."""

    YEAR_PLAN = "year_plan"
    PLAN = "plan"
    ACTIVITY_MATERIAL = "activity_material"
    NEWS_LEAD = "news_lead"
    NEWS = "news"
    MAJOR_EVENT = "major_event"
    PHOTOS = "photos"
    SUMMARY = "summary"
    MONTHLY_REPORT = "monthly_report"
    REPORT = "report"
    NOMINATION = "nomination"


class LatenessPolicy(StrEnum):
    """What happens to an obligation that is not met in time."""

    LATE_FLAG = "late_flag"
    """Accepted, and marked as late."""
    FORFEIT = "forfeit"
    """Refused: 逾期视为放弃."""
    REMINDER = "reminder"
    """Nothing but a reminder."""
    NONE = "none"
    """Nothing."""


def check_submission(submitted_at: datetime, due_at: datetime | None, policy: LatenessPolicy) -> bool:
    """Return whether a submission is to be marked as late; raises ``DeadlinePassed`` when it is forfeited.

    台教办〔2020〕6号: nominations that arrive after the day count as given up (逾期视为放弃参评).
    """
    if due_at is None or not is_late(submitted_at, due_at):
        return False
    if policy is LatenessPolicy.FORFEIT:
        raise DeadlinePassed(due_at, submitted_at)
    return policy is LatenessPolicy.LATE_FLAG
