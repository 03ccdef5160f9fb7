"""``xinhuo prove`` and ``make prove``: options, servers, the printed report, the exit code."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ..exits import Exit
from ..output import Json, fail, print_json

Seconds = Annotated[
    int, typer.Option("--seconds", min=10, max=600, help="加压与故障的秒数 / Seconds under load and faults.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="种子，相同则故障相同；不写则随机并打印 / Same seed, same faults.")
]
Plain = Annotated[bool, typer.Option("--plain/--no-plain", help="也测 plain nameko 作对照 / Also the plain baseline.")]
Keep = Annotated[
    Path | None, typer.Option("--keep", file_okay=False, help="保留记录与日志的目录 / Keep record and logs here.")
]
Management = Annotated[
    str | None,
    typer.Option(
        "--management",
        help="管理接口 http://用户:密码@主机:15672，用来新建临时虚拟主机 / Management API, to make a throw-away vhost.",
    ),
]


def prove(
    seconds: Seconds = 90,
    seed: Seed = None,
    plain: Plain = True,
    management: Management = None,
    keep: Keep = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只列出将做的故障 / List the faults only.")] = False,
    as_json: Json = False,
) -> None:
    """在故障下证明不丢不重；临时库用完即删 / Prove under faults, on given servers, that nothing is lost or doubled."""
    import psycopg

    from xinhuo.chassis.config import BadSettings
    from xinhuo.chassis.wire import BrokerUnavailable

    from . import faults, run
    from .servers import NotFree

    chosen = run.new_seed() if seed is None else seed
    if dry_run:
        kinds = [kind for kind in faults.KINDS if kind not in faults.OWN_SERVERS]
        _print_plan(faults.plan(chosen, seconds, kinds), chosen, as_json)
        return
    again = f"xinhuo prove --seconds {seconds} --seed {chosen}"
    try:
        given = _given(management)
        code = conclude(given, run.Options(seconds, chosen, with_plain=plain, folder=keep, again=again), as_json)
    except BadSettings as error:
        fail(Exit.USAGE, str(error))
    except NotFree as error:
        fail(Exit.REFUSED, str(error))
    except BrokerUnavailable as error:
        fail(Exit.UNAVAILABLE, f"RabbitMQ 连接不上 / the broker is away: {error}")
    except psycopg.errors.InsufficientPrivilege as error:
        fail(Exit.REFUSED, f"该账号不能新建数据库 / the account may not create databases: {error}")
    except psycopg.OperationalError:
        fail(Exit.UNAVAILABLE, "PostgreSQL 连接不上 / the database is away")
    raise typer.Exit(code)


def _given(management: str | None) -> Any:
    from xinhuo.chassis import config

    from . import servers

    settings = config.load(os.environ)
    if settings.amqp_uri is None or settings.database_url is None:
        raise config.BadSettings(
            ["缺少 AMQP_URI 或 DATABASE_URL / AMQP_URI and DATABASE_URL are needed; make prove brings its own servers"]
        )
    given = servers.Servers(settings.amqp_uri, settings.database_url)
    return servers.with_management(given, management) if management else given


def conclude(given: Any, options: Any, as_json: bool) -> int:
    """Run a proof and print what it found; return the exit code."""
    from . import report, run

    found = run.prove(given, options)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(report.lines(found)))
    if not found["ok"]:
        typer.echo(f"再现 / run again: {found['again']}", err=True)
    return int(Exit.OK if found["ok"] else Exit.REFUSED)


def _print_plan(planned: Any, seed: int, as_json: bool) -> None:
    if as_json:
        listed = [{"at": fault.at, "kind": fault.kind} for fault in planned]
        print_json({"seed": seed, "faults": listed})
        return
    typer.echo(f"seed {seed}")
    for fault in planned:
        typer.echo(f"{fault.at:6.1f} s  {fault.kind}")
