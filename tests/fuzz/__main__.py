"""``make fuzz``: thousands of requests to each service, on a PostgreSQL of its own."""

import contextlib
import io
import json
import random
import signal
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer

from tests.fuzz.run import Report, fuzz
from tests.fuzz.target import Target
from tests.integration.rights.world import World
from tests.support.postgres import create_database, drop_database, migrated_template
from tests.support.servers import Servers, ServersUnavailable
from xinhuo.chassis import logs
from xinhuo.chassis.config import SERVICES


def main(
    requests: Annotated[int, typer.Option(min=1, help="每个服务至少的请求数 / Requests per service, at least.")] = 5000,
    service: Annotated[list[str] | None, typer.Option(help="只测这些服务 / Only these services.")] = None,
    seed: Annotated[int | None, typer.Option(help="随机种子 / Seed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="输出一个 JSON 对象 / Print one JSON object.")] = False,
) -> None:
    """按接口说明向每个服务发送大量正确和错误的请求 / Send right and wrong requests to every route."""
    if unknown := set(service or ()) - set(SERVICES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: {', '.join(SERVICES)}")
    chosen = random.randrange(2**31) if seed is None else seed
    print(f"seed {chosen}", file=sys.stderr)
    logs.configure("error", stream=(log := io.StringIO()))
    reports = []
    try:
        with _world() as world:
            for name in service or SERVICES:
                reports.append(fuzz(Target(world, name, chosen), asked=requests))
                if not as_json:
                    _show(reports[-1])
    except ServersUnavailable as missing:
        print(missing, file=sys.stderr)
        raise typer.Exit(3) from None
    for line in log.getvalue().splitlines():
        if "request_failed" in line:  # with the stack of each answer of 500
            print(line, file=sys.stderr)
    fine = all(report.fine for report in reports)
    if as_json:
        print(json.dumps({"fine": fine, "seed": chosen, "services": [one.as_dict() for one in reports]}))
    else:
        print(f"{'fine' if fine else 'FAILED'}, seed {chosen}")
    raise typer.Exit(0 if fine else 1)


@contextlib.contextmanager
def _world() -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        servers = Servers()
        stack.callback(servers.stop)
        url = servers.postgres()
        database = create_database(url, migrated_template(url))
        stack.callback(drop_database, database)
        world = World(database)
        stack.callback(world.close)
        yield world


def _show(report: Report) -> None:
    classes = "  ".join(f"{name} {times}" for name, times in report.by_class.items())
    reached = sum(fine > 0 for fine, _ in report.routes.values())
    print(
        f"{report.service:<11}{report.requests:>6} of {report.asked} requests  {classes}  "
        f"{reached}/{len(report.routes)} routes answered 2xx  {len(report.failures)} failures  {report.seconds} s",
        flush=True,
    )
    for one in report.failures:
        print(f"  {one.check}: {one.route} ({one.times}x)\n    {one.what}\n    {one.request}", flush=True)


def _terminated(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    typer.run(main)
