"""Accounts: how a login is written, what each role needs, and who may manage whom."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

#: The roles that people have; the others belong to API clients.
ROLES = (
    "bureau_admin",
    "clerk",
    "unit_operator",
    "team_leader",
    "volunteer",
    "guardian",
    "auditor",
    "privacy_officer",
    "ops",
)
STATES = ("invited", "active", "disabled")
#: The roles whose accounts an operator manages in his own unit.
OPERATORS_ROLES = ("unit_operator", "team_leader")
#: What an account of a role cannot be without, with what people call it.
NEEDED = {
    "unit_operator": ("unit_code", "所属单位 unit_code", "the unit, unit_code"),
    "team_leader": ("team_code", "所带队伍 team_code", "the team, team_code"),
    "volunteer": ("volunteer_id", "志愿者 volunteer_id", "the volunteer, volunteer_id"),
    "guardian": ("wards", "至少一名被监护人 wards", "at least one ward, wards"),
}

_LOGIN = re.compile(r"[a-z0-9._@-]{3,64}")
_UNIT_CODE = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)*")


class LoginMalformed(RuleError):
    """A login is 3 to 64 of a-z, 0-9, full stop, underscore, hyphen and @"""

    code = "login.malformed"
    title = "登录名格式不正确"

    def __init__(self) -> None:
        super().__init__(
            "登录名应为 3 至 64 位小写字母、数字或 . _ - @，请更正。",
            "A login is 3 to 64 of a-z, 0-9 and . _ - @; correct it.",
            pointer="/login",
        )


class LoginTaken(Conflict):
    """Another account has the login"""

    code = "login.taken"
    title = "登录名已被使用"

    def __init__(self) -> None:
        super().__init__(
            "这个登录名已被其他账号使用，请换一个。",
            "Another account has this login; choose another one.",
            pointer="/login",
        )


class AccountNotFound(NotFound):
    """There is no such account for the caller"""

    code = "account.not_found"
    title = "账号不存在"

    def __init__(self) -> None:
        super().__init__(
            "没有这个账号，请在账号列表中核对。",
            "There is no such account; look it up in the list of accounts.",
        )


class BelongingMissing(RuleError):
    """A role needs what it is held for: a unit, a team, a volunteer or wards"""

    code = "account.belonging_missing"
    title = "该角色缺少必填的归属"

    def __init__(self, role: str) -> None:
        """Name what the role needs."""
        field, zh, en = NEEDED[role]
        super().__init__(
            f"角色 {role} 必须填写{zh}。", f"The role {role} needs {en}.", pointer=f"/{field}", extra={"role": role}
        )


class UnitCodeMalformed(RuleError):
    """The code of a unit is 2 to 32 capital letters and digits, in groups joined by hyphens"""

    code = "account.unit_code_malformed"
    title = "单位代码格式不正确"

    def __init__(self) -> None:
        super().__init__(
            "单位代码应为 2 至 32 位大写字母和数字，可用连字符分段，请更正。",
            "A unit code is 2 to 32 capital letters and digits, in groups joined by hyphens; correct it.",
        )


class RoleBeyond(RuleError):
    """Who manages accounts of his own unit cannot give this role"""

    status = 403
    code = "account.role_beyond"
    title = "无权授予该角色"

    def __init__(self) -> None:
        super().__init__(
            "单位操作员只能管理本单位的单位操作员和队伍负责人账号；其他角色请联系局管理员。",
            "An operator of a unit manages operators and team leaders of that unit only; ask an administrator.",
            pointer="/role",
            extra={"allowed": OPERATORS_ROLES},
        )


class UnitBeyond(RuleError):
    """Who manages accounts of his own unit cannot put one into another unit"""

    status = 403
    code = "account.unit_beyond"
    title = "无权管理其他单位的账号"

    def __init__(self) -> None:
        super().__init__(
            "单位操作员只能管理本单位的账号，请填写本单位代码或不填。",
            "An operator of a unit manages accounts of that unit only; give its code or leave it out.",
            pointer="/unit_code",
        )


class LastAdmin(Conflict):
    """The last active administrator of the bureau must stay one"""

    code = "account.last_admin"
    title = "不能停用或改任最后一名局管理员"

    def __init__(self) -> None:
        super().__init__(
            "这是最后一名在用的局管理员，请先启用另一名局管理员。",
            "This is the last active administrator of the bureau; activate another one first.",
        )


class OwnRole(Conflict):
    """Nobody changes his own role"""

    code = "account.own_role"
    title = "不能修改自己的角色"

    def __init__(self) -> None:
        super().__init__(
            "不能修改自己的角色，请由另一名管理员办理。",
            "Nobody changes his own role; ask another administrator.",
            pointer="/role",
        )


class AdminExists(Conflict):
    """There is an active administrator of the bureau, who makes all other accounts"""

    code = "account.admin_exists"
    title = "已有局管理员"

    def __init__(self) -> None:
        super().__init__(
            "已有在用的局管理员，请由其新建账号或重置密码。",
            "There is an active administrator of the bureau: ask him for an account or a new password.",
        )


def normal_login(text: str) -> str:
    """Return a login as it is compared: NFKC, in small letters."""
    return unicodedata.normalize("NFKC", text).strip().lower()


def check_login(text: str) -> str:
    """Return a login as it is kept; raises LoginMalformed."""
    login = normal_login(text)
    if not _LOGIN.fullmatch(login):
        raise LoginMalformed()
    return login


def check_unit_code(text: str) -> str:
    """Return the code of a unit; raises UnitCodeMalformed."""
    if not (2 <= len(text) <= 32 and _UNIT_CODE.fullmatch(text)):
        raise UnitCodeMalformed()
    return text


def check_belonging(account: Mapping[str, Any]) -> None:
    """Raise BelongingMissing unless an account has what its role is held for."""
    role = account["role"]
    if role in NEEDED and not account.get(NEEDED[role][0]):
        raise BelongingMissing(role)
