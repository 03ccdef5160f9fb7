"""The numbers of official documents, and the errors about a notice as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

CLAUSE_NUMBER = "GB/T 9704-2012《党政机关公文格式》发文字号"


class InvalidNumber(RuleError):
    """The document number is not written as the standard for official documents demands."""

    code = "number.invalid"
    title = "发文字号格式不正确"
    clause = CLAUSE_NUMBER


class NumberTaken(Conflict):
    """Another notice of this issuer and year already has the number."""

    code = "number.taken"
    title = "发文字号已被使用"

    def __init__(self, number: str, other: str) -> None:
        """Name the number and the id of the notice that has it."""
        super().__init__(
            f"发文字号“{number}”已被另一份通知使用，请核对后改用下一个序号。",
            f"The number {number} belongs to another notice; check it and take the next serial.",
            pointer="/number",
            extra={"other": other},
        )


class NoticeNotFound(NotFound):
    """No notice has this id."""

    code = "notice.not_found"
    title = "通知不存在"

    def __init__(self, notice_id: str) -> None:
        """Name the id."""
        super().__init__(
            f"没有编号为 {notice_id} 的通知，请在通知列表中核对。",
            f"No notice has the id {notice_id}; look it up in the list of notices.",
        )


class NoticeAlreadyIssued(Conflict):
    """An issued notice binds its addressees and cannot be issued again or edited."""

    code = "notice.already_issued"
    title = "通知已印发"

    def __init__(self, number: str) -> None:
        """Name the number of the notice."""
        super().__init__(
            f"“{number}”已经印发，不能再次印发或修改；如需更正，请另发更正通知。",
            f"{number} is issued and cannot be issued again or edited; issue a notice that corrects it.",
        )


@dataclass(frozen=True, slots=True, order=True)
class DocumentNumber:
    """The number of an official document: the issuer's code (代字), the full year and the serial."""

    issuer_code: str
    year: int
    serial: int

    def __str__(self) -> str:
        """Return the number as it is printed: ``台教办〔2020〕6号``."""
        return f"{self.issuer_code}〔{self.year}〕{self.serial}号"


_NUMBER = re.compile(r"([\u4e00-\u9fa5]{1,12})〔((?:19|20)[0-9]{2})〕([1-9][0-9]{0,4})号")
_NEARLY_A_NUMBER = re.compile(
    r"(?P<issuer>[\u4e00-\u9fa5]{1,12}?)\s*"
    r"(?P<open>[〔\[\(（［【﹝{<〈《])\s*(?P<year>[0-9]{4}|[0-9]{2})年?\s*(?P<close>[〕\]\)）］】﹞}>〉》])\s*"
    r"(?P<ordinal>第?)\s*(?P<serial>[0-9]{1,9})\s*(?P<suffix>号?)"
)
_HALF_WIDTH_DIGITS = str.maketrans("０１２３４５６７８９", "0123456789")
_LARGEST_SERIAL = 99_999


def parse_number(text: str) -> DocumentNumber:
    """Read a document number such as ``台教办〔2020〕6号``; full-width digits are taken as digits.

    The form: code of 1 to 12 Chinese characters, full year in hexagonal brackets, serial without 第 and
    without leading zero. ``InvalidNumber`` says which of these is broken and offers the corrected form.
    """
    cleaned = text.strip().translate(_HALF_WIDTH_DIGITS)
    # GB/T 9704-2012: 年份应标全称，用六角括号“〔 〕”括入；发文顺序号不加“第”字，不编虚位，在后加“号”字。
    if match := _NUMBER.fullmatch(cleaned):
        return DocumentNumber(match[1], int(match[2]), int(match[3]))
    if (match := _NEARLY_A_NUMBER.fullmatch(cleaned)) is None:
        raise InvalidNumber(
            "发文字号无法识别，应由发文机关代字、年份、发文顺序号组成，例如 台教办〔2020〕6号。",
            "The document number cannot be read; it is the issuer's code, the year and the serial, "
            "for example 台教办〔2020〕6号.",
            pointer="/number",
            extra={"reasons": ["unreadable"]},
        )
    raise _nearly(match)


def _nearly(match: re.Match[str]) -> InvalidNumber:
    """Return the error for a number that can be read but is not written as it must be."""
    reasons: list[tuple[str, str, str]] = []
    if (match["open"], match["close"]) != ("〔", "〕"):
        reasons.append(("brackets", "年份应使用六角括号“〔〕”", "the year stands in hexagonal brackets 〔〕"))
    year = int(match["year"])
    if len(match["year"]) == 2:
        # A short year means the one nearest to living memory: 98 is 1998, 20 is 2020.
        year += 1900 if year >= 80 else 2000
        reasons.append(("short_year", "年份应写四位全称", "the year is written with four digits"))
    implausible = not 1900 <= year <= 2099
    if implausible:
        reasons.append(("year", "年份应在1900至2099之间", "the year is between 1900 and 2099"))
    if match["ordinal"]:
        reasons.append(("ordinal", "顺序号前不加“第”字", "the serial has no 第 before it"))
    serial = int(match["serial"])
    if match["serial"].startswith("0"):
        reasons.append(("leading_zero", "顺序号不编虚位（不写前导零）", "the serial has no leading zero"))
    if not 1 <= serial <= _LARGEST_SERIAL:
        implausible = True
        reasons.append(("serial", "顺序号应在1至99999之间", "the serial is between 1 and 99999"))
    if not match["suffix"]:
        reasons.append(("suffix", "末尾应有“号”字", "号 stands at the end"))
    if not reasons:
        reasons.append(("spaces", "中间不能有空格或多余文字", "nothing else stands between the parts"))
    zh = "；".join(reason[1] for reason in reasons)
    en = "; ".join(reason[2] for reason in reasons)
    codes = [reason[0] for reason in reasons]
    if implausible:
        return InvalidNumber(
            f"发文字号不正确：{zh}。请核对原文后重新填写。",
            f"The document number is wrong: {en}. Check the document and enter it again.",
            pointer="/number",
            extra={"reasons": codes},
        )
    suggestion = str(DocumentNumber(match["issuer"], year, serial))
    return InvalidNumber(
        f"发文字号不正确：{zh}，应写作 {suggestion}。",
        f"The document number is wrong: {en}. Write {suggestion}.",
        pointer="/number",
        extra={"reasons": codes, "suggestion": suggestion},
    )
