"""Signing in: how long sessions and links last, when a login is locked, and what is answered to whom."""

from datetime import timedelta
from math import ceil

from xinhuo.chassis.errors import NotFound, RuleError

#: A session ends when it was not used for so long, and at last after so long.
IDLE, LONGEST = timedelta(hours=12), timedelta(days=30)
#: A used refresh token is answered again for so long: its answer may have been lost.
GRACE = timedelta(seconds=10)
#: A one-time link is good for so long.
LINK = timedelta(hours=72)
#: From this many failures in a row on a login is locked: for 1, 2, 4 … seconds, at most for so many.
FAILURES, MOST_SECONDS = 5, 900


class _Unauthenticated(RuleError):
    status = 401


class LoginFailed(_Unauthenticated):
    """The login, the password or the code is wrong, or the account is not in use"""

    code = "login.failed"
    title = "登录失败"

    def __init__(self) -> None:
        # One answer for all causes: who guesses learns nothing from it.
        super().__init__(
            "登录名、密码或验证码不正确，或账号未启用；请核对后重试，或联系管理员。",
            "The login, password or code is wrong, or the account is not in use; check them, or ask an administrator.",
        )


class CodeNeeded(_Unauthenticated):
    """The account has a second factor: its code is needed too"""

    code = "login.code_needed"
    title = "需要动态验证码"

    def __init__(self) -> None:
        super().__init__(
            "请输入验证器应用中的 6 位动态验证码（code）后重新登录。",
            "Sign in again with the 6 digits of the authenticator as code.",
            pointer="/code",
        )


class LoginLocked(RuleError):
    """Too many failures in a row: the login is locked for a while"""

    status = 429
    code = "login.locked"
    title = "登录已暂时锁定"

    def __init__(self, seconds: float) -> None:
        """Say for how many seconds more."""
        left = max(1, ceil(seconds))
        super().__init__(
            f"连续失败次数过多，请 {left} 秒后再试。",
            f"There were too many failures in a row; try again in {left} seconds.",
            extra={"seconds": left},
        )


class SessionInvalid(_Unauthenticated):
    """The refresh token is not one of ours"""

    code = "session.invalid"
    title = "刷新令牌无效"

    def __init__(self) -> None:
        super().__init__("refresh_token 无效，请重新登录。", "The refresh_token is not valid: sign in again.")


class SessionReused(_Unauthenticated):
    """A refresh token came a second time: somebody has a copy, so the session has ended"""

    code = "session.reused"
    title = "刷新令牌被重复使用"

    def __init__(self) -> None:
        super().__init__(
            "这个 refresh_token 已用过，可能已泄露，会话已终止；请重新登录，必要时修改密码。",
            "This refresh_token was used before and may be known to others, so the session has ended: "
            "sign in again, and change the password if in doubt.",
        )


class SessionExpired(_Unauthenticated):
    """The session was not used for 12 hours, or is 30 days old"""

    code = "session.expired"
    title = "会话已过期"

    def __init__(self) -> None:
        super().__init__(
            "会话已过期（12 小时未使用或已满 30 天），请重新登录。",
            "The session has expired (12 hours unused, or 30 days old): sign in again.",
        )


class SessionEnded(_Unauthenticated):
    """The session was ended, or the account is not in use as the token says"""

    code = "session.ended"
    title = "会话已终止"

    def __init__(self) -> None:
        super().__init__(
            "会话已终止，或账号已停用、已变更，请重新登录。",
            "The session has ended, or the account was disabled or changed: sign in again.",
        )


class SessionNotFound(NotFound):
    """There is no such session of the caller"""

    code = "session.not_found"
    title = "会话不存在"

    def __init__(self) -> None:
        super().__init__(
            "没有这个会话，请在会话列表中核对。", "There is no such session; look it up in the list of sessions."
        )


class LinkUnusable(RuleError):
    """The one-time link is unknown, was used, or is past its time"""

    code = "link.unusable"
    title = "一次性链接不可用"

    def __init__(self) -> None:
        super().__init__(
            "链接无效、已使用或已过期（72 小时），请向管理员索取新的链接。",
            "The link is not valid, was used, or is past its 72 hours; ask an administrator for a new one.",
            pointer="/secret",
        )


def lock_seconds(failures: int) -> int:
    """Return for how many seconds a login is locked after so many failures in a row."""
    return 0 if failures < FAILURES else min(2 ** min(failures - FAILURES, 20), MOST_SECONDS)
