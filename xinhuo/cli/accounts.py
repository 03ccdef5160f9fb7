"""``xinhuo accounts`` and ``xinhuo keys``: on the server the very first ones, afterwards by an administrator."""

import os
from typing import Annotated, Any

import typer

from .exits import EXIT_CODES, Exit
from .output import Json, fail, print_json
from .signed_in import DEFAULT_PORTAL
from .signing_in import Portal, explained, portal_as_somebody

app = typer.Typer(help="账号 / Accounts.", no_args_is_help=True)
keys_app = typer.Typer(help="接口密钥 / API clients and their keys.", no_args_is_help=True)


@app.command("first-admin", epilog=EXIT_CODES)
def first_admin(login: Annotated[str, typer.Argument(help="登录名 / Login.")] = "admin", as_json: Json = False) -> None:
    """建立第一个局管理员，打印一次性链接（在服务器上运行）/ Make the first administrator; run on the server."""
    from services.portal.domain.accounts import AdminExists
    from xinhuo.chassis.errors import RuleError

    from . import installing
    from .main import explained as on_the_server

    try:
        with on_the_server():
            secret = installing.first_admin(os.environ, login)
    except AdminExists as error:
        fail(Exit.REFUSED, f"{error.zh}\n{error.en}")
    except RuleError as error:
        fail(Exit.USAGE, f"{error.zh}\n{error.en}")
    if as_json:
        print_json({"login": login, "link": secret})
        return
    typer.echo(f"局管理员 / administrator: {login}")
    _show_link(secret)
    typer.echo("设置密码 / set the password: xinhuo activate")


@app.command("create", epilog=EXIT_CODES)
def create(
    login: Annotated[str, typer.Argument(help="登录名 / Login.")],
    role: Annotated[str, typer.Option(help="角色，如 clerk、unit_operator / Role.")],
    unit: Annotated[str | None, typer.Option(help="单位代码 / Code of the unit.")] = None,
    team: Annotated[str | None, typer.Option(help="队伍代码 / Code of the team.")] = None,
    volunteer: Annotated[str | None, typer.Option(help="志愿者编号 / Id of the volunteer.")] = None,
    portal: Portal = DEFAULT_PORTAL,
    as_json: Json = False,
) -> None:
    """建立账号，打印一次性链接 / Make an account and print its one-time link."""
    given = {"login": login, "role": role, "unit_code": unit, "team_code": team, "volunteer_id": volunteer}
    with explained(as_json):
        body = {name: value for name, value in given.items() if value is not None}
        made = portal_as_somebody(portal).post("portal", "/v1/accounts", body)
    if as_json:
        print_json(made)
        return
    typer.echo(f"{made['id']}  {made['login']}  {made['role']}")
    _show_link(made["activation"]["secret"])


@app.command("list", epilog=EXIT_CODES)
def list_accounts(portal: Portal = DEFAULT_PORTAL, as_json: Json = False) -> None:
    """列出账号 / List the accounts."""
    with explained(as_json):
        found = portal_as_somebody(portal).pages("portal", "/v1/accounts", limit=200)
    if as_json:
        print_json({"accounts": found})
        return
    for one in found:
        of = one.get("unit_code") or one.get("team_code") or "—"
        typer.echo(f"{one['id']}  {one['login']:<24} {one['role']:<16} {of:<16} {one['state']}")


@app.command("reset", epilog=EXIT_CODES)
def reset(
    account_id: Annotated[str, typer.Argument(metavar="ID", help="账号编号，见 accounts list / Id of the account.")],
    portal: Portal = DEFAULT_PORTAL,
    as_json: Json = False,
) -> None:
    """打印设置新密码的一次性链接 / Print a one-time link for a new password."""
    with explained(as_json):
        made = portal_as_somebody(portal).post("portal", f"/v1/accounts/{account_id}:reset")
    if as_json:
        print_json(made)
        return
    _show_link(made["secret"])


@keys_app.command("create", epilog=EXIT_CODES)
def create_key(
    name: Annotated[str, typer.Argument(help="名称 / Name of the client.")],
    role: Annotated[str, typer.Option(help="department | service | unit_operator | clerk …")],
    scopes: Annotated[str, typer.Option(help="权限，逗号分隔 / Rights, separated by commas.")],
    department: Annotated[str | None, typer.Option(help="部门代号 / Code of the department.")] = None,
    unit: Annotated[str | None, typer.Option(help="单位代码 / Code of the unit.")] = None,
    days: Annotated[int, typer.Option(min=1, max=365, help="有效天数 / Days that the key is good for.")] = 90,
    portal: Portal = DEFAULT_PORTAL,
    as_json: Json = False,
) -> None:
    """建立接口客户端并打印密钥 / Make an API client and print its key."""
    given = {
        "name": name, "role": role, "scopes": [one.strip() for one in scopes.split(",") if one.strip()],
        "department_code": department, "unit_code": unit,
    }  # fmt: skip
    with explained(as_json):
        api = portal_as_somebody(portal)
        client = api.post("portal", "/v1/clients", {key: value for key, value in given.items() if value is not None})
        made = api.post("portal", f"/v1/clients/{client['id']}/keys", {"days": days})
    _show_key({**made, "client_id": client["id"]}, as_json)


@keys_app.command("rotate", epilog=EXIT_CODES)
def rotate_key(
    client: Annotated[str, typer.Argument(help="客户端编号 / Id of the client.")],
    prefix: Annotated[str, typer.Argument(help="旧密钥的前缀 / Prefix of the old key.")],
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=168, help="旧密钥的重叠期 / Hours that the old one stays.")
    ] = 24,
    portal: Portal = DEFAULT_PORTAL,
    as_json: Json = False,
) -> None:
    """换新密钥，旧的在重叠期后失效 / Replace a key; the old one stays good for the overlap."""
    with explained(as_json):
        path = f"/v1/clients/{client}/keys/{prefix}:rotate"
        made = portal_as_somebody(portal).post("portal", path, {"overlap_hours": overlap_hours})
    _show_key({**made, "client_id": client}, as_json)


@keys_app.command("revoke", epilog=EXIT_CODES)
def revoke_key(
    client: Annotated[str, typer.Argument(help="客户端编号 / Id of the client.")],
    prefix: Annotated[str, typer.Argument(help="密钥的前缀 / Prefix of the key.")],
    portal: Portal = DEFAULT_PORTAL,
    as_json: Json = False,
) -> None:
    """立即作废密钥 / End a key at once."""
    with explained(as_json):
        ended = portal_as_somebody(portal).post("portal", f"/v1/clients/{client}/keys/{prefix}:revoke", repeatable=True)
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"已作废 / ended: {prefix}")


@keys_app.command("list", epilog=EXIT_CODES)
def list_clients(portal: Portal = DEFAULT_PORTAL, as_json: Json = False) -> None:
    """列出接口客户端及其密钥 / List the API clients with their keys."""
    with explained(as_json):
        api = portal_as_somebody(portal)
        found = [api.get("portal", f"/v1/clients/{one['id']}") for one in api.pages("portal", "/v1/clients", limit=200)]
    if as_json:
        print_json({"clients": found})
        return
    for one in found:
        typer.echo(f"{one['id']}  {one['name']}  {one['role']}  {one['state']}  {'、'.join(one['scopes'])}")
        for key in one["keys"]:
            ended = "已作废 / ended" if key["revoked_at"] else f"至 / until {key['expires_at']}"
            typer.echo(f"    {key['prefix']}  {ended}")


def _show_link(secret: str) -> None:
    typer.echo("一次性链接，72 小时内有效，只显示这一次 / one-time link, good for 72 hours, shown this once:")
    typer.echo(f"  {secret}")


def _show_key(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(f"客户端 / client: {made['client_id']}")
    typer.echo(f"密钥，只显示这一次，至 / key, shown this once, good until {made['expires_at']}:\n  {made['key']}")
