"""Signing in by the office's own directory (OpenID Connect)."""

from datetime import timedelta

from xinhuo.chassis.errors import Conflict, NotFound, RuleError, Unavailable

#: Who was sent to the directory comes back within so long, or begins again.
WAIT = timedelta(minutes=10)


class NotConfigured(NotFound):
    """Signing in by a directory is not set up here"""

    code = "oidc.not_configured"
    title = "未配置统一身份登录"

    def __init__(self) -> None:
        super().__init__(
            "本系统未配置统一身份登录，请用登录名和密码登录。",
            "Signing in by a directory is not set up here: sign in with login and password.",
        )


class SubjectTaken(Conflict):
    """Another account is linked to this person of the directory"""

    code = "oidc.subject_taken"
    title = "该统一身份已绑定其他账号"

    def __init__(self) -> None:
        super().__init__(
            "该统一身份（oidc_subject）已绑定其他账号，请先解除绑定。",
            "Another account is linked to this oidc_subject; unlink that one first.",
            pointer="/oidc_subject",
        )


class SignInRefused(RuleError):
    """What came back from the directory is not an answer to this browser's sign-in, or names nobody known here"""

    status = 401
    code = "oidc.refused"
    title = "统一身份登录失败"

    def __init__(self) -> None:
        # Which check failed helps only those who forge; the log has it.
        super().__init__(
            "统一身份登录失败，或该身份未绑定在用的账号；请重新登录，或联系管理员绑定。",
            "Signing in by the directory failed, or no account in use is linked to you: begin again, or ask an "
            "administrator to link your account.",
        )


class DirectoryUnavailable(Unavailable):
    """The directory cannot be reached"""

    code = "oidc.unavailable"
    title = "统一身份服务暂时不可用"

    def __init__(self) -> None:
        super().__init__(
            "统一身份服务暂时连接不上，请稍后重试，或用登录名和密码登录。",
            "The directory cannot be reached at the moment; try again later, or sign in with login and password.",
        )
