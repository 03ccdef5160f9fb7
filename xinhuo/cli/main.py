"""The ``xinhuo`` command. Each command imports what it needs when it runs, so that help is instant."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from xinhuo import __version__

from . import doctor, reconcile, signing_in
from .accounts import app as accounts_app
from .accounts import keys_app
from .audit import app as audit_app
from .backup.command import app as backup_app
from .dead import app as dead_app
from .events import app as events_app
from .exits import EXIT_CODES, Exit
from .hours import app as hours_app
from .master_key import app as key_app
from .output import Json, fail, print_json
from .process import ROLES
from .prove.command import prove
from .rebuild import app as rebuild_app
from .retention import app as retention_app
from .topology import app as topology_app

app = typer.Typer(
    help="薪火：志愿服务活动系统 / Xinhuo: volunteer campaigns, from the notice to the star.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(help="数据库结构 / Database schemas.", no_args_is_help=True)
subs_app = typer.Typer(help="部门订阅 / Subscriptions of departments.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(topology_app, name="topology")
app.add_typer(subs_app, name="subs")
app.add_typer(hours_app, name="hours")
app.add_typer(events_app, name="events")
app.add_typer(dead_app, name="dead")
app.add_typer(rebuild_app, name="rebuild")
app.add_typer(key_app, name="key")
app.add_typer(accounts_app, name="accounts")
app.add_typer(audit_app, name="audit")
app.add_typer(backup_app, name="backup")
app.add_typer(keys_app, name="keys")
app.add_typer(retention_app, name="retention")
signing_in.register(app)
app.command("doctor", epilog=EXIT_CODES)(doctor.command)
app.command("reconcile", epilog=EXIT_CODES)(reconcile.command)
app.command("prove", epilog=EXIT_CODES)(prove)

T = TypeVar("T")

DryRun = Annotated[bool, typer.Option("--dry-run", help="只说明将做什么 / Say what would be done, do nothing.")]
#: SQLSTATEs of a schema, a table or a column that is not there, and of a right that is not there.
_OLD_SCHEMA = {"3F000", "42P01", "42703"}
_NOT_ALLOWED = "42501"
#: What the broker answers, by any of its names, to whom it knows not or lets not in; waiting would not help.
_BROKER_SAYS_NO = ("AccessRefused", "ACCESS_REFUSED", "NotAllowed", "NOT_ALLOWED")
Service = Annotated[str, typer.Argument(help="notices | volunteers | awards | notify | portal")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xinhuo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="版本 / Show the version.")
    ] = False,
) -> None:
    """薪火：志愿服务活动系统 / Xinhuo: volunteer campaigns, from the notice to the star."""


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="数据目录 / Data folder [xinhuo-data]")] = None,
    port_base: Annotated[
        int | None,
        typer.Option(min=1, max=65000, help="端口起点 / First port [8000]; notices +1 … portal +5"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="跑完示例即退出 / Show the sample working, then exit.")] = False,
    sample: Annotated[bool, typer.Option(help="装入示例数据 / Load the sample data.")] = True,
    as_json: Json = False,
) -> None:
    """在一台机器上启动全部服务 / Start everything in one place, with sample data."""
    from . import up as command

    with explained():
        code = command.run(os.environ, data=data, port_base=port_base, once=once, with_sample=sample, as_json=as_json)
    raise typer.Exit(code)


@app.command()
def serve(
    service: Service,
    role: Annotated[str, typer.Option(help="api | worker | all")] = "all",
    port: Annotated[
        int | None, typer.Option(help="HTTP 端口 / HTTP port; a worker serves health and metrics there.")
    ] = None,
) -> None:
    """运行一个服务进程（需要 RabbitMQ 和 PostgreSQL）/ Run one process of a service."""
    from xinhuo.chassis import config

    from . import build

    with explained():
        settings = config.load(os.environ)
        build.check_adapter(settings)
        known_service(service)
        if role not in (*ROLES, "all"):
            fail(
                Exit.USAGE,
                f"--role 应为 api、worker 或 all / --role must be api, worker or all, not {role!r}",
            )
        chosen = port or settings.port_of(service) + (10 if role == "worker" else 0)
        command = [sys.executable, "-m", "xinhuo.cli.process", service, "--role", role, "--port", str(chosen)]
        os.execv(sys.executable, command)  # noqa: S606  (eventlet must patch before anything else is imported)


@db_app.command("upgrade")
def db_upgrade(
    service: Annotated[str | None, typer.Argument(help="一个服务；不写则全部 / One service, or all.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """升级数据库结构 / Bring the schemas to the newest version."""

    def work(name: str, db: Any, versions: Path) -> dict[str, Any]:
        from xinhuo.chassis import migrations

        if dry_run:
            migrations.check_restored(db)
            return _standing(name, db, versions)
        before, after = migrations.upgrade(db, versions)
        return {"service": name, "from": before, "to": after}

    _each_database(service, work, as_json)


@db_app.command("current")
def db_current(
    service: Annotated[str | None, typer.Argument(help="一个服务；不写则全部 / One service, or all.")] = None,
    as_json: Json = False,
) -> None:
    """查看数据库结构版本；有待升级时退出码 1 / Show schema versions; exit 1 when an upgrade is pending.

    Tables of a later release that this one works with are no pending upgrade.
    """
    if not all(row["serves"] for row in _each_database(service, _standing, as_json)):
        raise typer.Exit(Exit.REFUSED)


def _standing(name: str, db: Any, versions: Path) -> dict[str, Any]:
    from xinhuo.chassis import migrations

    tables, head = migrations.tables_of(db), migrations.head(versions)
    return {"service": name, "from": tables.revision, "to": head, "serves": tables.serve(head)}


@subs_app.command("create")
def subs_create(
    code: Annotated[str, typer.Argument(help="部门代号（小写字母、数字、-）/ Code of the department.")],
    events: Annotated[str, typer.Option(help="事件类型，逗号分隔 / Event types, separated by commas.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="换新密码 / Give its user a new password.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """建立部门的事件出口 dept.<code>.events 及其用户 / Make a department's exchange, bound to its types, and its user.

    The user may use names of the department's own and nothing else. It is made where XINHUO_RABBITMQ_API is set.
    """
    from . import broker

    with explained():
        result = broker.create_subscription(
            os.environ,
            code,
            [item.strip() for item in events.split(",") if item.strip()],
            dry_run=dry_run,
            rotate=rotate,
        )
    if as_json:
        print_json(result)
        return
    typer.echo(f"{'将建立 / would make' if dry_run else '已建立 / made'}: {result['exchange']}")
    for topic in result["events"]:
        typer.echo(f"  {topic}")
    _show_department(result)
    typer.echo("接收方法见 docs/subscribing.md / how to receive: docs/subscribing.md")


def _show_department(made: dict[str, Any]) -> None:
    if made["user"] is None:
        typer.echo(
            "没有 XINHUO_RABBITMQ_API，未建立用户；不要把自己的账号给部门 / "
            "no user was made, for want of XINHUO_RABBITMQ_API: do not give a department an account of yours"
        )
    elif made["amqp_uri"]:
        typer.echo(f"用户 / user: {made['user']}")
        typer.echo("连接地址，只显示这一次 / its address, shown this once:")
        typer.echo(f"  AMQP_URI={made['amqp_uri']}")
    else:
        kept = "将建立或核对 / would be made or checked" if made["dry_run"] else "密码不变 / its password is as it was"
        typer.echo(f"用户 / user: {made['user']}（{kept}）")


@subs_app.command("events")
def subs_events(as_json: Json = False) -> None:
    """列出可订阅的公开事件 / List the public events one can subscribe to."""
    from . import broker

    listed = broker.public_events()
    if as_json:
        print_json({"events": listed})
        return
    for item in listed:
        typer.echo(f"{item['type']:<40} {item['what']}")


def each_database(service: str | None, work: Callable[[str, Any, Path], T]) -> dict[str, T]:
    """Do the work on the database of one service, or of all; return what came of it by service."""
    from xinhuo.chassis import config

    from . import build

    done = {}
    with explained():
        settings = config.load(os.environ)
        for name in [known_service(service)] if service else config.SERVICES:
            db = build.database(name, settings)
            try:
                done[name] = work(name, db, build.versions_of(name))
            finally:
                db.close()
    return done


def _each_database(
    service: str | None, work: Callable[[str, Any, Path], dict[str, Any]], as_json: bool
) -> list[dict[str, Any]]:
    rows = list(each_database(service, work).values())
    if as_json:
        print_json({"services": rows})
    else:
        for row in rows:
            state = f"{row['from'] or '—'} → {row['to']}"
            if row["from"] == row["to"]:
                state = "已是最新 / up to date"
            elif (row["from"] or "") > row["to"]:
                state = f"{row['from']} > {row['to']} 来自更新的版本 / of a later release"
            typer.echo(f"{row['service']:<12} {state}")
    return rows


def known_service(name: str) -> str:
    """Return the name if it is a service's; ends the command otherwise."""
    from xinhuo.chassis.config import SERVICES

    if name not in SERVICES:
        fail(
            Exit.USAGE,
            f"没有服务 {name!r}，可选 {'、'.join(SERVICES)} / unknown service; one of {', '.join(SERVICES)}",
        )
    return name


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors that a person can do something about into one message and an exit code."""
    from xinhuo.chassis.config import BadSettings
    from xinhuo.chassis.db import DatabaseUnavailable, is_outage
    from xinhuo.chassis.migrations import HalfRestored, TablesTooNew
    from xinhuo.chassis.security import BadKeyFile
    from xinhuo.chassis.wire import BrokerUnavailable, ManagementRefused

    from .broker import BadSubscription, TopologyDiffers

    try:
        yield
    except (BadSettings, BadKeyFile, BadSubscription, ManagementRefused) as error:
        fail(Exit.USAGE, str(error))
    except (TopologyDiffers, TablesTooNew, HalfRestored) as error:
        fail(Exit.REFUSED, str(error))
    except BrokerUnavailable as error:
        if any(sign in str(error) for sign in _BROKER_SAYS_NO):
            fail(
                Exit.USAGE,
                "RabbitMQ 拒绝了登录：账号、密码或虚拟主机不对，或没有权限，请检查 AMQP_URI / "
                f"RabbitMQ refused: wrong user, password or virtual host, or no permission; check AMQP_URI: {error}",
            )
        fail(Exit.UNAVAILABLE, f"RabbitMQ 连接不上，请检查 AMQP_URI 与服务状态 / the broker is away: {error}")
    except KeyboardInterrupt:
        fail(Exit.INTERRUPTED, "已中断 / interrupted")
    except Exception as error:
        _explain_sample(error)
        if isinstance(error, DatabaseUnavailable) or is_outage(error):
            fail(Exit.UNAVAILABLE, "PostgreSQL 连接不上，请检查 DATABASE_URL 与服务状态 / the database is away")
        _explain_schema(error)
        raise


def _explain_schema(error: Exception) -> None:
    """End the command when tables are missing or old, or the account may not use them."""
    from sqlalchemy.exc import DBAPIError

    from xinhuo.chassis.db import sqlstate

    code = sqlstate(error) if isinstance(error, DBAPIError) else None
    if code in _OLD_SCHEMA:
        fail(Exit.REFUSED, "数据库结构不是最新，请先运行 xinhuo db upgrade / first run xinhuo db upgrade")
    if code == _NOT_ALLOWED:
        fail(
            Exit.USAGE,
            "DATABASE_URL 的账号没有所需的权限，请用服务所用的账号 / "
            "the account of DATABASE_URL may not do this; use the one that the services use",
        )


def _explain_sample(error: Exception) -> None:
    """End the command when the error is one of loading and showing the sample data."""
    from .client import ApiProblem, ServiceAway
    from .imports import NothingMoves
    from .sample.report import NotSettled

    if isinstance(error, ApiProblem):
        fail(Exit.REFUSED, str(error))
    if isinstance(error, ServiceAway | NothingMoves | NotSettled):
        fail(Exit.UNAVAILABLE, str(error))


def main() -> None:
    """Run the command line."""
    app()
