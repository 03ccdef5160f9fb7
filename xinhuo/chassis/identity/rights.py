"""Which role has which right, and how far it reaches; ``docs/security.md`` shows this table.

A route names the right that it needs. What a role is not named for, it may not do.
"""

from collections.abc import Mapping

from .actor import Actor, Reach

#: Roles with what people call them.
ROLES: Mapping[str, tuple[str, str]] = {
    "bureau_admin": ("局管理员", "administrator of the bureau"),
    "clerk": ("局工作人员", "clerk of the bureau"),
    "unit_operator": ("单位操作员", "operator of a unit"),
    "team_leader": ("队伍负责人", "leader of a team"),
    "volunteer": ("志愿者", "volunteer"),
    "guardian": ("监护人", "guardian"),
    "auditor": ("审计员", "auditor"),
    "privacy_officer": ("个人信息保护负责人", "data-protection officer"),
    "department": ("订阅部门", "subscribing department"),
    "ops": ("运维人员", "operator of the system"),
    "service": ("本系统的服务", "service of this system"),
}

#: Without a token: signing in, and what a sign-in is checked with.
PUBLIC_RIGHT = "public"
#: Every account for itself: its own data, password, sessions.
OWN_ACCOUNT = "account:own"

_ALL, _OWN, _TEAM, _SELF, _CHILD, _PUBLIC = (
    Reach.ALL, Reach.OWN, Reach.TEAM, Reach.SELF, Reach.CHILD, Reach.PUBLIC
)  # fmt: skip
_BUREAU = {"bureau_admin": _ALL, "clerk": _ALL}
_WATCHING = {"auditor": _ALL, "privacy_officer": _ALL}

RIGHTS: Mapping[str, tuple[str, str, Mapping[str, Reach]]] = {
    "units:read": (
        "查看单位", "see units",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _OWN, "volunteer": _PUBLIC,
         "guardian": _PUBLIC, "service": _ALL},
    ),
    "units:write": ("登记和修改单位", "enter and change units", _BUREAU),
    "notices:read": (
        "查看通知", "see notices",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _OWN, "volunteer": _PUBLIC,
         "guardian": _PUBLIC, "service": _ALL},
    ),
    "notices:write": ("起草和印发通知", "draft and issue notices", _BUREAU),
    "obligations:read": (
        "查看各单位的任务", "see what units have to do", {**_BUREAU, "unit_operator": _OWN, "auditor": _ALL}
    ),
    "people:register": (
        "登记志愿者", "register volunteers", {**_BUREAU, "unit_operator": _OWN, "team_leader": _TEAM}
    ),
    "people:correct": (
        "更正志愿者信息", "correct what is registered about volunteers",
        {**_BUREAU, "unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _SELF, "guardian": _CHILD},
    ),
    "people:leave": (
        "办理退出", "end the registration of volunteers",
        {**_BUREAU, "unit_operator": _OWN, "volunteer": _SELF, "guardian": _CHILD},
    ),
    "people:verify": (
        "核实、暂停和恢复志愿者", "verify, suspend and resume volunteers", {**_BUREAU, "unit_operator": _OWN}
    ),
    "people:read": (
        "查看志愿者（脱敏）", "see volunteers, masked",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _SELF, "guardian": _CHILD},
    ),
    "people:consent": (
        "登记和撤回同意", "enter and withdraw consents",
        {"clerk": _ALL, "unit_operator": _OWN, "volunteer": _SELF, "guardian": _CHILD},
    ),
    "people:export": (
        "导出本人的全部信息", "export all that is held about a person",
        {"volunteer": _SELF, "guardian": _CHILD, "privacy_officer": _ALL},
    ),
    "people:ask_erasure": (
        "申请删除个人信息", "ask that a person is erased", {"volunteer": _SELF, "guardian": _CHILD}
    ),
    "people:decide_erasure": ("决定删除个人信息", "decide on erasure", {"privacy_officer": _ALL}),
    "people:unmask": (
        "查看个人信息明文", "see personal data in clear",
        {"clerk": _ALL, "unit_operator": _OWN, "volunteer": _SELF, "guardian": _CHILD, "service": _ALL},
    ),
    "people:approve_unmask": (
        "批准查看未成年人明文", "approve that children's data are seen in clear", {"privacy_officer": _ALL}
    ),
    "teams:read": (
        "查看队伍", "see teams",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _PUBLIC,
         "guardian": _PUBLIC},
    ),
    "teams:write": ("建立队伍", "make teams", {**_BUREAU, "unit_operator": _OWN}),
    "activities:read": (
        "查看活动", "see activities",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _PUBLIC,
         "guardian": _PUBLIC},
    ),
    "activities:write": (
        "登记活动", "enter activities", {**_BUREAU, "unit_operator": _OWN, "team_leader": _TEAM}
    ),
    "hours:read": (
        "查看时数记录", "see records of hours",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _SELF, "guardian": _CHILD},
    ),
    "hours:log": ("登记时数", "log hours", {"unit_operator": _OWN, "team_leader": _TEAM}),
    "hours:claim": (
        "申报时数", "claim hours", {"unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _SELF, "guardian": _CHILD}
    ),
    "hours:approve": ("审批申报的时数", "decide on claims of hours", {**_BUREAU, "unit_operator": _OWN}),
    "hours:import": ("导入时数", "import hours", {"clerk": _ALL, "unit_operator": _OWN}),
    "hours:reverse": ("冲销时数", "take hours back", {"clerk": _ALL, "unit_operator": _OWN}),
    # The administrator is the second person only.
    "hours:decide_reversal": (
        "决定冲销申请", "decide on taking many hours back", {**_BUREAU, "unit_operator": _OWN}
    ),
    "statistics:read": (
        "查看统计", "see statistics",
        {**_BUREAU, **_WATCHING, "unit_operator": _OWN, "team_leader": _TEAM, "volunteer": _PUBLIC,
         "guardian": _PUBLIC, "department": _PUBLIC, "ops": _PUBLIC},
    ),
    "stars:read": (
        "查看星级", "see stars",
        # Awards knows nobody's unit or team: these two see no stars yet.
        {**_BUREAU, **_WATCHING, "volunteer": _SELF, "guardian": _CHILD},
    ),
    "rules:read": (
        "查看规则", "see rules", {**_BUREAU, **_WATCHING, "unit_operator": _ALL, "service": _ALL}
    ),
    "inbox:read": ("查看站内信", "see the inbox", {"volunteer": _SELF, "guardian": _CHILD}),
    "accounts:manage": ("管理账号", "manage accounts", {"bureau_admin": _ALL, "unit_operator": _OWN}),
    "clients:manage": ("管理接口密钥", "manage API clients and keys", {"bureau_admin": _ALL}),
    "keys:own": ("管理本部门的接口密钥", "manage one's own API keys", {"department": _SELF}),
    OWN_ACCOUNT: ("管理本人账号", "manage one's own account", dict.fromkeys(ROLES, _SELF)),
    "dead_letters:manage": ("处理死信", "see and decide on dead letters", {"ops": _ALL}),
    "audit:read": ("查看审计记录", "see the audit log", {**_WATCHING, "volunteer": _SELF, "guardian": _CHILD}),
    "books:read": ("读取账簿摘要", "read digests of books", {"service": _ALL}),
}  # fmt: skip


def reach_of(actor: Actor, right: str) -> Reach | None:
    """Return how far a right of the actor reaches; None when he has it not."""
    if actor.scopes is not None and right not in actor.scopes:
        return None
    return RIGHTS[right][2].get(actor.role)


def roles_with(right: str) -> list[str]:
    """Return the roles that have a right, in the order of the table of roles."""
    return [role for role in ROLES if role in RIGHTS[right][2]]
