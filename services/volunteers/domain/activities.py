"""The rules about what an activity belongs to: a team, a unit, a notice and one of its categories."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

from .hours import as_instant, spoken


class TeamUnknown(RuleError):
    """An input names a team that is not registered."""

    code = "team.unknown"
    title = "队伍不存在"

    def __init__(self, team_code: str, *, pointer: str = "/team_code") -> None:
        """Name the code of the team."""
        super().__init__(
            f"没有代码为“{team_code}”的队伍，请先登记队伍，或更正代码。",
            f"No team has the code {team_code}; register the team first or correct the code.",
            pointer=pointer,
        )


class TeamCodeTaken(Conflict):
    """Another team already has the code."""

    code = "team.code_taken"
    title = "队伍代码已被使用"

    def __init__(self, team_code: str) -> None:
        """Name the code of the team."""
        super().__init__(
            f"队伍代码“{team_code}”已被登记，请改用其他代码。",
            f"The team code {team_code} is registered; choose another one.",
            pointer="/code",
            extra={"other": team_code},
        )


class UnitUnknown(RuleError):
    """An input names a unit that the register of units does not hold."""

    code = "unit.unknown"
    title = "单位不存在"

    def __init__(self, unit_code: str, *, pointer: str = "/unit_code") -> None:
        """Name the code of the unit."""
        super().__init__(
            f"没有代码为“{unit_code}”的单位，请在单位列表中核对；新登记的单位请稍候再试。",
            f"No unit has the code {unit_code}; look it up in the list of units, or try again shortly "
            "if it was registered just now.",
            pointer=pointer,
        )


class ActivityUnknown(RuleError):
    """An input names an activity that is not registered."""

    code = "activity.unknown"
    title = "活动不存在"

    def __init__(self, *, pointer: str = "/activity_id") -> None:
        """Point to the field that names the activity."""
        super().__init__(
            "所填活动不存在，请先登记活动，或核对编号。",
            "The activity is not registered; register it first or check its id.",
            pointer=pointer,
        )


class ActivityNotFound(NotFound):
    """No activity has this id."""

    code = "activity.not_found"
    title = "活动不存在"

    def __init__(self, activity_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {activity_id} 的活动，请核对编号。",
            f"No activity has the id {activity_id}; check it.",
        )


class InvalidActivityTime(RuleError):
    """An activity must end after it starts."""

    code = "activity.ends_before_start"
    title = "活动结束时间应晚于开始时间"


class NoticeUnknown(RuleError):
    """An input names a notice that has not been issued."""

    code = "notice.unknown"
    title = "通知不存在或未印发"

    def __init__(self, number: str, *, pointer: str = "/notice") -> None:
        """Name the number of the notice."""
        super().__init__(
            f"没有已印发的通知“{number}”，请核对发文字号；刚印发的通知请稍候再试。",
            f"No notice {number} has been issued; check the number, or try again shortly if it was issued just now.",
            pointer=pointer,
        )


class CategoryNotInNotice(RuleError):
    """The category is none of those that the notice names."""

    code = "category.not_in_notice"
    title = "活动类别不在通知范围内"


def check_activity_time(starts_at: datetime, ends_at: datetime) -> tuple[datetime, datetime]:
    """Return start and end of an activity in UTC, or raise ``InvalidActivityTime``."""
    starts_at, ends_at = as_instant(starts_at), as_instant(ends_at)
    if ends_at <= starts_at:
        raise InvalidActivityTime(
            f"活动结束时间（{spoken(ends_at)}）应晚于开始时间（{spoken(starts_at)}），请更正。",
            f"The activity ends ({spoken(ends_at)}) before it starts ({spoken(starts_at)}); correct it.",
            pointer="/ends_at",
        )
    return starts_at, ends_at


def check_category(category: str, allowed: Collection[str], *, number: str, pointer: str = "/category") -> str:
    """Return a category that the notice of this number names, or raise ``CategoryNotInNotice``."""
    if category not in allowed:
        listed = sorted(allowed)
        raise CategoryNotInNotice(
            f"类别“{category}”不在“{number}”规定的范围内，可选：{'、'.join(listed)}。请更正。",
            f"The category {category} is none of those in {number}; choose one of: {', '.join(listed)}.",
            pointer=pointer,
            extra={"allowed": listed},
        )
    return category
