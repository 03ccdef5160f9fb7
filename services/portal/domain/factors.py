"""The second factor: codes of six digits that change every 30 seconds (RFC 6238)."""

from xinhuo.chassis.errors import Conflict, RuleError

STEP_SECONDS, DIGITS = 30, 6
#: A clock may be one step away.
WINDOW = 1


class FactorOn(Conflict):
    """The second factor is on already"""

    code = "totp.on"
    title = "动态验证码已启用"

    def __init__(self) -> None:
        super().__init__(
            "动态验证码已启用，更换前请先停用。", "The second factor is on; remove it before you set up another one."
        )


class FactorNotBegun(Conflict):
    """There is no second factor that waits for its first code"""

    code = "totp.not_begun"
    title = "尚未开始设置动态验证码"

    def __init__(self) -> None:
        super().__init__(
            "没有待确认的动态验证码，请先开始设置（POST /v1/me/totp）。",
            "No second factor waits to be confirmed; begin with POST /v1/me/totp.",
        )


class FactorOff(Conflict):
    """The second factor is not on"""

    code = "totp.off"
    title = "动态验证码未启用"

    def __init__(self) -> None:
        super().__init__("动态验证码未启用，无需停用。", "The second factor is not on; there is nothing to remove.")


class CodeWrong(RuleError):
    """The code is not the one of the present time"""

    code = "totp.code_wrong"
    title = "动态验证码不正确"

    def __init__(self) -> None:
        super().__init__(
            "验证码不正确，请核对手机时间，并输入当前的 6 位数字。",
            "The code is wrong: check the clock of the phone and give the 6 digits shown now.",
            pointer="/code",
        )


def steps_at(seconds: float) -> range:
    """Return the steps whose codes are taken at a Unix time."""
    step = int(seconds) // STEP_SECONDS
    return range(step - WINDOW, step + WINDOW + 1)
