"""The rules about seeing personal data in clear: with a reason, and of a child only with an approval."""

from __future__ import annotations

from datetime import date

from xinhuo.chassis.errors import Conflict, RuleError

from .identity import birth_date_of
from .people import AGE_OF_OWN_CONSENT, age_on

CLAUSE_ACCESS = "《中华人民共和国个人信息保护法》第五十一条"
CLAUSE_CHILDREN = "《未成年人网络保护条例》第三十六条"
#: What can be seen in clear.
FIELDS = ("name", "id_number", "phone")
SHORTEST_REASON, LONGEST_REASON = 4, 200
#: How many days an approval lasts at most.
MOST_DAYS = 7


class UnmaskReasonRequired(RuleError):
    """Who sees personal data in clear must say why"""

    code = "unmask.reason_required"
    title = "查看明文须说明理由"
    clause = CLAUSE_ACCESS

    def __init__(self) -> None:
        super().__init__(
            f"查看个人信息明文须写明理由（{SHORTEST_REASON} 至 {LONGEST_REASON} 字），本次请求已记入审计日志。",
            f"Give a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters for seeing personal data in clear; "
            "this request was entered in the audit log.",
            pointer="/reason",
        )


class UnmaskApprovalRequired(RuleError):
    """The data of a child are shown in clear only with the approval of the data-protection officer"""

    status = 403
    code = "unmask.approval_required"
    title = "查看未满14周岁人员明文须先经批准"
    clause = CLAUSE_CHILDREN

    def __init__(self) -> None:
        super().__init__(
            "本人未满14周岁，须先由个人信息保护负责人批准您查看，本次请求已记入审计日志。",
            "The person is under 14: the data-protection officer must approve first that you see the data; this "
            "request was entered in the audit log.",
            extra={"age_limit": AGE_OF_OWN_CONSENT},
        )


class OwnApproval(Conflict):
    """Nobody approves for himself"""

    code = "unmask.own_approval"
    title = "不能批准本人的申请"
    clause = CLAUSE_CHILDREN

    def __init__(self) -> None:
        super().__init__(
            "不能批准自己查看，请由另一位个人信息保护负责人批准。",
            "Nobody approves for himself: let another data-protection officer do it.",
            pointer="/for_subject",
        )


def check_reason(reason: str | None) -> str:
    """Return the reason; raises ``UnmaskReasonRequired`` without one, or for one of less than four characters."""
    if reason is None or not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        raise UnmaskReasonRequired
    return reason


def is_child(id_number: str, today: date) -> bool:
    """Tell whether the person of a checked identity number is under 14; the birthday itself counts as 14."""
    return age_on(birth_date_of(id_number), today) < AGE_OF_OWN_CONSENT
