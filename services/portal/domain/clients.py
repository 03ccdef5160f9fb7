"""API clients: what their roles need, how their keys are written, and how many there may be."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from xinhuo.chassis.errors import Conflict, NotFound, RuleError

#: The roles that programs have.
ROLES = ("department", "service", "unit_operator", "team_leader", "clerk", "auditor", "ops")
STATES = ("active", "disabled")
#: What no program may do, whatever its role: it would make others that stay when its key is taken away.
NEVER = frozenset({"accounts:manage", "clients:manage"})
NEEDED = {"department": "department_code", "unit_operator": "unit_code", "team_leader": "team_code"}
DEFAULT_DAYS, MOST_DAYS = 90, 365
DEFAULT_OVERLAP_HOURS, MOST_OVERLAP_HOURS = 24, 168
MOST_KEYS = 5
#: The last use of a key is noted no oftener.
NOTED = timedelta(minutes=1)

KEY_START = "xhk_"
PREFIX_LETTERS, PREFIX_LENGTH = "abcdefghijklmnopqrstuvwxyz0123456789", 8
_KEY = re.compile(r"xhk_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")


class KeyRefused(RuleError):
    """The API key is unknown, revoked or past its time, or its client is not in use"""

    status = 401
    code = "client.key_refused"
    title = "接口密钥不可用"

    def __init__(self) -> None:
        super().__init__(
            "接口密钥不可用，请核对，或向局管理员索取新的密钥。",
            "The API key cannot be used; check it, or ask an administrator for a new one.",
        )


class ClientNotFound(NotFound):
    """There is no such API client"""

    code = "client.not_found"
    title = "接口客户端不存在"

    def __init__(self) -> None:
        super().__init__(
            "没有这个接口客户端，请在列表中核对。", "There is no such API client; look it up in the list of clients."
        )


class ClientBelongingMissing(RuleError):
    """The role of an API client needs a department, unit or team"""

    code = "client.belonging_missing"
    title = "该角色缺少必填的归属"

    def __init__(self, role: str) -> None:
        """Name the field that the role needs."""
        super().__init__(
            f"角色 {role} 必须填写 {NEEDED[role]}。",
            f"The role {role} needs {NEEDED[role]}.",
            pointer=f"/{NEEDED[role]}",
        )


class ScopeBeyond(RuleError):
    """A scope is not a right that the role has, or one that no program may have"""

    code = "client.scope_beyond"
    title = "范围超出角色的权限"

    def __init__(self, beyond: Iterable[str], allowed: Iterable[str]) -> None:
        """Name the scopes that are too much, and those that could be."""
        over, may = sorted(beyond), sorted(allowed)
        super().__init__(
            f"以下范围不可授予：{'、'.join(over)}。可授予的有：{'、'.join(may)}。",
            f"These scopes cannot be given: {', '.join(over)}. These can: {', '.join(may)}.",
            pointer="/scopes",
            extra={"beyond": over, "allowed": may},
        )


class TooManyKeys(Conflict):
    """An API client has at most five keys at once"""

    code = "client.too_many_keys"
    title = "接口密钥过多"

    def __init__(self) -> None:
        super().__init__(
            f"每个客户端最多同时有 {MOST_KEYS} 个有效密钥，请先吊销不用的密钥。",
            f"A client has at most {MOST_KEYS} live keys; revoke one that is not used.",
        )


class KeyNotFound(NotFound):
    """The API client has no such key"""

    code = "client.key_not_found"
    title = "接口密钥不存在"

    def __init__(self) -> None:
        super().__init__(
            "该客户端没有这个密钥，请核对前缀。", "The client has no key of this prefix; look it up in the client."
        )


class KeyNotLive(Conflict):
    """A key that was revoked or is past its time cannot be rotated"""

    code = "client.key_not_live"
    title = "接口密钥已失效"

    def __init__(self) -> None:
        super().__init__(
            "密钥已吊销或过期，不能轮换，请新建密钥。",
            "The key was revoked or is past its time and cannot be rotated; make a new one.",
        )


class KeyEndedLately(Conflict):
    """A token outlives its key by minutes: for so long after any key of a client ended no token makes another key"""

    code = "client.key_ended_lately"
    title = "刚有密钥失效"

    def __init__(self, minutes: int) -> None:
        """Say how long that is."""
        super().__init__(
            f"该客户端刚有密钥被吊销或过期，{minutes} 分钟内不能自行轮换，请稍后再试，或请局管理员轮换。",
            f"A key of this client was revoked or ran out in the last {minutes} minutes: rotate later, or ask an "
            "administrator to do it.",
        )


def prefix_of(key: str) -> str | None:
    """Return the prefix by which a key is found; None for what is no key."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


def check_client(client: Mapping[str, Any], rights: Iterable[str]) -> None:
    """Check a client against the rights of its role; raises ClientBelongingMissing or ScopeBeyond."""
    if (field := NEEDED.get(client["role"])) and not client.get(field):
        raise ClientBelongingMissing(client["role"])
    allowed = set(rights) - NEVER
    if beyond := set(client["scopes"]) - allowed:
        raise ScopeBeyond(beyond, allowed)
