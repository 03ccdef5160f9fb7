"""``make prove``: the proof of ``xinhuo prove`` on servers of its own, which may be killed too."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tests.faults.servers import own_servers
from tests.support.servers import ServersUnavailable
from xinhuo.cli.exits import Exit
from xinhuo.cli.prove import command, run


def main(
    seconds: command.Seconds = 90,
    seed: command.Seed = None,
    plain: command.Plain = True,
    keep: command.Keep = None,
    rate: Annotated[float, typer.Option(help="每秒调用数 / Calls a second.")] = run.RATE,
    as_json: command.Json = False,
) -> None:
    """在自带的 RabbitMQ 和 PostgreSQL 上证明不丢不重 / Prove under faults, on servers of its own."""
    chosen = run.new_seed() if seed is None else seed
    again = f'make prove ARGS="--seconds {seconds} --seed {chosen}"'
    options = run.Options(
        seconds, chosen, rate=rate, with_plain=plain, folder=Path(keep) if keep else None, again=again
    )
    try:
        with contextlib.ExitStack() as stack:
            with contextlib.redirect_stdout(sys.stderr):  # which is for the report alone
                servers = stack.enter_context(own_servers())
            code = command.conclude(servers, options, as_json)
    except ServersUnavailable as missing:
        print(missing, file=sys.stderr)
        code = Exit.UNAVAILABLE
    raise typer.Exit(code)


def _terminated(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    typer.run(main)
