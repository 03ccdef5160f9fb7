"""The rules about the texts of a person: what is normalised, and what a name may hold.

Errors about personal data say what is wrong and never hold the data, so that nothing can leak into a log.
"""

from __future__ import annotations

import re
import unicodedata

from xinhuo.chassis.errors import RuleError

CLAUSE_PERSONAL_DATA = "《志愿服务记录与证明出具办法（试行）》第五条"
SHORTEST_NAME, LONGEST_NAME = 2, 50

_WIDE_RUNS = (range(0xFF10, 0xFF1A), range(0xFF21, 0xFF3B), range(0xFF41, 0xFF5B))
_FULL_WIDTH = {code: code - 0xFEE0 for run in _WIDE_RUNS for code in run}
_FULL_WIDTH[0x3000] = 0x20
_MIDDLE_DOTS = dict.fromkeys(map(ord, "•‧・･∙⋅"), "·")

# NFC replaces these rare characters by other ones, and a name must keep the character of the identity card.
_NOT_COMPATIBILITY = re.compile("[^\uf900-\ufaff\U0002f800-\U0002fa1f]+")

_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_SPACES = " \u00a0\u2000-\u200a\u202f\u205f"
_HAN_NAME = re.compile(f"[{_HAN}·{_SPACES}]+")
_SPACE_IN_HAN = re.compile(f"(?<=[{_HAN}])[{_SPACES}]+(?=[{_HAN}])")

# Letters and marks by category, yet nothing can be seen of them.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def normalise(text: str) -> str:
    """Return a text with full-width digits, letters and spaces made half-width, trimmed and composed (NFC).

    Full NFKC is left alone: it would swap rare characters of names for common ones.
    """
    narrow = text.translate(_FULL_WIDTH).strip(" ")
    return _NOT_COMPATIBILITY.sub(lambda run: unicodedata.normalize("NFC", run[0]), narrow)


def _category(char: str) -> str:
    """Return the Unicode category of a character; any ideograph is a letter, however young.

    Planes 2 and 3 are set aside for ideographs, and the tables of an older Python lack the latest; 〇 counts
    as a number there, yet it stands in names.
    """
    if char == "〇" or (0x20000 <= ord(char) <= 0x3FFFD and ord(char) & 0xFFFE != 0xFFFE):
        return "Lo"
    return unicodedata.category(char)


def hidden(text: str) -> bool:
    """Say whether a text holds control, format, private or other characters that cannot be seen."""
    return _INVISIBLE.search(text) is not None or any(
        _category(char) in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"} for char in text
    )


# --- Names ----------------------------------------------------------------------------------------------


class InvalidName(RuleError):
    """A name must have 2 to 50 letters or Chinese characters and nothing that cannot be seen or printed."""

    code = "name.invalid"
    title = "姓名格式不正确"
    clause = CLAUSE_PERSONAL_DATA


_NAME_REASONS = {
    "too_short": (
        f"姓名至少{SHORTEST_NAME}个字，请填写与证件一致的全名。",
        f"A name has at least {SHORTEST_NAME} characters; give it in full, as on the identity document.",
    ),
    "too_long": (
        f"姓名不能超过{LONGEST_NAME}个字，请填写与证件一致的姓名。",
        f"A name has at most {LONGEST_NAME} characters; give it as on the identity document.",
    ),
    "hidden": (
        "姓名中含有不可见字符（控制符、零宽字符、方向控制符等），请删除后重新输入。",
        "The name holds characters that cannot be seen (control, zero-width, direction); type it again.",
    ),
    "emoji": (
        "姓名中含有表情或其他符号，请只填写文字。",
        "The name holds an emoji or another symbol; use letters only.",
    ),
    "digit": ("姓名中不能有数字，请更正。", "A name holds no digits; correct it."),
    "punctuation": (
        "姓名中只能使用文字、间隔号“·”、连字符、撇号和空格，请更正。",
        "A name holds letters, the middle dot, hyphen, apostrophe and space only; correct it.",
    ),
}
_INNER = frozenset("·-'’. ")


def _close_up(name: str) -> str:
    """Return a Chinese name without the spaces that lists put between its characters to make columns even.

    No identity card has them; a name with other letters keeps its own.
    """
    return _SPACE_IN_HAN.sub("", name) if _HAN_NAME.fullmatch(name) else name


def check_name(text: str, *, pointer: str = "/name") -> str:
    """Return a name as it is stored; rare characters, the middle dot and Latin names are taken.

    Registered and compared in this form: spaces between Chinese characters go.

    Raises ``InvalidName`` with one of the reasons too_short, too_long, hidden, emoji, digit, punctuation.
    """
    name = _close_up(normalise(text).translate(_MIDDLE_DOTS))
    if reason := _fault_of_name(name):
        zh, en = _NAME_REASONS[reason]
        raise InvalidName(zh, en, pointer=pointer, extra={"reason": reason})
    return name


def _fault_of_name(name: str) -> str | None:
    if hidden(name):
        return "hidden"
    kinds = {_category(char)[0] for char in name if char not in _INNER}
    if "S" in kinds:
        return "emoji"
    if "N" in kinds:
        return "digit"
    if kinds - {"L", "M"} or _dangling(name):
        return "punctuation"
    if len(name) > LONGEST_NAME:
        return "too_long"
    # Marks are no letters of their own: a letter with an accent is one.
    if sum(_category(char)[0] == "L" for char in name) < SHORTEST_NAME:
        return "too_short"
    return None


def _dangling(name: str) -> bool:
    """Say whether a dot, hyphen or mark joins nothing; a Latin name may end in a full stop."""
    starts_badly = bool(name) and not _category(name[0]).startswith("L")
    return starts_badly or name.endswith(("·", "-", "'", "’")) or re.search(r"[·\-'’. ][·\-'’.]|  ", name) is not None


def mask_name(name: str) -> str:
    """Return the first character of a name and an asterisk for each further one, three at most."""
    return name[:1] + "*" * min(len(name) - 1, 3)
