"""The rules about what persons may ask for: a copy of everything, and to be erased."""

from __future__ import annotations

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

CLAUSE_ERASURE = "《中华人民共和国个人信息保护法》第四十七条"
CLAUSE_REFUSAL = "《未成年人网络保护条例》第三十四条"
SHORTEST_REASON, LONGEST_REASON = 4, 200


class PersonErased(Conflict):
    """The person was erased; nothing personal is known any more"""

    code = "volunteer.erased"
    title = "本人信息已删除"
    clause = CLAUSE_ERASURE

    def __init__(self) -> None:
        super().__init__(
            "该志愿者的个人信息已应本人要求删除，无法恢复；如再次参加，请重新登记。",
            "The personal data of this volunteer were erased on request and cannot be brought back; to take part "
            "again, the person is registered anew.",
        )


class ErasureNotFound(NotFound):
    """There is no such request for erasure"""

    code = "erasure.not_found"
    title = "没有这项删除申请"

    def __init__(self, request_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {request_id} 的删除申请，请核对编号。",
            f"No request for erasure has the id {request_id}; check it.",
        )


class ErasureDecided(Conflict):
    """The request was decided before"""

    code = "erasure.decided"
    title = "该删除申请已有决定"

    def __init__(self) -> None:
        super().__init__(
            "该删除申请已有决定，不能再改；被拒绝的，本人可重新申请。",
            "The request was decided and stays so; after a refusal the person may ask again.",
        )


class OwnErasure(Conflict):
    """Nobody decides on his own request"""

    code = "erasure.own_request"
    title = "不能决定本人的申请"

    def __init__(self) -> None:
        super().__init__(
            "不能决定自己提出的删除申请，请由另一位个人信息保护负责人决定。",
            "Nobody decides on a request of his own: let another data-protection officer do it.",
        )


class RefusalNeedsReason(RuleError):
    """Who refuses an erasure says why"""

    code = "erasure.reason_required"
    title = "拒绝删除须书面说明理由"
    clause = CLAUSE_REFUSAL

    def __init__(self) -> None:
        super().__init__(
            f"拒绝删除须写明理由（{SHORTEST_REASON} 至 {LONGEST_REASON} 字），以便告知申请人。",
            f"Give a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters for a refusal: the person is told it.",
            pointer="/reason",
        )


def check_decision(*, granted: bool, reason: str | None) -> None:
    """Check that a refusal has a reason; raises ``RefusalNeedsReason``."""
    if not granted and (reason is None or len(reason) < SHORTEST_REASON):
        raise RefusalNeedsReason
