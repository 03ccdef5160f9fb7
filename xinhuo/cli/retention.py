"""``xinhuo retention``: what would be removed because its time has come, and what was."""

import os
from typing import Annotated, Any

import typer

from .exits import EXIT_CODES
from .output import Json, instant_of, print_json

app = typer.Typer(help="保存期限 / How long what is kept.", no_args_is_help=True)

_Service = Annotated[str | None, typer.Argument(help="一个服务；不写则全部 / One service, or all.")]
_KEPT = {
    "always": "长期保存 / always",
    "while_needed": "用完即移除 / while needed",
    "event_months": "按 XINHUO_KEEP_EVENTS_MONTHS / by XINHUO_KEEP_EVENTS_MONTHS",
}


@app.command(epilog=EXIT_CODES)
def due(service: _Service = None, as_json: Json = False) -> None:
    """列出各表的保存期限及到期行数；只看，不删 / Show how long what is kept and what is due; remove nothing."""
    from .main import each_database

    found = each_database(service, lambda name, db, _versions: _due(name, db))
    if as_json:
        print_json({"services": [{"service": name, "tables": lines} for name, lines in found.items()]})
        return
    for name, lines in found.items():
        for line in lines:
            count = "" if line["due"] is None else f"   到期 / due: {line['due']:,}"
            table = f"{line['table']}/{line['rule']}" if line["rule"] else line["table"]
            typer.echo(f"{name}.{table}   {_KEPT.get(line['keep'], line['keep'])}{count}")
            typer.echo(f"    {line['what']} / {line['what_en']}；依据 / by: {line['clause']}")


@app.command("report", epilog=EXIT_CODES)
def report_(
    service: _Service = None,
    since: Annotated[
        str | None, typer.Option(help="从这一天起，如 2026-03-01；不写则全部 / From this day on, or all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """列出因到期已删除的行数与依据 / Show how many rows were removed in time, and by which clause."""
    from zoneinfo import ZoneInfo

    from .main import each_database

    first = "0001-01-01" if since is None else str(instant_of(since, "--since", ZoneInfo("UTC")).date())
    found = each_database(service, lambda _name, db, _versions: _reports(db, first))
    if as_json:
        print_json({"services": [{"service": name, "removed": rows} for name, rows in found.items()]})
        return
    for name, rows in found.items():
        for row in rows:
            table = f"{row['table_name']}/{row['rule']}" if row["rule"] else row["table_name"]
            typer.echo(f"{row['day']}   {name}.{table}   {row['removed']:,} 行 / rows   依据 / by: {row['clause']}")
    if not any(found.values()):
        typer.echo("没有到期删除的记录 / nothing was removed")


def _due(name: str, db: Any) -> list[dict[str, Any]]:
    from xinhuo.chassis import config
    from xinhuo.chassis.security import Keys
    from xinhuo.chassis.service import Runtime

    from . import build

    service = build.service_class(name)()
    # Counting opens nothing that is encrypted: no key is needed.
    service.runtime = Runtime(config.load(os.environ), db, Keys(bytes(32)), retention=build.retention())
    with db.transaction() as session:
        return [
            {
                "table": line.table, "rule": line.rule, "keep": line.keep, "due": count,
                "clause": line.clause, "what": line.what, "what_en": line.what_en,
            }
            for line, count in service.due(session)
        ]  # fmt: skip


def _reports(db: Any, since: str) -> list[dict[str, Any]]:
    from xinhuo.chassis.retention.work import reports

    with db.transaction() as session:
        return reports(session, since)
