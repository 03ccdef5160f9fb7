"""The rules about where a volunteer stands: suspended, back again, left; and what each state allows."""

from __future__ import annotations

from xinhuo.chassis.errors import Conflict

from .people import VolunteerStatus

#: Why the office suspends somebody, with what users read.
SUSPENDED_FOR = {
    "conduct": "违反志愿服务规定",
    "false_record": "志愿服务记录不实",
    "under_review": "情况核查中",
    "own_wish": "本人申请暂停",
    "other": "其他",
}
#: Why somebody leaves, with what users read.
LEFT_FOR = {
    "own_wish": "本人意愿",
    "moved": "迁离",
    "graduated": "毕业或转学",
    "retired": "不再参加服务",
    "other": "其他",
}


class HasLeft(Conflict):
    """Who has left must come back first"""

    code = "volunteer.has_left"
    title = "志愿者已退出"

    def __init__(self) -> None:
        super().__init__(
            "该志愿者已退出，请先恢复登记（resume），再办理本业务。",
            "The volunteer has left: bring the person back first (resume).",
            extra={"status": VolunteerStatus.LEFT.value},
        )


class WaitsForGuardian(Conflict):
    """Who waits for a guardian's consent has nothing yet that could be suspended"""

    code = "volunteer.waits_for_guardian"
    title = "志愿者尚待监护人同意"

    def __init__(self) -> None:
        super().__init__(
            "该志愿者尚待监护人同意，不能参加服务，无需暂停；不再参加的，请办理退出（leave）。",
            "The volunteer waits for a guardian's consent and cannot serve, so there is nothing to suspend; to end the "
            "registration, let the person leave.",
            extra={"status": VolunteerStatus.PENDING_GUARDIAN.value},
        )


def check_suspend(status: VolunteerStatus) -> None:
    """Check that somebody can be suspended; raises ``HasLeft`` or ``WaitsForGuardian``."""
    if status is VolunteerStatus.LEFT:
        raise HasLeft
    if status is VolunteerStatus.PENDING_GUARDIAN:
        raise WaitsForGuardian


def after(
    status: VolunteerStatus, *, verified: bool, consent_missing: bool, identity_unchecked: bool = False
) -> VolunteerStatus:
    """Return where somebody stands whose data were corrected, or who comes back.

    ``verified`` says whether the identity was ever checked, ``identity_unchecked`` that name or number have changed
    since; ``consent_missing`` is said of a child without the consent of a guardian in force.
    """
    if status in {VolunteerStatus.SUSPENDED, VolunteerStatus.LEFT, VolunteerStatus.ERASED}:
        return status
    if consent_missing:
        return VolunteerStatus.PENDING_GUARDIAN
    return VolunteerStatus.VERIFIED if verified and not identity_unchecked else VolunteerStatus.PENDING
