"""Accounts to try the sample data with, one of each role, each with a random password that is shown once."""

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from services.portal.commands.accounts import demo_account
from services.portal.domain.accounts import LoginTaken
from xinhuo.chassis.config import Settings

from .installing import key_of_role, portal_of

if TYPE_CHECKING:
    from rich.console import Console

    from xinhuo.chassis.db import Database

_ONE = sa.text(
    """
    SELECT volunteers.id, volunteers.unit_code, member.team_code
    FROM volunteers JOIN team_members AS member ON member.volunteer_id = volunteers.id
    ORDER BY volunteers.id LIMIT 1
    """
)
_LOGIN = "demo-{}"
_WHO = {
    "bureau_admin": "admin",
    "clerk": "clerk",
    "unit_operator": "operator",
    "team_leader": "leader",
    "volunteer": "volunteer",
    "guardian": "guardian",
    "auditor": "auditor",
    "privacy_officer": "privacy",
    "ops": "ops",
}


class Shown(NamedTuple):
    """What a person needs to sign in as one of the roles, or a program to ask as a department."""

    role: str
    login: str
    secret: str
    of: str


def make_accounts(settings: Settings, volunteers: "Database") -> list[Shown]:
    """Make the accounts that are not there yet and return them with their passwords, which are kept nowhere.

    Beside them stands an API key of a department. Empty when they were made before.
    """
    with volunteers.transaction() as session:
        person = session.execute(_ONE).one()
    made = list(_accounts(settings, {"unit": person.unit_code, "team": person.team_code, "volunteer": person.id}))
    if made:
        made.append(
            Shown(
                "department",
                "XINHUO_API_KEY",
                key_of_role(settings, "示例部门 demo", "department", department="demo"),
                "demo",
            )
        )
    return made


def _accounts(settings: Settings, sample: dict[str, Any]) -> Iterator[Shown]:
    belongs: dict[str, tuple[dict[str, Any], str]] = {
        "unit_operator": ({"unit_code": sample["unit"]}, sample["unit"]),
        "team_leader": ({"unit_code": sample["unit"], "team_code": sample["team"]}, sample["team"]),
        "volunteer": ({"volunteer_id": sample["volunteer"]}, str(sample["volunteer"])),
        "guardian": ({"wards": [sample["volunteer"]]}, str(sample["volunteer"])),
    }
    for role, name in _WHO.items():
        given, of = belongs.get(role, ({}, "—"))
        password = secrets.token_urlsafe(12)
        try:
            with portal_of(settings) as (session, keys):
                demo_account(session, keys, _LOGIN.format(name), password, role, **given)
        except LoginTaken:
            continue
        yield Shown(role, _LOGIN.format(name), password, of)


def show(accounts: list[Shown], out: "Console") -> None:
    """Show them, this once; in lines and no table, as a narrow terminal would cut what is to be copied."""
    out.print("\n试用账号：密码随机生成，只显示这一次 / accounts to try: random passwords, shown this once")
    for one in accounts:
        line = f"  {one.role:<16} {one.login:<15} {one.secret}  {one.of}"
        out.print(line.rstrip("— "), markup=False, soft_wrap=True)
    out.print("登录 / sign in: xinhuo login LOGIN")
