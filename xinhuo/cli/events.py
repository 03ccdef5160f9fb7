"""``xinhuo events``: send recorded events again to the handlers of one service."""

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from .exits import EXIT_CODES, Exit
from .output import Json, fail, instant_of, print_json, refuse_empty

if TYPE_CHECKING:
    from xinhuo.chassis.config import Settings
    from xinhuo.chassis.db import Database
    from xinhuo.chassis.replay import Report

app = typer.Typer(help="已记录的事件 / Recorded events.", no_args_is_help=True)

_NO_BROKER = (
    "没有设置 AMQP_URI：重放需要 RabbitMQ。用 xinhuo up 在一处运行时不需要重放："
    "每次启动都会把处理程序尚未处理、也不是死信的事件再送一遍，清空某服务的数据后重新启动即可。\n"
    "AMQP_URI is not set: a replay needs RabbitMQ. What runs in one place (xinhuo up) needs none: each start sends "
    "again whatever a handler has not dealt with and is no dead letter; after a service was emptied, start it again."
)


@app.callback()
def _events() -> None:
    """已记录的事件 / Recorded events."""


@app.command("replay", epilog=EXIT_CODES)
def replay_events(
    service: Annotated[str, typer.Option(help="重新接收事件的服务 / The service that gets them again.")],
    since: Annotated[
        str,
        typer.Option(
            help="从此时起记录的事件：日期或时刻，如 2026-03-01、2026-03-01T08:00+08:00 / "
            "Recorded then or later: a date or an instant."
        ),
    ],
    until: Annotated[str | None, typer.Option(help="此时之前 / Recorded before then.")] = None,
    handler: Annotated[
        str | None, typer.Option(help="只给这一个处理程序；不写则全部 / One handler only, or all of the service.")
    ] = None,
    types: Annotated[
        str | None, typer.Option(help="事件类型，逗号分隔；不写则全部 / Event types, separated by commas, or all.")
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="每秒最多条数 / At most so many events a second.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只统计，不发送 / Count only, send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """把已记录的事件再送给一个服务；已处理过的不会重复生效，通知不会再发 / Send recorded events to one service again.

    What it has dealt with takes no effect again, and nobody is told anything again. May be interrupted and repeated.
    """
    from .main import explained

    refuse_empty({"--since": since, "--until": until, "--handler": handler, "--types": types})
    with explained():
        result = _replay(
            os.environ, service, since=since, until=until, handler=handler,
            types=[item.strip() for item in (types or "").split(",") if item.strip()],
            rate=rate, dry_run=dry_run, quiet=as_json,
        )  # fmt: skip
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result["interrupted"]:
        raise typer.Exit(Exit.INTERRUPTED)


def _replay(
    environment: Mapping[str, str],
    service: str,
    *,
    since: str,
    until: str | None,
    handler: str | None,
    types: list[str],
    rate: int | None,
    dry_run: bool,
    quiet: bool,
) -> dict[str, Any]:
    from xinhuo.chassis import config, replay
    from xinhuo.chassis.adapters.amqp import ConfirmingPublisher

    from . import build

    settings = config.load(environment)
    if service not in config.SERVICES:
        names = "、".join(config.SERVICES)
        fail(Exit.USAGE, f"没有服务 {service!r}，可选 {names} / unknown service; one of {', '.join(config.SERVICES)}")
    if settings.amqp_uri is None:
        fail(Exit.USAGE, _NO_BROKER)
    zone = ZoneInfo(settings.time_zone)
    span = replay.Span(instant_of(since, "--since", zone), instant_of(until, "--until", zone) if until else None)
    try:
        targets = replay.targets(build.service_class(service), handler=handler, types=types)
    except replay.UnknownHandler as error:
        fail(Exit.USAGE, str(error))
    stop = threading.Event()
    sent: dict[str, Counter[str]] = {}
    started = time.monotonic()
    with ExitStack() as stack:
        databases = _Databases(settings, stack)
        if dry_run:
            sent = {target.queue: Counter(replay.count(databases.of, target, span)) for target in targets}
        else:
            publisher = ConfirmingPublisher(settings.amqp_uri, name="xinhuo replay", confirm_seconds=5.0)
            stack.callback(publisher.close)
            report = stack.enter_context(_progress(quiet))
            stack.enter_context(_interruptible(stop))
            try:
                for target in targets:
                    sent[target.queue] = replay.send(
                        databases.of, publisher, target, span, rate=rate, report=report, stop=stop
                    )
            except replay.NotReplayed as error:
                fail(Exit.UNAVAILABLE, str(error))
    seconds = time.monotonic() - started
    total: Counter[str] = sum(sent.values(), Counter())
    return {
        "service": service,
        "dry_run": dry_run,
        "interrupted": stop.is_set(),
        "events": total.total(),
        "types": dict(sorted(total.items())),
        "handlers": {queue: dict(sorted(found.items())) for queue, found in sent.items()},
        "seconds": round(seconds, 3),
    }


class _Databases:
    """The publishers' databases, each opened once."""

    def __init__(self, settings: "Settings", stack: ExitStack) -> None:
        self._settings, self._stack = settings, stack
        self._open: dict[str, Database] = {}

    def of(self, service: str) -> "Database":
        """Return a service's database."""
        from . import build

        if service not in self._open:
            self._open[service] = build.database(service, self._settings, role="replay")
            self._stack.callback(self._open[service].close)
        return self._open[service]


@contextmanager
def _progress(quiet: bool) -> Iterator["Report"]:
    """Show how far it is on the terminal's error stream, where it does not mix with the result."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(queue: str, done: int, total: int, waits: str | None) -> None:
            if queue not in tasks:
                tasks[queue] = bars.add_task(queue, total=total)
            bars.update(tasks[queue], completed=done, description=waits or queue)

        yield report


@contextmanager
def _interruptible(stop: threading.Event) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the replay after the page at hand, so that what was sent is told."""
    import signal

    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(result: dict[str, Any]) -> None:
    if len(result["handlers"]) > 1:
        for queue, found in result["handlers"].items():
            typer.echo(f"{queue}: {sum(found.values()):,}")
    for topic, events in result["types"].items():
        typer.echo(f"  {topic:<40} {events:>10,}")
    if result["dry_run"]:
        typer.echo(f"将发送 {result['events']:,} 条 / events would be sent")
    elif result["interrupted"]:
        typer.echo(f"已中断，已发送 {result['events']:,} 条；可再次运行 / interrupted; events were sent, run it again")
    else:
        typer.echo(f"已发送 {result['events']:,} 条 / events sent, in {result['seconds']:.1f} s")
