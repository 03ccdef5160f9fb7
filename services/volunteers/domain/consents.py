"""The rules about consents: for what, by whom, and what follows when one is withdrawn."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

from .people import check_consent

CLAUSE_WITHDRAWN = "《中华人民共和国个人信息保护法》第四十七条"
PURPOSES = ("registration", "publication", "photo")
WAYS = ("paper", "online", "spoken")
#: The text that people consent to now.
TEXT_VERSION = "1"


class GivenBy(StrEnum):
    """Who gave a consent."""

    SELF = "self"
    GUARDIAN = "guardian"


class ConsentNotFound(NotFound):
    """There is no such consent"""

    code = "consent.not_found"
    title = "没有这条同意记录"

    def __init__(self, consent_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {consent_id} 的同意记录，请核对编号。", f"No consent has the id {consent_id}; check it."
        )


class ConsentNotYours(RuleError):
    """A volunteer gives and withdraws consents of his own, a guardian those of a guardian"""

    status = 403
    code = "consent.not_yours"
    title = "不能代他人同意或撤回"

    def __init__(self, *, pointer: str | None = None) -> None:
        super().__init__(
            "本人只能作出或撤回本人的同意；监护人的同意由监护人作出，或由工作人员凭书面材料登记。",
            "A volunteer gives and withdraws consents of his own only; that of a guardian is given by the guardian, or "
            "entered by staff from what he signed.",
            pointer=pointer,
        )


class GuardianMissing(RuleError):
    """Who enters the consent of a guardian names him"""

    code = "consent.guardian_missing"
    title = "缺少监护人信息"

    def __init__(self) -> None:
        super().__init__(
            "登记监护人同意时，请填写监护人姓名、电话及与本人的关系。",
            "Name the guardian, with a telephone and how he is related.",
            pointer="/guardian",
        )


class GivenInFuture(RuleError):
    """A consent was given today or before"""

    code = "consent.in_future"
    title = "同意日期在今天之后"

    def __init__(self) -> None:
        super().__init__(
            "同意日期不能晚于今天，请更正。", "A consent is dated today or earlier; correct it.", pointer="/given_on"
        )


class ConsentWithdrawn(Conflict):
    """The guardian withdrew the consent: the person's data are no longer used"""

    code = "consent.withdrawn"
    title = "监护人已撤回同意"
    clause = CLAUSE_WITHDRAWN

    def __init__(self) -> None:
        super().__init__(
            "监护人已撤回同意，本人信息已停止处理；须重新取得同意后方可办理。",
            "The guardian withdrew the consent and the person's data are not used any more: a new consent is needed.",
        )


def giver_of(role: str, given_by: str | None, *, guardian_named: bool) -> GivenBy:
    """Return who gives a consent that somebody in a role enters; raises ``ConsentNotYours``."""
    own = {"volunteer": GivenBy.SELF, "guardian": GivenBy.GUARDIAN}.get(role)
    said = GivenBy(given_by) if given_by else GivenBy.GUARDIAN if guardian_named else None
    if own is not None and said is not None and said is not own:
        raise ConsentNotYours(pointer="/given_by" if given_by else "/guardian")
    return own or said or GivenBy.SELF


def check_giver(giver: GivenBy, role: str, born_on: date, *, guardian_named: bool, given_on: date, today: date) -> None:
    """Check that who gave a consent could, and is named.

    Raises ``ConsentRequired`` for a child's own, ``GuardianMissing``, or ``GivenInFuture``.
    """
    check_consent(born_on, guardian_consented=giver is GivenBy.GUARDIAN, today=today)
    if giver is GivenBy.GUARDIAN and role != "guardian" and not guardian_named:
        raise GuardianMissing
    if given_on > today:
        raise GivenInFuture


def check_withdrawer(role: str, given_by: str) -> None:
    """Check that somebody in a role may withdraw a consent; raises ``ConsentNotYours``."""
    if role == "volunteer" and given_by != GivenBy.SELF:
        raise ConsentNotYours
