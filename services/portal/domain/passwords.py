"""What a password must be: long, not one that everybody tries first, and not the login itself."""

import unicodedata

from xinhuo.chassis.errors import RuleError

from .common_passwords import COMMON

SHORTEST, LONGEST = 12, 128


class PasswordTooWeak(RuleError):
    """The password is too short, too long, very common, or holds the login"""

    code = "password.too_weak"
    title = "密码不符合要求"

    def __init__(self, zh: str, en: str, reason: str, pointer: str) -> None:
        """Say which of the rules it breaks."""
        super().__init__(f"{zh}，请换一个密码。", f"{en}; choose another one.", pointer=pointer, extra={"why": reason})


class PasswordWrong(RuleError):
    """The present password is not the one given"""

    code = "password.wrong"
    title = "当前密码不正确"

    def __init__(self, pointer: str) -> None:
        """Name the field."""
        super().__init__(
            "当前密码不正确，请重新输入。", "The present password is wrong; enter it again.", pointer=pointer
        )


def normal_password(text: str) -> str:
    """Return a password as it is hashed and compared: NFKC, so that every keyboard writes the same."""
    return unicodedata.normalize("NFKC", text)


def check_password(text: str, login: str, pointer: str = "/password") -> None:
    """Raise PasswordTooWeak unless a password is one to choose for this login."""
    password = normal_password(text)
    plain = password.casefold()
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordTooWeak(
            f"密码应为 {SHORTEST} 至 {LONGEST} 个字符",
            f"A password has {SHORTEST} to {LONGEST} characters",
            "length",
            pointer,
        )
    if plain in COMMON or len(set(plain)) < 4:
        raise PasswordTooWeak("密码过于常见", "This password is very common", "common", pointer)
    if login.casefold() in plain:
        raise PasswordTooWeak("密码不能包含登录名", "A password does not hold the login", "login", pointer)
