"""``xinhuo rebuild``: count a read model anew while everything goes on."""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .exits import EXIT_CODES, Exit
from .output import Json, print_json

if TYPE_CHECKING:
    from services.volunteers.commands.rebuild import Rebuilt

app = typer.Typer(help="重建读模型 / Read models, counted anew.", no_args_is_help=True)

_PHASES = {
    "lock": "加锁 / taking the lock",
    "snapshot": "取快照 / taking the snapshot",
    "count": "重新统计 / counting anew",
    "compare": "比对 / comparing",
    "switch": "切换 / switching over",
    "commit": "切换 / switching over",
    "done": "完成 / done",
}


@app.callback()
def _rebuild() -> None:
    """重建读模型 / Read models, counted anew."""


@app.command("statistics", epilog=EXIT_CODES)
def statistics(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="只统计和比对，不切换 / Count and compare, change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """由台账重新统计，期间照常使用，完成后一次切换 / Count the statistics anew from the ledger and switch over.

    Hours may be logged and statistics read meanwhile. Exit code 1 when ledger and event log do not tell the same.
    """
    from services.volunteers.commands.rebuild import RebuildRunning, rebuild_statistics
    from xinhuo.chassis import config

    from . import build
    from .main import explained

    with explained():
        db = build.database("volunteers", config.load(os.environ), role="rebuild")
        try:
            result = rebuild_statistics(db, dry_run=dry_run, on_phase=_teller(as_json))
        except RebuildRunning as error:
            typer.echo(f"{error.zh} / {error.en}", err=True)
            raise typer.Exit(Exit.REFUSED) from None
        finally:
            db.close()
    if as_json:
        print_json({"model": "statistics", "dry_run": dry_run, **result.as_plain()})
    else:
        _show(result, dry_run=dry_run)
    if result.unlike_log:
        raise typer.Exit(Exit.REFUSED)


def _teller(quiet: bool) -> Any:
    def tell(phase: str) -> None:
        if not quiet and sys.stderr.isatty():
            typer.echo(f"… {_PHASES[phase]}", err=True)

    return tell


def _show(result: "Rebuilt", *, dry_run: bool) -> None:
    for name, totals in (("重建前 / before", result.before), ("重建后 / after", result.after)):
        typer.echo(f"{name:<18} {totals.minutes:>14,} min {totals.entries:>12,} entries {totals.cells:>8,} cells")
    if coming := result.waiting - result.dropped:
        typer.echo(f"另有 {coming:,} 条尚待处理，将照常计入 / wait to be counted as usual")
    if result.dropped:
        typer.echo(
            f"另有 {result.dropped:,} 条的事件已作废，重放后才会计入 / belong to events dropped at the desk, and count "
            "only after: xinhuo events replay --service volunteers --handler keep_statistics --since 2026-03-01"
        )
    for row in result.first:
        key = " ".join(str(row[part]) for part in _KEY if part in row)
        typer.echo(
            f"  {key}: {row['minutes_before']:,} → {row['minutes_after']:,} min,"
            f" {row['entries_before']:,} → {row['entries_after']:,} entries"
        )
    differing = sum(result.differing.values())
    if not differing:
        typer.echo(f"与台账一致 / equal to the ledger ({result.entries:,} entries, {result.seconds:.1f} s)")
    else:
        word = "有差异，未改动 / rows differ, nothing changed" if dry_run else "已更正 / rows put right"
        typer.echo(f"{differing:,} 行{word} ({result.entries:,} entries, {result.seconds:.1f} s)")
    if result.unlike_log:
        typer.echo(
            f"台账与事件记录有 {result.unlike_log:,} 条不一致，已以台账为准："
            f"{'、'.join(result.first_unlike_log)} / ledger and event log differ; the ledger was taken",
            err=True,
        )


_KEY = ("volunteer_id", "month", "unit_code", "team_code", "category")
