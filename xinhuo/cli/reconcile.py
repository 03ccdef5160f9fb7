"""``xinhuo reconcile``: ledger, statistics, star tallies and acknowledgements are compared and must be equal."""

import contextlib
import math
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import Exit
from .output import Json, fail, print_json

if TYPE_CHECKING:
    from xinhuo.chassis.reconcile.results import Result

#: What each comparison says when it holds.
TITLES = {
    "ledger_statistics": ("台账 = 统计（月、单位、队伍、类别）", "ledger = statistics by month, unit, team, category"),
    "ledger_volunteer_months": ("台账 = 统计（志愿者、月）", "ledger = statistics by volunteer and month"),
    "ledger_counted": ("每条台账记录都已统计", "every entry of the ledger was counted"),
    "tally_entries_tallies": ("星级累计 = 其中各条记录", "star tallies = the entries in them"),
    "tallies_stars": ("星级 = 累计应得的星级", "stars held = stars deserved"),
    "ledger_tally_entries": ("台账 = 星级累计中的记录", "ledger = entries in the star tallies"),
    "ledger_tally_reversals": ("冲正 = 星级累计中的冲正", "reversals = reversals in the star tallies"),
    "ledger_acknowledgements": ("每条台账记录一次致谢", "one acknowledgement for each entry of the ledger"),
    "stars_acknowledgements": ("每次获星一次祝贺", "one acknowledgement for each star earned"),
}


def command(
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            min=0,
            max=525_600,
            metavar="MINUTES",
            help="多少分钟内的事件视为在途 / Events younger than this many minutes may be on their way.",
        ),
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """对账：台账 = 统计 = 星级累计 = 致谢；有差异时退出码 1 / Compare ledger, statistics, stars and messages."""
    from .main import explained

    if math.isnan(older_than):
        fail(Exit.USAGE, "--older-than 应为分钟数 / --older-than must be a number of minutes")
    with explained():
        results = run(os.environ, timedelta(minutes=older_than))
    equal = all(result.equal for result in results)
    if as_json:
        print_json({"equal": equal, "comparisons": [one.as_json() for one in results]})
    else:
        for result in results:
            _show(result)
        if older_than:
            typer.echo(
                f"{older_than:g} 分钟内的记录与事件没有比较；要全部比较，加 --older-than 0 / what is younger than "
                f"{older_than:g} minutes was not compared; --older-than 0 compares everything"
            )
    raise typer.Exit(Exit.OK if equal else Exit.REFUSED)


def run(environment: Mapping[str, str], patience: timedelta) -> "list[Result]":
    """Make every comparison on the databases themselves; raises BadSettings or DatabaseUnavailable."""
    from xinhuo.chassis import config
    from xinhuo.chassis.reconcile.books import DatabaseSource, Source
    from xinhuo.chassis.reconcile.entrypoints import NightlyReconciliation
    from xinhuo.chassis.security import Keys
    from xinhuo.chassis.service import Runtime

    from . import build

    settings = config.load(environment)
    results: list[Result] = []
    with contextlib.ExitStack() as stack:
        services: list[Any] = []
        sources: dict[str, Source] = {}
        for name in config.SERVICES:
            service = build.service_class(name)()
            db = build.database(name, settings, role="reconcile")
            stack.callback(db.close)
            # Nothing that is compared is encrypted: no key is needed.
            service.runtime = Runtime(settings, db, Keys(bytes(32)))
            sources[name] = DatabaseSource(db, getattr(service, "books", {}))
            if isinstance(service, NightlyReconciliation):
                services.append(service)
        for service in services:
            results += service.compare_tables(patience)
        for service in services:
            results += service.compare_copies(sources, patience)
    return results


def _show(result: "Result") -> None:
    zh, en = TITLES[result.comparison]
    sign = "✓" if result.equal else "✗"
    waiting = f"，在途 / on their way {result.waiting:,}" if result.waiting else ""
    typer.echo(f"{sign} {zh} / {en}: {result.expected:,} | {result.found:,}{waiting}")
    if result.first is None:
        return
    at_least = "" if result.complete else "至少 / at least "
    first = result.first
    typer.echo(f"    差异 / differences: {at_least}{result.differences:,}   ({result.service}: {result.comparison})")
    typer.echo(f"    第一条 / first: {first.kind} {first.key}")
    typer.echo(f"    应为 / expected: {first.expected or '—'}   实为 / found: {first.found or '—'}")
    typer.echo(f"    原因 / cause: {first.about}")
    typer.echo(f"    处理 / remedy: {first.remedy}")
