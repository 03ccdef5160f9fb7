"""The rules of service time: when an entry counts, how much a day holds, and how an entry is taken back.

Service time is half-open, from ``started_at`` up to ``ended_at``. A date-time without a zone is read as
office time (Asia/Shanghai); results are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from xinhuo.chassis.errors import Conflict, NotFound, PermanentEventError, RuleError

OFFICE_ZONE = ZoneInfo("Asia/Shanghai")
CLAUSE_TIME = "《志愿服务记录与证明出具办法（试行）》第七条"
MINUTES_PER_DAY = 1440


class InvalidHours(RuleError):
    """The minutes must be a whole number from 1 to 1440 and no more than the time between start and end."""

    code = "hours.invalid"
    title = "服务时间不正确"
    clause = CLAUSE_TIME


class ImpossibleMinutes(PermanentEventError):
    """An event carries minutes that no ledger entry can hold."""

    code = "event.impossible_minutes"
    title = "事件中的分钟数不是 1 至 1440"


class EndsBeforeStart(RuleError):
    """Service must end after it starts."""

    code = "hours.ends_before_start"
    title = "结束时间应晚于开始时间"
    clause = CLAUSE_TIME


class ServedInFuture(RuleError):
    """Only service that is over can be entered."""

    code = "hours.in_future"
    title = "服务尚未结束"
    clause = CLAUSE_TIME


class OutsideActivity(RuleError):
    """The service must lie within the time of its activity."""

    code = "hours.outside_activity"
    title = "服务时间不在活动时间内"
    clause = CLAUSE_TIME

    def may_hold(self, day: date) -> bool:
        """Say whether any time of an office day lies within the activity, whose end is not part of it."""
        opens_at, closes_at = (
            datetime.fromisoformat(str(self.extra[key])) for key in ("activity_starts_at", "activity_ends_at")
        )
        return local_date(opens_at) <= day <= local_date(closes_at - timedelta(microseconds=1))


class OverlappingService(Conflict):
    """The person served elsewhere at the same time."""

    code = "hours.overlap"
    title = "服务时间重叠"
    clause = CLAUSE_TIME

    def __init__(self, other: str | None, span: tuple[datetime, datetime] | None = None) -> None:
        """Name the id of the entry that covers the same time, and its start and end where they are known.

        Of one that is out of reach nothing is said but that there is one.
        """
        if other is None:
            super().__init__(
                "与该志愿者在其他单位或队伍的记录时间重叠，请向本人核对起止时间，或请局工作人员处理。",
                "The time overlaps an entry of the volunteer elsewhere; check it with the person, or ask the bureau.",
                pointer="/started_at",
            )
            return
        when = f"{spoken_span(*span)}，" if span else ""
        when_en = f" ({spoken_span(*span)})" if span else ""
        super().__init__(
            f"与该志愿者已有的记录（{when}编号 {other}）时间重叠，请核对起止时间，或先冲正那条记录。",
            f"The time overlaps entry {other}{when_en} of the volunteer; check start and end or reverse that entry.",
            pointer="/started_at",
            extra={"other": other},
        )


class DayLimitExceeded(RuleError):
    """The day has less time left than the entry needs."""

    code = "hours.day_limit"
    title = "超过单日服务时间上限"


class EntryNotFound(NotFound):
    """No ledger entry has this id."""

    code = "entry.not_found"
    title = "记录不存在"

    def __init__(self, entry_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {entry_id} 的记录，请核对编号。",
            f"No entry has the id {entry_id}; check it.",
        )


class EntryAlreadyReversed(Conflict):
    """An entry can be reversed once."""

    code = "entry.already_reversed"
    title = "记录已冲正"

    def __init__(self, other: str) -> None:
        """Name the id of the reversal."""
        super().__init__(
            f"该记录已被 {other} 冲正，无需重复操作；如需恢复，请重新录入。",
            f"The entry was reversed by {other}; enter the hours again if they count after all.",
            extra={"other": other},
        )


class ReversalIsFinal(Conflict):
    """A reversal cannot be reversed itself."""

    code = "entry.is_reversal"
    title = "冲正记录不能再冲正"

    def __init__(self) -> None:
        """Say what to do instead."""
        super().__init__(
            "这是一条冲正记录，不能再冲正；如原时间确应计入，请重新录入。",
            "This entry is a reversal and cannot be reversed; enter the hours again if they count after all.",
        )


def as_instant(at: datetime) -> datetime:
    """Return an instant in UTC; one without a zone is read as office time."""
    return (at if at.tzinfo is not None else at.replace(tzinfo=OFFICE_ZONE)).astimezone(UTC)


def local_date(at: datetime) -> date:
    """Return the office day of an instant."""
    return as_instant(at).astimezone(OFFICE_ZONE).date()


def spoken(at: datetime) -> str:
    """Return an instant in office time, to the minute: ``2020-03-05 09:30``."""
    return f"{as_instant(at).astimezone(OFFICE_ZONE):%Y-%m-%d %H:%M}"


def spoken_span(starts: datetime, ends: datetime) -> str:
    """Return start and end in office time, the day once if it is the same: ``2020-03-05 09:00–11:00``."""
    end = spoken(ends)
    return f"{spoken(starts)}–{end.rpartition(' ')[2] if local_date(starts) == local_date(ends) else end}"


@dataclass(frozen=True, slots=True)
class DayLimit:
    """How many minutes one person may serve in a day, and over how many the day is shown to reviewers."""

    minutes: int
    attention_over: int
    clause: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that contradict each other."""
        if not 0 < self.attention_over <= self.minutes <= MINUTES_PER_DAY:
            raise ValueError("0 < attention_over <= minutes <= 1440 must hold")

    @classmethod
    def of(cls, values: Mapping[str, Any], clause: str | None = None) -> DayLimit:
        """Read the values of a rule file."""
        return cls(values["minutes"], values["attention_over"], clause)


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Service time that keeps the rules: half-open, in UTC, with the office day it belongs to."""

    started_at: datetime
    ended_at: datetime
    minutes: int
    served_on: date


def check_minutes(minutes: object, *, pointer: str = "/minutes") -> int:
    """Return the minutes of an entry: a whole number from 1 to 1440, not a text, a half or a truth value."""
    # bool is an int in Python; True is no minute.
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= MINUTES_PER_DAY:
        raise InvalidHours(
            f"服务分钟数应为1至{MINUTES_PER_DAY}之间的整数（例如2小时填120），请更正。",
            f"The minutes must be a whole number, 1 to {MINUTES_PER_DAY} (2 hours are 120); correct them.",
            pointer=pointer,
        )
    return minutes


def check_hours(
    started_at: datetime,
    ended_at: datetime,
    minutes: object,
    *,
    now: datetime,
    activity: tuple[datetime, datetime] | None = None,
) -> ServiceTime:
    """Return the service time of an entry when it keeps every rule that needs no other entry.

    ``activity`` is the start and end of the activity, which the service must not leave. Travel does not
    count, so the minutes may be fewer than the span, never more. Raises ``InvalidHours``,
    ``EndsBeforeStart``, ``ServedInFuture`` or ``OutsideActivity``.
    """
    minutes = check_minutes(minutes)
    started_at, ended_at, now = as_instant(started_at), as_instant(ended_at), as_instant(now)
    if ended_at <= started_at:
        raise EndsBeforeStart(
            f"结束时间（{spoken(ended_at)}）应晚于开始时间（{spoken(started_at)}），请更正。",
            f"The end ({spoken(ended_at)}) must be after the start ({spoken(started_at)}); correct them.",
            pointer="/ended_at",
        )
    # 办法第七条: 服务时间是实际提供志愿服务的时间。 Less than a whole minute is none.
    span = (ended_at - started_at) // timedelta(minutes=1)
    if minutes > span:
        raise InvalidHours(
            f"服务分钟数（{minutes}）超过起止时间的间隔（{span}分钟），请更正。",
            f"The minutes ({minutes}) are more than the {span} between start and end; correct them.",
            pointer="/minutes",
            extra={"span": span},
        )
    if ended_at > now:
        raise ServedInFuture(
            f"服务到 {spoken(ended_at)} 才结束，请在结束后录入，或更正时间。",
            f"The service ends at {spoken(ended_at)}, yet to come; enter it afterwards or correct it.",
            pointer="/ended_at",
        )
    if activity is not None:
        _check_within(started_at, ended_at, as_instant(activity[0]), as_instant(activity[1]))
    return ServiceTime(started_at, ended_at, minutes, local_date(started_at))


def _check_within(started_at: datetime, ended_at: datetime, opens_at: datetime, closes_at: datetime) -> None:
    if opens_at <= started_at and ended_at <= closes_at:
        return
    opens, closes = spoken(opens_at), spoken(closes_at)
    raise OutsideActivity(
        f"服务时间应在活动时间内（{opens} 至 {closes}），请更正时间，或新建时间相符的活动。",
        f"The service must lie within the activity ({opens} to {closes}); correct it, "
        "or register an activity of that time.",
        pointer="/started_at" if started_at < opens_at else "/ended_at",
        extra={"activity_starts_at": opens_at.isoformat(), "activity_ends_at": closes_at.isoformat()},
    )


def check_day_limit(minutes_before: int, minutes: int, *, served_on: date, limit: DayLimit) -> bool:
    """Return whether the day needs a reviewer's attention once the entry is in; raises ``DayLimitExceeded``.

    ``minutes_before`` are those already in the ledger for this person and day, reversed ones taken off.
    """
    total = minutes_before + minutes
    if total > limit.minutes:
        left = max(limit.minutes - minutes_before, 0)
        raise DayLimitExceeded(
            f"{served_on.isoformat()} 已记录{minutes_before}分钟，单日上限{limit.minutes}分钟，"
            f"最多还可录入{left}分钟，请更正。",
            f"{served_on.isoformat()} holds {minutes_before} minutes and at most {limit.minutes}; "
            f"{left} are left, correct the entry.",
            pointer="/minutes",
            extra={"limit": limit.minutes, "recorded": minutes_before, "left": left},
            clause=limit.clause,
        )
    return total > limit.attention_over


def check_reversal(*, is_reversal: bool, reversed_by: str | None) -> None:
    """Check that an entry can be taken back: it is no reversal, and none names it yet."""
    if is_reversal:
        raise ReversalIsFinal
    if reversed_by is not None:
        raise EntryAlreadyReversed(reversed_by)


def check_counted(minutes: int) -> int:
    """Return the minutes that an event says were entered or taken back; raises ImpossibleMinutes."""
    if not 1 <= minutes <= MINUTES_PER_DAY:
        raise ImpossibleMinutes(f"an entry holds 1 to {MINUTES_PER_DAY} minutes, not {minutes}")
    return minutes
