"""What is answered to those who are not known, or may not do what they ask for."""

from ..errors import RuleError, Unavailable
from .actor import Actor
from .rights import RIGHTS, ROLES, roles_with


class Unauthenticated(RuleError):
    """It is not known who asks (401)."""

    status = 401


class TokenMissing(Unauthenticated):
    """The request carries no token"""

    code = "token.missing"
    title = "请求没有令牌"

    def __init__(self) -> None:
        super().__init__(
            "请先登录，并以 Authorization: Bearer <令牌> 发送请求。",
            "Sign in first and send the request with Authorization: Bearer <token>.",
        )


class TokenExpired(Unauthenticated):
    """The token is past its time"""

    code = "token.expired"
    title = "令牌已过期"

    def __init__(self) -> None:
        super().__init__(
            "令牌已过期，请用 refresh_token 换取新的令牌，或重新登录。",
            "The token has expired: get a new one with the refresh_token, or sign in again.",
        )


class TokenInvalid(Unauthenticated):
    """The token is not one of ours, or was changed"""

    code = "token.invalid"
    title = "令牌无效"

    def __init__(self) -> None:
        # Which check failed helps only those who forge.
        super().__init__(
            "令牌无效，请重新登录。",
            "The token is not valid: sign in again.",
        )


class RightMissing(RuleError):
    """The role of the caller lacks the right"""

    status = 403
    code = "right.missing"
    title = "没有权限"

    def __init__(self, actor: Actor, right: str) -> None:
        """Name the right, and who has it."""
        zh, en, _ = RIGHTS[right]
        role_zh, role_en = ROLES[actor.role]
        roles = roles_with(right)
        if actor.role in roles:
            why_zh, why_en = "这把接口密钥的范围不含它", "but the scopes of this key leave it out"
        else:
            names = "、".join(ROLES[role][0] for role in roles)
            why_zh, why_en = f"请由{names}办理", f"these roles can: {', '.join(ROLES[role][1] for role in roles)}"
        super().__init__(
            f"{role_zh}没有“{zh}”（{right}）的权限：{why_zh}。",
            f"The right {right} ({en}) is needed; you act as {role_en}: {why_en}.",
            extra={"right": right, "roles": roles},
        )


class IdentityUnavailable(Unavailable):
    """Who asks cannot be checked at the moment"""

    code = "identity.unavailable"
    title = "暂时无法核验身份"

    def __init__(self) -> None:
        super().__init__(
            "暂时取不到核验令牌的公钥（门户服务不可用），请稍后重试。",
            "The keys that tokens are checked with cannot be had now (the portal is away); try again later.",
        )
