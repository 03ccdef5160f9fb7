"""Why a unit or a draft of a notice is refused; each error names what is wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from xinhuo.chassis.errors import RuleError

CLAUSE_NOT_VOLUNTEER = "《志愿服务记录与证明出具办法（试行）》第十九条：不属于志愿服务的，不得记录志愿服务时间"


class UnitKindUnknown(RuleError):
    """The kind of unit is not in the list in force."""

    code = "unit.kind_unknown"
    title = "没有这个单位类别"

    def __init__(self, kind: str, pointer: str, allowed: Mapping[str, str]) -> None:
        """Name the kind and the allowed ones."""
        super().__init__(
            f"没有单位类别“{kind}”，可用的有：{_listed(allowed)}。",
            f"There is no kind of unit {kind!r}; use one of {', '.join(allowed)}.",
            pointer=pointer,
            extra={"allowed": dict(allowed)},
        )


class UnitInDraftUnknown(RuleError):
    """A draft names a unit that the register does not hold."""

    code = "notice.unit_unknown"
    title = "通知中的单位代码不存在"

    def __init__(self, unit_code: str, pointer: str) -> None:
        """Name the code."""
        super().__init__(
            f"没有代码为“{unit_code}”的单位，请先登记该单位，或更正代码。",
            f"No unit has the code {unit_code}; register it first or correct the code.",
            pointer=pointer,
        )


class NamedTwice(RuleError):
    """Two parts of a notice that must differ have the same code or name."""

    code = "notice.named_twice"
    title = "代码或名称重复"

    def __init__(self, name: str, pointer: str) -> None:
        """Name what stands twice."""
        super().__init__(
            f"“{name}”重复出现，请改用不同的代码，或只保留一项。",
            f"{name!r} stands twice; give one another code or remove it.",
            pointer=pointer,
        )


class ServiceClassUnknown(RuleError):
    """The service class is not in the national list in force."""

    code = "category.service_class_unknown"
    title = "没有这个服务类别代码"

    def __init__(self, service_class: str, pointer: str, allowed: Mapping[str, str]) -> None:
        """Name the class and the allowed ones."""
        super().__init__(
            f"没有服务类别代码“{service_class}”，可用的有：{_listed(allowed)}。",
            f"There is no service class {service_class!r}; use one of {', '.join(allowed)}.",
            pointer=pointer,
            extra={"allowed": dict(allowed)},
        )


class ReasonNotFitting(RuleError):
    """A category that gives no hours needs a reason of the list, and one that gives hours has none."""

    code = "category.reason_not_fitting"
    title = "“不计时数”的理由不正确"
    clause = CLAUSE_NOT_VOLUNTEER

    def __init__(self, counts_hours: bool, pointer: str, allowed: Mapping[str, str]) -> None:
        """Say which of the two is wrong."""
        if counts_hours:
            super().__init__(
                "计时数的活动不能填写“不计时数”的理由，请去掉理由，或把 counts_hours 改为 false。",
                "An activity that counts hours has no reason against it; remove it or change counts_hours.",
                pointer=pointer,
            )
            return
        super().__init__(
            f"不计时数的活动须说明理由，可用的有：{_listed(allowed)}。",
            f"An activity that counts no hours needs a reason; use one of {', '.join(allowed)}.",
            pointer=pointer,
            extra={"allowed": dict(allowed)},
        )


class ParentCycle(RuleError):
    """A unit cannot stand, over any number of steps, above itself."""

    code = "unit.parent_cycle"
    title = "上级单位形成循环"

    def __init__(self, unit_code: str, parent_code: str) -> None:
        """Name both units."""
        super().__init__(
            f"“{parent_code}”是“{unit_code}”的下级，不能作为它的上级，请另选上级单位。",
            f"{parent_code} is below {unit_code} and cannot be its parent; choose another one.",
            pointer="/parent_code",
        )


class DeadlineMissing(RuleError):
    """An obligation cannot be forfeited at a deadline that it does not have."""

    code = "obligation.deadline_missing"
    title = "缺少截止日期"


class DueBeforeIssued(RuleError):
    """An obligation was due before its notice was made out."""

    code = "obligation.due_before_issued"
    title = "截止日期早于印发日期"


class BeyondAddressees(RuleError):
    """An obligation binds units that the notice is not addressed to."""

    code = "obligation.beyond_addressees"
    title = "任务涉及主送单位以外的单位"


class NoticeTooLarge(RuleError):
    """The notice would be announced by an event larger than events may be."""

    code = "notice.too_large"
    title = "通知涉及的单位和任务过多"

    def __init__(self, units: int, duties: int, limit: int) -> None:
        """Say how large the notice is."""
        super().__init__(
            f"通知涉及 {units} 个单位、{duties} 项单位任务，"
            f"超出一份通知可以下发的规模（{limit // 1024} KiB），请拆成几份通知，或缩小部分任务的单位范围。",
            f"The notice binds {units} units with {duties} duties, more than one announcement can carry "
            f"({limit // 1024} KiB); split it into several notices or narrow some obligations.",
            pointer="/obligations",
            extra={"units": units, "duties": duties, "limit": limit},
        )


def _listed(words: Mapping[str, str]) -> str:
    return "、".join(f"{code} {label}" for code, label in words.items())
