"""``xinhuo login``, ``logout``, ``whoami`` and ``activate``."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import signed_in
from .exits import EXIT_CODES, Exit
from .output import Json, fail, print_json
from .signed_in import DEFAULT_PORTAL

if TYPE_CHECKING:
    from .client import Api

Portal = Annotated[
    str, typer.Option("--portal", envvar="XINHUO_PORTAL_URL", help="门户服务的地址 / Address of the portal.")
]
Stdin = Annotated[
    bool, typer.Option("--password-stdin", help="从标准输入读密码 / Read the password from standard input.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (login, logout, whoami, token, activate):
        app.command(epilog=EXIT_CODES)(command)


def login(
    name: Annotated[str, typer.Argument(metavar="LOGIN", help="登录名 / Login.")],
    portal: Portal = DEFAULT_PORTAL,
    code: Annotated[
        str | None, typer.Option(help="动态验证码 / Code of the second factor; asked for if needed.")
    ] = None,
    password_stdin: Stdin = False,
    as_json: Json = False,
) -> None:
    """登录，其后的命令以该账号执行 / Sign in; later commands act as this account."""
    from .client import Api, ApiProblem

    with explained(as_json):
        password = _password("密码 / password", password_stdin)
        api = Api({"portal": portal}, patience=3.0)
        body = {"login": name, "password": password, "code": code}
        try:
            answer = api.post("portal", "/v1/sessions", body)
        except ApiProblem as problem:
            if problem.code != "login.code_needed" or password_stdin:
                raise
            body["code"] = typer.prompt("动态验证码 / code")
            answer = api.post("portal", "/v1/sessions", body)
        path = signed_in.session_path(os.environ)
        signed_in.write(path, portal, answer)
    _show(answer["account"], as_json, "已登录 / signed in")


def logout(as_json: Json = False) -> None:
    """退出登录 / Sign out and forget the session."""
    from .client import Api, ServiceAway

    kept = signed_in.forget(signed_in.session_path(os.environ))
    ended = False
    if kept is not None:
        try:
            Api({"portal": kept["portal"]}, patience=0.0).post(
                "portal", "/v1/sessions:end", {"refresh_token": kept["refresh_token"]}, repeatable=True
            )
            ended = True
        except ServiceAway:
            typer.echo("门户不可用，本机已退出，会话到期后失效 / the portal is away: forgotten here, ends there later")
    if as_json:
        print_json({"signed_in_before": kept is not None, "ended": ended})
    elif kept is None:
        typer.echo("没有登录 / nobody was signed in")
    elif ended:
        typer.echo("已退出 / signed out")


def whoami(portal: Portal = DEFAULT_PORTAL, as_json: Json = False) -> None:
    """查看当前以谁的身份执行命令 / Show as whom commands act."""
    with explained(as_json):
        me = portal_as_somebody(portal).get("portal", "/v1/me")
    _show(me, as_json, "当前身份 / acting as")


def token() -> None:
    """打印访问令牌，供 curl 等程序使用，十分钟内有效 / Print an access token for programs, good for ten minutes."""
    with explained(False):
        bearer = signed_in.bearer_of(os.environ)
        if bearer is None:
            fail(Exit.REFUSED, "没有登录，请先运行 xinhuo login / nobody is signed in: run xinhuo login")
        typer.echo(bearer.token())


def activate(portal: Portal = DEFAULT_PORTAL, password_stdin: Stdin = False, as_json: Json = False) -> None:
    """用一次性链接设置密码 / Set a password with the secret of a one-time link (XINHUO_LINK, or asked for)."""
    from .client import Api

    with explained(as_json):
        secret = os.environ.get("XINHUO_LINK") or typer.prompt("一次性链接 / one-time link", hide_input=True)
        password = _password("新密码 / new password", password_stdin, confirm=True)
        made = Api({"portal": portal}, patience=3.0).post(
            "portal", "/v1/activations", {"secret": secret, "password": password}
        )
    if as_json:
        print_json(made)
    else:
        typer.echo("密码已设置，请用 xinhuo login 登录 / the password is set: sign in with xinhuo login")


def portal_as_somebody(portal: str) -> "Api":
    """Return a client of the portal that shows tokens; a session is of the portal that gave it, and asks no other.

    Ends the command when nobody signed in; raises ApiProblem for a session that cannot be read.
    """
    from .client import Api

    bearer = signed_in.bearer_of(os.environ)
    if bearer is None:
        fail(Exit.REFUSED, "没有登录，请先运行 xinhuo login / nobody is signed in: run xinhuo login")
    if isinstance(bearer, signed_in.SessionBearer):
        portal = signed_in.read(signed_in.session_path(os.environ))["portal"]
    return Api({"portal": portal}, bearer=bearer, patience=3.0)


def _password(question: str, from_stdin: bool, *, confirm: bool = False) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    answer: str = typer.prompt(question, hide_input=True, confirmation_prompt=confirm)
    return answer


def _show(account: dict[str, Any], as_json: bool, what: str) -> None:
    if as_json:
        print_json(account)
        return
    of = account.get("unit_code") or account.get("team_code") or account.get("department_code") or ""
    typer.echo(f"{what}: {account['role']} {of}".rstrip())


@contextmanager
def explained(as_json: bool) -> Iterator[None]:
    """Turn what the portal refuses into one message and an exit code."""
    from xinhuo.chassis.identity.bearer import PortalAway

    from .client import ApiProblem, ServiceAway

    try:
        yield
    except ServiceAway as error:
        fail(Exit.UNAVAILABLE, str(error))
    except PortalAway as error:
        fail(Exit.UNAVAILABLE, f"{error.zh}\n{error.en}")
    except ApiProblem as problem:
        if as_json:
            print_json({"error": {"status": problem.status, **problem.body}})
            raise typer.Exit(Exit.REFUSED) from None
        fail(Exit.REFUSED, "\n".join(problem.lines()))
