"""The codes and head-counts of units, and which of them a notice binds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date

from stdnum.cn import uscc

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

MOST_PEOPLE = 1_000_000

_HALF_WIDTH_DIGITS = str.maketrans("０１２３４５６７８９", "0123456789")


class InvalidUnitCode(RuleError):
    """The code of a unit must be 2 to 32 capital letters and digits, in groups joined by hyphens."""

    code = "unit.code_invalid"
    title = "单位代码格式不正确"


class UnitCodeTaken(Conflict):
    """Another unit already has the code."""

    code = "unit.code_taken"
    title = "单位代码已被使用"

    def __init__(self, unit_code: str) -> None:
        """Name the code."""
        super().__init__(
            f"单位代码“{unit_code}”已被登记，请改用其他代码，或修改已登记的单位。",
            f"The unit code {unit_code} is registered; choose another one or change the registered unit.",
            pointer="/code",
            extra={"other": unit_code},
        )


class UnitNotFound(NotFound):
    """No unit has this code."""

    code = "unit.not_found"
    title = "单位不存在"

    def __init__(self, unit_code: str) -> None:
        """Name the code."""
        super().__init__(
            f"没有代码为“{unit_code}”的单位，请在单位列表中核对代码。",
            f"No unit has the code {unit_code}; look it up in the list of units.",
        )


class ParentUnknown(RuleError):
    """The parent named for a unit is not in the register, or is the unit itself."""

    code = "unit.parent_unknown"
    title = "上级单位不存在"

    def __init__(self, parent_code: str) -> None:
        """Name the code of the parent."""
        super().__init__(
            f"上级单位“{parent_code}”不存在或就是本单位，请先登记上级单位，或更正代码。",
            f"The parent {parent_code} is not registered or is the unit itself; register it first or correct the code.",
            pointer="/parent_code",
        )


class InvalidCreditCode(RuleError):
    """A unified social credit code has 18 characters without I, O, S, V, Z; the last one checks the others."""

    code = "unit.credit_code_invalid"
    title = "统一社会信用代码不正确"
    clause = "GB 32100-2015"


class AddresseeUnknown(RuleError):
    """A notice is addressed to units, kinds or groups that the register does not hold."""

    code = "addressee.unknown"
    title = "主送单位不存在"


class NoAddressees(RuleError):
    """After the exclusions a notice would bind nobody."""

    code = "addressee.none"
    title = "没有主送单位"


class InvalidHeadCount(RuleError):
    """A head-count must be a whole number from 0 to 1,000,000, given with the day of counting."""

    code = "head_count.invalid"
    title = "人数不正确"


class CountedInFuture(RuleError):
    """People cannot have been counted on a day that is yet to come."""

    code = "head_count.in_future"
    title = "统计日期不能晚于今天"


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """What the resolution of addressees needs to know of a unit."""

    code: str
    kind: str
    groups: frozenset[str] = frozenset()


def check_credit_code(text: str) -> str:
    """Return a unified social credit code as it is kept, in capitals, or raise ``InvalidCreditCode``."""
    number = unicodedata.normalize("NFKC", text).replace(" ", "").upper()
    if not _CREDIT_CODE.fullmatch(number):
        raise InvalidCreditCode(
            "统一社会信用代码应为18位数字和大写字母，不含 I、O、S、V、Z，请更正。",
            "A unified social credit code is 18 digits and capital letters without I, O, S, V, Z; correct it.",
            pointer="/credit_code",
        )
    expected = uscc.calc_check_digit(number[:17])
    if number[17] != expected:
        raise InvalidCreditCode(
            f"统一社会信用代码校验不通过：按前17位计算，最后一位应为 {expected}，请逐位核对。",
            f"The unified social credit code fails its check: for the first 17 characters the last one should be "
            f"{expected}; compare every character.",
            pointer="/credit_code",
        )
    return number


_CREDIT_CODE = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")
_UNIT_CODE = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)*")


def check_unit_code(text: str) -> str:
    """Return the code of a unit, or raise ``InvalidUnitCode`` with the corrected form where there is one."""
    if 2 <= len(text) <= 32 and _UNIT_CODE.fullmatch(text):
        return text
    guess = re.sub(r"[\s_.\-－—]+", "-", text.translate(_HALF_WIDTH_DIGITS).upper()).strip("-")
    known = 2 <= len(guess) <= 32 and _UNIT_CODE.fullmatch(guess)
    raise InvalidUnitCode(
        "单位代码应为2至32位大写字母和数字，可用连字符分段" + (f"，应写作 {guess}。" if known else "，请更正。"),
        "A unit code is 2 to 32 capital letters and digits, in groups joined by hyphens; "
        + (f"write {guess}." if known else "correct it."),
        pointer="/code",
        extra={"suggestion": guess} if known else None,
    )


def resolve_addressees(
    units: Iterable[UnitFacts],
    *,
    codes: Collection[str] = (),
    kinds: Collection[str] = (),
    groups: Collection[str] = (),
    excluded: Collection[str] = (),
) -> list[str]:
    """Return the sorted codes of the units a notice binds: named, of a kind, in a group, and not excluded.

    The list is fixed when the notice is issued: a unit registered later is not silently obliged. Raises
    ``AddresseeUnknown`` for anything the register does not know and ``NoAddressees`` for an empty result.
    """
    register = {unit.code: unit for unit in units}
    _refuse_unknown("codes", "单位代码", codes, set(register))
    _refuse_unknown("excluded", "单位代码", excluded, set(register))
    _refuse_unknown("kinds", "单位类别", kinds, {unit.kind for unit in register.values()})
    _refuse_unknown("groups", "单位组", groups, {group for unit in register.values() for group in unit.groups})
    bound = {
        unit.code
        for unit in register.values()
        if unit.code in codes or unit.kind in kinds or not unit.groups.isdisjoint(groups)
    }
    if not (bound := bound - set(excluded)):
        raise NoAddressees(
            "没有任何单位需要执行本通知，请至少选择一个单位、类别或组，并检查排除的单位。",
            "The notice would bind no unit; choose a unit, kind or group and check the exclusions.",
            pointer="/addressees",
        )
    return sorted(bound)


def _refuse_unknown(field: str, noun: str, named: Collection[str], known: set[str]) -> None:
    if unknown := sorted(set(named) - known):
        listed = "、".join(unknown)
        raise AddresseeUnknown(
            f"以下{noun}在单位名册中不存在：{listed}。请先登记，或更正后重试。",
            f"The register of units does not hold these {field}: {', '.join(unknown)}. "
            "Register them first or correct them.",
            pointer=f"/addressees/{field}",
            extra={"unknown": unknown},
        )


def check_head_counts(staff_count: object, student_count: object, counted_on: date | None, *, today: date) -> None:
    """Check the numbers of staff and students and the office day they were counted on.

    Either may be missing (None), never taken for zero: quotas depend on them. Raises ``InvalidHeadCount`` or
    ``CountedInFuture``.
    """
    counts = (
        ("/staff_count", "教职工", "staff", staff_count),
        ("/student_count", "学生", "students", student_count),
    )
    for pointer, zh, en, count in counts:
        if count is None:
            continue
        # bool is an int in Python; True is no head-count.
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_PEOPLE:
            raise InvalidHeadCount(
                f"{zh}人数应为0至{MOST_PEOPLE}之间的整数，请更正。",
                f"The number of {en} must be a whole number from 0 to {MOST_PEOPLE}; correct it.",
                pointer=pointer,
            )
        if counted_on is None:
            raise InvalidHeadCount(
                f"填写{zh}人数时须同时填写统计日期。",
                f"Give the day of counting together with the number of {en}.",
                pointer="/counted_on",
            )
    if counted_on is not None and counted_on > today:
        raise CountedInFuture(
            f"统计日期 {counted_on.isoformat()} 晚于今天（{today.isoformat()}），请更正。",
            f"The day of counting {counted_on.isoformat()} is after today ({today.isoformat()}); correct it.",
            pointer="/counted_on",
        )
