"""What ``xinhuo dead`` says: groups, letters, histories and results."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from xinhuo.chassis.desk.decisions import Item

#: As many single letters are shown of a long answer; --json has them all.
_SHOWN = 20


def show_groups(found: list[dict[str, Any]]) -> None:
    """Show how many letters wait, by handler and reason."""
    from rich.table import Table

    # What is to be copied, handler and reason, is never cut, however narrow the terminal is.
    table = Table()
    table.add_column("处理者 handler", no_wrap=True)
    table.add_column("原因 reason", overflow="fold")
    table.add_column("封数", justify="right")
    table.add_column("最早 oldest，最近 newest")
    widest = max(len(row["handler"]) for row in found)
    for row in found:
        table.add_row(
            row["handler"], f"{row['reason']}\n{row['reason_text'].partition(' / ')[0]}",
            f"{row['waiting']:,}", f"{_when(row['oldest_at'])}\n{_when(row['newest_at'])}",
        )  # fmt: skip
    console = _console()
    console.width = max(console.width, widest + 64)
    console.print(table)
    total = sum(row["waiting"] for row in found)
    typer.echo(f"共 {total:,} 封待处理；逐封列出加 --each / {total:,} wait; --each lists them one by one")


def show_letters(found: list[dict[str, Any]]) -> None:
    """Show single letters, a line each."""
    # Lines and no table: an id is there to be copied, and a narrow terminal would cut it.
    for row in found:
        again = f"  ← {row['retry_of']}" if row["retry_of"] else ""
        typer.echo(
            f"{row['id']}  {_when(row['died_at'])}  {row['state']}  {row['handler']}  {row['reason']}"
            f"  {row['type'] or '—'}  {row['event_id'] or '—'}{again}"
        )


def show_one(found: dict[str, Any]) -> None:
    """Show one letter with its history."""

    def line(zh: str, value: Any) -> None:
        if value not in (None, ""):
            typer.echo(f"{zh}: {value}")

    line("编号 / id", found["id"])
    line("服务 / service", found["service"])
    line("处理者 / handler", found["handler"])
    line("状态 / state", found["state"])
    line("原因 / reason", f"{found['reason']}  {found['reason_text']}")
    line("错误 / error", found["error"])
    line("成为死信 / died at", f"{_when(found['died_at'])}  尝试 / attempts {found['attempts']}")
    line("内容 / body", f"{found['size']:,} 字节 / bytes, SHA-256 {found['sha256']}")
    line("现在仍读不出 / cannot be read", found["unreadable"])
    for event in found["events"]:
        line("事件 / event", f"{event['id']}  {event['type']}  {_when(event['time'])}")
        line("数据 / data", json.dumps(event["data"], ensure_ascii=False, default=str))
    line("已生效 / took effect at", _when(found["handled_at"]))
    line("下次尝试 / next attempt at", _when(found["next_attempt_at"]))
    line("栈 / stack", f"\n{found['stack'].rstrip()}" if found["stack"] else None)
    for action in found["actions"]:
        typer.echo(f"历史 / history: {_when(action['at'])}  {action['action']} → {action['outcome']}  "
                   f"{action['by']}: {action['why']}")  # fmt: skip
    for other in found["others"]:
        typer.echo(f"同一事件的死信 / of the same event: {other['id']}  {_when(other['died_at'])}  {other['state']}  "
                   f"{other['reason']}")  # fmt: skip


def show_result(result: list[dict[str, Any]], total: int, *, dry_run: bool) -> None:
    """Show what became, or would become, of letters."""
    from xinhuo.chassis.desk import decisions

    if dry_run:
        typer.echo("只是试做，没有改动 / a rehearsal: nothing was changed")
    for outcome, count in Counter(item["outcome"] for item in result).items():
        typer.echo(f"{' / '.join(decisions.OUTCOMES[outcome])}: {count:,}")
    bad = [item for item in result if item["code"]]
    for item in bad[:_SHOWN]:
        typer.echo(f"  {item['id']}  {item['handler']}  {item['code']}  {item['detail']} / {item['detail_en']}")
    if len(bad) > _SHOWN:
        typer.echo(f"  …还有 {len(bad) - _SHOWN:,} 封，见 --json / and {len(bad) - _SHOWN:,} more, see --json")
    if len(result) < total:
        away = total - len(result)
        typer.echo(f"{away:,} 封正由他人处理 / {away:,} are being decided about by somebody else")
    if any(item["outcome"] == decisions.QUEUED for item in result):
        typer.echo(
            "由该服务的 worker 处理；若再失败会成为新的死信：xinhuo dead list / "
            "the service's worker handles them; what fails again is in xinhuo dead list"
        )


def spoken(service: str, item: "Item") -> dict[str, Any]:
    """Return what became of a letter, with its service and texts."""
    from xinhuo.chassis.desk.routes import spoken as told

    return {"service": service, **told(item)}


def summary(result: list[dict[str, Any]], dry_run: bool) -> dict[str, Any]:
    """Return the answer for programs."""
    return {"dry_run": dry_run, "counts": Counter(item["outcome"] for item in result), "items": result}


def _when(instant: datetime | None) -> str | None:
    from xinhuo.chassis.web.schema import OFFICE_ZONE

    return instant.astimezone(OFFICE_ZONE).isoformat(" ", "seconds") if instant else None


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


@contextmanager
def progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how far a large decision is, to people only."""
    if quiet or total <= _SHOWN:
        yield lambda _count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("死信 / dead letters"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=_console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=total)
        yield lambda count: bars.advance(task, count)
