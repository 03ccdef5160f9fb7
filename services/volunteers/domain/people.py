"""The rules about a volunteer: telephone, age, consent, and where the person stands.

Errors about personal data say what is wrong and never hold the data, so that nothing can leak into a log.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum

import phonenumbers

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

from .names import hidden, normalise

CLAUSE_CONSENT = "《中华人民共和国个人信息保护法》第三十一条"
AGE_OF_OWN_CONSENT = 14


class InvalidPhone(RuleError):
    """A telephone must be a mobile number of the Chinese mainland."""

    code = "phone.invalid"
    title = "手机号码格式不正确"


_PHONE_REASONS = {
    "hidden": (
        "手机号码中含有不可见字符（常见于从通讯录粘贴），请手工输入。",
        "The number holds characters that cannot be seen, as pasted contacts often do; type it.",
    ),
    "letters": (
        "手机号码中只能有数字，请更正。",
        "A mobile number holds digits only; correct it.",
    ),
    "foreign": (
        "只接受中国内地手机号码（+86），请更换。",
        "Only mobile numbers of the Chinese mainland (+86) are taken; give another one.",
    ),
    "landline": (
        "请填写手机号码，不接受固定电话。",
        "Give a mobile number; landlines are not taken.",
    ),
    "length": (
        "手机号码应为11位，请核对后重新填写。",
        "A mobile number has 11 digits; check it and enter it again.",
    ),
    "prefix": (
        "手机号码应以13至19开头，请核对后重新填写。",
        "A mobile number starts with 13 to 19; check it and enter it again.",
    ),
}
_MAINLAND = 86
_SEPARATORS = re.compile("[ \u00a0\\-\u2010-\u2015\uff0d()（）]")
#: What may stand before the eleven digits: the country's code in its spellings, or the 0 of long-distance calls.
_BEFORE = frozenset({"", "0", "86", "+86", "0086"})
#: 《电信网编号计划（2017年版）》: mobile networks begin with 13 to 19. Which blocks of them are given out, the library
#: knows only until the next one is: a citizen with a new number must not wait for its next release.
_MOBILE = re.compile("1[3-9][0-9]{9}")


def check_phone(text: str, *, pointer: str = "/phone") -> str:
    """Return the eleven digits of a mainland mobile number; +86, spaces, hyphens and full-width digits go.

    Raises ``InvalidPhone`` with one of the reasons hidden, letters, foreign, landline, length, prefix.
    """
    given = _SEPARATORS.sub("", normalise(text)).replace("＋", "+")
    try:
        number = phonenumbers.parse(given, "CN")
    except phonenumbers.NumberParseException:
        number = phonenumbers.PhoneNumber()
    digits = phonenumbers.national_significant_number(number)
    plain = number.country_code == _MAINLAND and given.removesuffix(digits) in _BEFORE
    if not (plain and _MOBILE.fullmatch(digits)):
        reason = _fault_of_phone(given, number, digits)
        zh, en = _PHONE_REASONS[reason]
        raise InvalidPhone(zh, en, pointer=pointer, extra={"reason": reason})
    return digits


def _fault_of_phone(given: str, number: phonenumbers.PhoneNumber, digits: str) -> str:
    if hidden(given):
        return "hidden"
    if re.search(r"[^0-9+]", given):
        return "letters"
    if number.country_code != _MAINLAND and given.startswith(("+", "00")):
        return "foreign"
    if given.startswith("0") or phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.FIXED_LINE:
        return "landline"
    return "prefix" if len(digits) == 11 and given.removesuffix(digits) in _BEFORE else "length"


def mask_phone(phone: str) -> str:
    """Return the first three and the last four digits of a mobile number; a shorter text is all hidden."""
    return f"{phone[:3]}****{phone[-4:]}" if len(phone) >= 11 else "*" * len(phone)


# --- Age and consent ------------------------------------------------------------------------------------


class ConsentRequired(Conflict):
    """A person under 14 needs the consent of a guardian on record first."""

    code = "consent.required"
    title = "须先取得监护人同意"
    clause = CLAUSE_CONSENT


def age_on(born_on: date, on: date) -> int:
    """Return the age in whole years on a day; who was born on 29 February turns a year older on 1 March.

    Raises ``ValueError`` for a day before birth.
    """
    if on < born_on:
        raise ValueError("a person has no age before birth")
    return on.year - born_on.year - ((on.month, on.day) < (born_on.month, born_on.day))


def check_consent(born_on: date, *, guardian_consented: bool, today: date) -> None:
    """Check that the guardian of a person under 14 consented; raises ``ConsentRequired``.

    The day of the 14th birthday itself no longer needs it.
    """
    # 《个人信息保护法》第三十一条: 处理不满十四周岁未成年人个人信息的, 应当取得其父母或者其他监护人的同意。
    # “不满”不包括本数（《民法典》第一千二百五十九条）。
    if age_on(born_on, today) < AGE_OF_OWN_CONSENT and not guardian_consented:
        raise _consent_required()


def _consent_required() -> ConsentRequired:
    return ConsentRequired(
        "本人未满14周岁，请先登记父母或其他监护人的同意，再办理本业务。",
        "The person is under 14: record the consent of a parent or other guardian first.",
        extra={"age_limit": AGE_OF_OWN_CONSENT},
    )


# --- Being a volunteer ----------------------------------------------------------------------------------


class VolunteerStatus(StrEnum):
    """Where a volunteer stands; only a verified one can enter hours."""

    PENDING_GUARDIAN = "pending_guardian"
    PENDING = "pending"
    VERIFIED = "verified"
    SUSPENDED = "suspended"
    LEFT = "left"
    ERASED = "erased"


class VolunteerExists(Conflict):
    """The person with this identity number is registered."""

    code = "volunteer.exists"
    title = "该人员已登记"

    def __init__(self, other: str | None) -> None:
        """Name the id of the volunteer that is registered, unless it is out of reach."""
        if other is None:
            zh, en = "请联系局工作人员办理", "ask the bureau"
        else:
            zh, en = "请直接使用已有档案，或将其加入队伍", "use that record or add it to the team"
        super().__init__(
            f"该证件号码已登记为志愿者，{zh}。",
            f"A volunteer with this identity number is registered; {en}.",
            pointer="/id_number",
            extra={} if other is None else {"other": other},
        )


class VolunteerNotFound(NotFound):
    """No volunteer has this id."""

    code = "volunteer.not_found"
    title = "志愿者不存在"

    def __init__(self, volunteer_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {volunteer_id} 的志愿者，请核对编号。",
            f"No volunteer has the id {volunteer_id}; check it.",
        )


class StatisticsOfPersons(RuleError):
    """Statistics of single volunteers are not public."""

    status = 403
    code = "statistics.of_persons"
    title = "个人统计不对外公开"

    def __init__(self) -> None:
        """Name the groups that are public."""
        super().__init__(
            "按志愿者统计不对外公开，请改用 group_by=unit、team、category 或 month；少于 5 人的组不显示。",
            "Statistics by volunteer are not public: ask by unit, team, category or month; groups of fewer than five "
            "persons are left out.",
            extra={"allowed": ["unit", "team", "category", "month"]},
        )


class VolunteerUnknown(RuleError):
    """An input names a volunteer who is not registered."""

    code = "volunteer.unknown"
    title = "志愿者未登记"

    def __init__(self, *, pointer: str = "/volunteer_id") -> None:
        """Point to the field that names the volunteer."""
        super().__init__(
            "所填志愿者未登记，请先登记，或核对编号后重试。",
            "The volunteer is not registered; register the person first or check the id.",
            pointer=pointer,
        )


class VolunteerNotVerified(Conflict):
    """Only a verified volunteer can do this."""

    code = "volunteer.not_verified"
    title = "志愿者未通过审核"


_NOT_VERIFIED = {
    VolunteerStatus.PENDING: (
        "该志愿者尚未审核，请先完成身份审核。",
        "The volunteer is not verified yet; verify the person first.",
    ),
    VolunteerStatus.SUSPENDED: (
        "该志愿者已被暂停，请先恢复其资格。",
        "The volunteer is suspended; lift the suspension first.",
    ),
    VolunteerStatus.LEFT: (
        "该志愿者已退出，请先恢复登记。",
        "The volunteer has left; bring the person back first.",
    ),
    VolunteerStatus.ERASED: (
        "该志愿者的个人信息已删除，请先重新登记。",
        "The volunteer was erased; register the person again first.",
    ),
}


def check_consented(status: VolunteerStatus) -> None:
    """Check that no guardian's consent is waited for; raises ``ConsentRequired``."""
    if status is VolunteerStatus.PENDING_GUARDIAN:
        raise _consent_required()


def check_verified(status: VolunteerStatus) -> None:
    """Check that a volunteer can give service; raises ``ConsentRequired`` or ``VolunteerNotVerified``."""
    check_consented(status)
    if status is not VolunteerStatus.VERIFIED:
        zh, en = _NOT_VERIFIED[status]
        raise VolunteerNotVerified(zh, en, extra={"status": status.value})
