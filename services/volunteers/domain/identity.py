"""The rules about identity numbers, and what they say of a person.

Errors about personal data say what is wrong and never hold the data, so that nothing can leak into a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from stdnum.cn import ric

from xinhuo.chassis.errors import RuleError

from .names import hidden, normalise

CLAUSE_ID_NUMBER = "GB 11643-1999《公民身份号码》"


class InvalidIdNumber(RuleError):
    """The text is no identity number of 18 characters."""

    code = "id_number.invalid"
    title = "身份证件号码格式不正确"
    clause = CLAUSE_ID_NUMBER


class FifteenDigitId(RuleError):
    """Identity numbers of 15 digits are no longer valid."""

    code = "id_number.fifteen_digits"
    title = "不接受15位身份证号码"
    clause = "《中华人民共和国居民身份证法》第二十三条（第一代居民身份证自2013年1月1日起停止使用）"


class WrongCheckDigit(RuleError):
    """The last character of the identity number does not fit the others."""

    code = "id_number.check_digit"
    title = "身份证号码校验位不正确"
    clause = CLAUSE_ID_NUMBER


class BirthDateMismatch(RuleError):
    """The date of birth is not the one in the identity number."""

    code = "birth_date.mismatch"
    title = "出生日期与身份证号码不一致"
    clause = CLAUSE_ID_NUMBER


class SexMismatch(RuleError):
    """The sex is not the one in the identity number."""

    code = "sex.mismatch"
    title = "性别与身份证号码不一致"
    clause = CLAUSE_ID_NUMBER


class InvalidBirthDate(RuleError):
    """Nobody alive was born on the date."""

    code = "birth_date.invalid"
    title = "出生日期不正确"


class Sex(StrEnum):
    """The codes of GB/T 2261.1 that an identity number can express."""

    MALE = "1"
    FEMALE = "2"


@dataclass(frozen=True, slots=True, repr=False)
class IdNumber:
    """A checked identity number and what it says; its ``repr`` shows nothing of it."""

    number: str
    born_on: date
    sex: Sex
    area_code: str


_ID_NUMBER = re.compile(r"[1-9][0-9]{16}[0-9X]")
_SCIENTIFIC = re.compile(r"[0-9](\.[0-9]+)?E\+?[0-9]+|[0-9]+\.[0-9]+")
_ID_REASONS = {
    "lost_digits": (
        "身份证号码已被表格软件改成科学计数法并丢失末尾数字，请将该列设为“文本”格式后重新填写。",
        "The spreadsheet turned the number into scientific notation and lost its last digits; "
        "format the column as text and enter it again.",
    ),
    "hidden": (
        "身份证号码中含有不可见字符，请删除后重新输入。",
        "The number holds characters that cannot be seen; type it again.",
    ),
    "length": (
        "身份证号码应为18位，请核对后重新填写。",
        "An identity number has 18 characters; check it and enter it again.",
    ),
    "characters": (
        "身份证号码应为17位数字加1位校验码（数字或X），且不以0开头，请更正。",
        "An identity number is 17 digits, the first not 0, and a digit or X; correct it.",
    ),
    "birth_date": (
        "身份证号码中的出生日期不存在、晚于今天或早于1850年，请核对第7至14位。",
        "The date of birth in the number is impossible, in the future or before 1850; check digits 7 to 14.",
    ),
}
# Early enough for the samples of the standard itself (1880), late enough to catch a slip of the pen.
EARLIEST_BIRTH = date(1850, 1, 1)


def check_id_number(text: str, *, today: date, pointer: str = "/id_number") -> IdNumber:
    """Return the checked identity number; full-width digits, spaces and a small x are put right.

    Passing is no proof of identity. An area code that is not in force today is not an error: old numbers keep
    theirs. Raises ``InvalidIdNumber``, ``FifteenDigitId`` or ``WrongCheckDigit``.
    """
    number = normalise(text).replace(" ", "").upper()
    if re.fullmatch("[0-9]{15}", number):
        raise FifteenDigitId(
            "15位身份证号码已停止使用，请填写现行18位号码。",
            "Identity numbers of 15 digits are no longer valid; enter the present one of 18 characters.",
            pointer=pointer,
        )
    reason = _fault_of_id(number)
    born_on = None if reason else _birth_date_in(number)
    if born_on is None or not EARLIEST_BIRTH <= born_on <= today:
        reason = reason or "birth_date"
        zh, en = _ID_REASONS[reason]
        raise InvalidIdNumber(zh, en, pointer=pointer, extra={"reason": reason})
    # Not ric.validate: it refuses areas that it does not know, such as those of residence permits (81, 82, 83).
    expected = ric.calc_check_digit(number)
    if number[17] != expected:
        raise WrongCheckDigit(
            f"身份证号码校验不通过：按前17位计算，最后一位应为 {expected}，请逐位核对。",
            f"The identity number fails its check: for the first 17 digits the last character should be "
            f"{expected}; compare every digit.",
            pointer=pointer,
        )
    return IdNumber(number, born_on, Sex.MALE if int(number[16]) % 2 else Sex.FEMALE, number[:6])


def _fault_of_id(number: str) -> str | None:
    if hidden(number):
        return "hidden"
    if _SCIENTIFIC.fullmatch(number):
        return "lost_digits"
    if len(number) != 18:
        return "length"
    return None if _ID_NUMBER.fullmatch(number) else "characters"


def _birth_date_in(number: str) -> date | None:
    try:
        return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None


def birth_date_of(number: str) -> date:
    """Return the date of birth that a checked identity number holds."""
    return date(int(number[6:10]), int(number[10:12]), int(number[12:14]))


def check_birth_date(born_on: date, *, today: date, pointer: str = "/born_on") -> date:
    """Return a date of birth from 1850 to today, or raise ``InvalidBirthDate``."""
    if not EARLIEST_BIRTH <= born_on <= today:
        raise InvalidBirthDate(
            "出生日期应在1850年1月1日至今天之间，请更正。",
            "The date of birth must lie between 1 January 1850 and today; correct it.",
            pointer=pointer,
        )
    return born_on


def check_agrees(id_number: IdNumber, *, born_on: date | None = None, sex: str | None = None) -> None:
    """Check that a date of birth and a sex code, where given, are those of the identity number."""
    if born_on is not None and born_on != id_number.born_on:
        raise BirthDateMismatch(
            "出生日期与身份证号码第7至14位不一致，请核对后更正其中一项。",
            "The date of birth is not that of digits 7 to 14 of the identity number; correct one of them.",
            pointer="/born_on",
        )
    if sex is not None and sex != id_number.sex:
        raise SexMismatch(
            "性别与身份证号码第17位（单数为男，双数为女）不一致，请核对后更正其中一项。",
            "The sex is not that of digit 17 of the identity number (odd is male); correct one of them.",
            pointer="/sex",
        )


def mask_id_number(number: str) -> str:
    """Return the first and last two characters of a number, asterisks between; a short one is all hidden."""
    return f"{number[:2]}{'*' * (len(number) - 4)}{number[-2:]}" if len(number) >= 8 else "*" * len(number)
