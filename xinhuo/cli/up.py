"""``xinhuo up``: everything in one place, with sample data that shows it working."""

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from xinhuo.chassis import config, logs, migrations
from xinhuo.chassis.config import SERVICES, Settings
from xinhuo.chassis.db import Database
from xinhuo.chassis.key_file import create_key_file

from . import build, installing
from .embedded import EmbeddedPostgres, EmbeddedPostgresError
from .exits import Exit

_FIRST_ADMIN = "admin"
_LOG_BYTES = 10 * 1024 * 1024


class CannotStart(Exception):
    """Something outside must change before the system can start; carries the exit code and what to do."""

    def __init__(self, code: Exit, text: str) -> None:
        super().__init__(text)
        self.code = code


def run(
    environment: Mapping[str, str],
    *,
    data: Path | None,
    port_base: int | None,
    once: bool,
    with_sample: bool,
    as_json: bool,
) -> int:
    """Start everything, load and show the sample, serve until told to stop; return the exit code.

    Raises BadSettings, BadKeyFile, BrokerUnavailable or DatabaseUnavailable when it cannot start.
    """
    started = time.monotonic()
    out = Console(file=sys.stderr if as_json else sys.stdout, highlight=False)
    settings = config.load(environment, data=data, port_base=port_base)
    if with_sample and settings.environment == "production":
        raise config.BadSettings(
            [
                "XINHUO_ENVIRONMENT=production 时不装入示例数据和试用账号：请加 --no-sample / "
                "no sample data and no demo accounts in production: add --no-sample"
            ]
        )
    stop = _stop_flag()
    try:
        with contextlib.ExitStack() as stack:
            settings, postgres = _prepare(settings, stack, out)
            databases = {name: build.database(name, settings, role="up") for name in SERVICES}
            for db in databases.values():
                stack.callback(db.close)
            failure = stack.enter_context(_services(settings, installing.service_keys(settings)))
            out.print(f"[bold]薪火已就绪 / ready[/bold] {time.monotonic() - started:.1f} s")
            if with_sample:
                try:
                    _show_sample(settings, databases, started, out, as_json=as_json)
                except Exception:
                    if postgres is not None:
                        postgres.check_running()  # when it is what ended, that is the thing to say
                    raise
            else:
                _show_first_admin(settings, out)
            if not once:
                # Being told to stop while serving is the normal end; before that it is an interruption.
                with contextlib.suppress(KeyboardInterrupt):
                    _show_addresses(settings, out)
                    _serve_until(stop, failure, postgres)
                out.print("正在停止…… / stopping …")
    except CannotStart as error:
        out.print(str(error), style="red", markup=False, soft_wrap=True)
        return int(error.code)
    except EmbeddedPostgresError as error:
        out.print(f"{error.message_zh}\n{error.message_en}", style="red", markup=False, soft_wrap=True)
        return int(Exit.UNAVAILABLE)
    return int(Exit.OK)


def _serve_until(
    stop: threading.Event, failure: Callable[[], Exception | None], postgres: EmbeddedPostgres | None
) -> None:
    """Wait until told to stop; raises the error that ended a part of the services, or the embedded database.

    Whoever watches over us then starts us again, and with us the database; else every request would get 503.
    """
    while not stop.wait(1.0):
        if postgres is not None:
            postgres.check_running()
        if error := failure():
            raise error


def _stop_flag() -> threading.Event:
    """Return a flag that SIGTERM and Ctrl-C set; both also interrupt what is being done."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: Any) -> None:
        stop.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def _prepare(settings: Settings, stack: contextlib.ExitStack, out: Console) -> tuple[Settings, EmbeddedPostgres | None]:
    """Check the ports, then bring up data folder, database, keys and schemas; return the database if it is ours."""
    _check_ports(settings)
    folder = settings.data.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            Exit.USAGE, f"数据目录 {folder} 无法创建（{error.strerror}）/ the data folder cannot be made"
        ) from error
    logs.configure(settings.log_level, service="up", stream=_log_file(folder / "xinhuo.log"))
    postgres = None
    if settings.database_url is None and not all(name in settings.service_database_urls for name in SERVICES):
        postgres = EmbeddedPostgres(folder, on_wait=lambda seconds: _say_waiting(out, seconds))
        settings = replace(settings, database_url=postgres.start())
        stack.callback(postgres.stop)
    if settings.key_command is None:
        create_key_file(build.key_path(settings))
    for name in SERVICES:
        db = build.database(name, settings)
        migrations.upgrade(db, build.versions_of(name))
        db.close()
    return settings, postgres


def _say_waiting(out: Console, seconds: float) -> None:
    if int(seconds) and int(seconds) % 5 == 0:
        out.print(f"等待内置数据库…… {seconds:.0f} s / waiting for the embedded database")


def _log_file(path: Path) -> Any:
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("a", encoding="utf-8", buffering=1)


def _check_ports(settings: Settings) -> None:
    for name in SERVICES:
        port = settings.port_of(name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise CannotStart(Exit.PORT_TAKEN, _port_taken(name, port, settings.port_base)) from error


def _port_taken(name: str, port: int, base: int) -> str:
    return (
        f"端口 {port}（{name}）已被占用。请换一组端口：--port-base {base + 100}，或先停止占用它的程序。\n"
        f"Port {port} ({name}) is taken: choose others with --port-base {base + 100}, or stop what uses it."
    )


@contextlib.contextmanager
def _services(settings: Settings, keys: Mapping[str, str]) -> Iterator[Callable[[], Exception | None]]:
    """Run all services in the block; what it gives tells the error, if any, that ended a part of them."""
    if settings.amqp_uri:
        from .broker import apply_topology
        from .children import ChildFailed, Children

        build.check_adapter(settings)
        apply_topology({"AMQP_URI": settings.amqp_uri})
        children = Children(settings, _child_environment(settings), keys)
        try:
            children.start()
            try:
                children.wait_ready()
            except ChildFailed as error:
                raise CannotStart(Exit.UNAVAILABLE, str(error)) from error
            yield lambda: None  # a process that ends is started again
        finally:
            children.stop()
        return
    from xinhuo.chassis.adapters.inprocess import InProcess
    from xinhuo.chassis.adapters.threaded_http import Slots

    services = [build.make_service(name, replace(settings, service_key=keys.get(name))) for name in SERVICES]
    http_workers = min(settings.http_workers, 16)
    for service in services:
        build.check_key(service)
        build.show(service, role="all", adapter="inprocess", http_workers=http_workers)
    everything = InProcess(services, build.full_topology())
    try:
        for service in services:
            port = settings.port_of(service.name)
            try:
                everything.serve(
                    build.make_app(service, Slots(http_workers)),
                    settings.host,
                    port,
                    seconds=settings.request_seconds,
                )
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES, None):
                    raise
                raise CannotStart(Exit.PORT_TAKEN, _port_taken(service.name, port, settings.port_base)) from error
        everything.start_workers()
        yield lambda: everything.failure
    finally:
        everything.stop()
        for service in services:
            service.runtime.db.close()


def _child_environment(settings: Settings) -> dict[str, str]:
    environment = dict(os.environ)
    environment["XINHUO_DATA"] = str(settings.data.absolute())
    environment["XINHUO_PORT_BASE"] = str(settings.port_base)
    environment["AMQP_URI"] = settings.amqp_uri or ""
    for name in SERVICES:
        environment[f"{name.upper()}_DATABASE_URL"] = settings.database_url_of(name)
    return environment


def _show_sample(
    settings: Settings, databases: dict[str, Database], started: float, out: Console, *, as_json: bool
) -> None:
    from xinhuo.chassis.identity.bearer import KeyBearer

    from . import demo
    from .client import Api
    from .sample import load, report

    # As a clerk of the office would: by a key of its own, made anew at each start.
    bearer = KeyBearer(settings.url_of("portal"), installing.key_of_role(settings, "示例导入 sample", "clerk"))
    api = Api({name: settings.url_of(name) for name in SERVICES}, bearer=bearer)
    load.load_sample(api, settings.data.absolute(), console=out)
    figures = report.settled_report(databases, api, settings.data.absolute(), console=out)
    seconds = round(time.monotonic() - started, 1)
    if as_json:
        print(json.dumps(figures.as_json(seconds), ensure_ascii=False), flush=True)
    else:
        report.print_table(figures, seconds, out)
    if accounts := demo.make_accounts(settings, databases["volunteers"]):
        demo.show(accounts, out)


def _show_first_admin(settings: Settings, out: Console) -> None:
    """Say how the first administrator gets in, as long as nobody can sign in."""
    from services.portal.domain.accounts import AdminExists, LoginTaken

    try:
        secret = installing.first_admin_of(settings, _FIRST_ADMIN)
    except (AdminExists, LoginTaken):
        return
    out.print(
        f"\n第一个局管理员 / first administrator: {_FIRST_ADMIN}\n一次性链接 / one-time link: {secret}\n"
        "设置密码 / set the password: xinhuo activate",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def _show_addresses(settings: Settings, out: Console) -> None:
    out.print("\n服务地址 / addresses")
    for name in SERVICES:
        out.print(f"  {name:<11} http://{settings.host}:{settings.port_of(name)}/docs")
    out.print(f"  数据目录 / data  {settings.data.absolute()}")
    out.print("按 Ctrl-C 停止 / press Ctrl-C to stop")
