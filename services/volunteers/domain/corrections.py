"""The rules about corrections of what the register says of a person."""

from __future__ import annotations

from xinhuo.chassis.errors import RuleError

CLAUSE_CORRECTION = "《中华人民共和国个人信息保护法》第四十六条"
#: What can be corrected.
FIELDS = ("name", "id_number", "phone", "tags")
#: What was checked when the person was verified.
IDENTITY = frozenset({"name", "id_number"})
#: Why something is corrected, with what users read.
REASONS = {
    "mistyped": "录入错误",
    "changed": "信息变更",
    "new_document": "证件更换",
    "asked": "本人要求",
    "other": "其他",
}


class NothingToCorrect(RuleError):
    """A correction names at least one field"""

    code = "correction.empty"
    title = "没有填写要更正的内容"
    clause = CLAUSE_CORRECTION

    def __init__(self) -> None:
        super().__init__(
            f"请填写要更正的字段，至少一项：{'、'.join(FIELDS)}。",
            f"Give what is to be corrected, at least one of {', '.join(FIELDS)}.",
        )
