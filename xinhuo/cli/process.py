"""One process of one service on RabbitMQ: ``python -m xinhuo.cli.process SERVICE --role api|worker``.

Started by ``xinhuo serve`` and ``xinhuo up``. It is a module of its own so that eventlet, when the adapter stands on
it, patches the standard library before anything else is imported. With another adapter it is not imported at all.
"""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xinhuo.chassis.adapters.parts import Process

#: What a process of a service may do; `all` is both in one.
ROLES = ("api", "worker")


def prepare() -> None:
    """Make the process what the chosen adapter needs; to be called before anything else is imported.

    A choice that cannot be had is left to ``run``, which says so.
    """
    if (os.environ.get("XINHUO_ADAPTER", "").strip() or "nameko") != "nameko":
        return
    import importlib.util
    import warnings

    if importlib.util.find_spec("eventlet") is None:
        return
    # What psycopg chooses by itself would block all green threads; ours is put in its place.
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
    # That eventlet's support ends is said, with the way out, in docs/decisions; not in every log.
    warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()
    from xinhuo.chassis.adapters import green_wait

    green_wait.install()


def run(service_name: str, role: str, port: int) -> int:
    """Run the process until SIGTERM or SIGINT; return its exit code."""
    import signal

    from xinhuo.chassis import config, faultpoints, logs
    from xinhuo.chassis.leaving import Leaving
    from xinhuo.cli import build

    settings = config.load(os.environ)
    faultpoints.arm(os.environ)
    logs.configure(settings.log_level, service=service_name, role=role)
    build.check_adapter(settings)
    if settings.amqp_uri is None and role != "api":
        raise config.BadSettings(["缺少 AMQP_URI：worker 需要 RabbitMQ / AMQP_URI is needed to serve as worker"])
    stop = Leaving(0 if role == "worker" else settings.leave_seconds)  # nobody sends requests to a worker
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    _check_port(settings.host, port)
    service = build.make_service(service_name, settings, role=role)
    build.check_key(service)
    build.warn_of_old_tables(service)
    process = _process_class(settings.adapter)(service, build.mandatory_topics())
    process.leaving = stop.begun
    checks = {"stopping": lambda: "正在停止 / stopping" if stop.begun() else None}
    if role in ("worker", "all"):
        process.add_worker()
        checks["consumers"] = lambda: _consumers(process)
    if role == "worker":
        process.add_health(lambda invoke: build.make_health_app(service, checks), settings.host, port)
    else:
        process.add_api(lambda invoke: build.make_app(service, invoke, checks=checks), settings.host, port)
    _spare_the_collector()
    logs.get("process").info("started", service=service_name, role=role, port=port, adapter=settings.adapter)
    process.run(stop)
    service.runtime.db.close()
    logs.get("process").info("stopped", service=service_name, role=role)
    return 0


def _check_port(host: str, port: int) -> None:
    """Raise OSError when the port is taken, before anything says that it has started."""
    import socket

    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _process_class(adapter: str) -> "type[Process]":
    if adapter == "threads":
        from xinhuo.chassis.adapters.threads import ThreadsProcess

        return ThreadsProcess
    _check_wait_function()
    from xinhuo.chassis.adapters.nameko import NamekoProcess

    return NamekoProcess


def _consumers(process: "Process") -> str | None:
    missing = [consumer.queue for consumer in process.consumers if not consumer.consuming]
    return f"未在消费 / not consuming: {', '.join(missing)}" if missing else None


def _check_wait_function() -> None:
    """Refuse to run when psycopg would block all greenlets."""
    from psycopg import waiting

    from xinhuo.chassis.adapters import green_wait

    if waiting.wait is not green_wait.wait:
        raise RuntimeError("the process was not prepared: psycopg would block all green threads")


def _spare_the_collector() -> None:
    """Keep what lives as long as the process out of garbage collection, and collect less often.

    A batch makes thousands of objects that all die together; at the default threshold the collector walks them,
    and everything imported, again and again: with it off, the CPU time of a batch fell by 16 to 35 %. Nor too seldom:
    with fifty thousand objects to look at, every request waits for 60 to 90 ms.
    """
    import gc

    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 100, 20)


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    import argparse

    parser = argparse.ArgumentParser(prog="xinhuo.cli.process")
    parser.add_argument("service")
    parser.add_argument("--role", choices=[*ROLES, "all"], default="all")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, help="end, like a crash, when this process does")
    options = parser.parse_args(arguments)
    if options.parent:
        import signal

        from xinhuo.cli.embedded.launcher import die_with

        die_with(options.parent, signal.SIGKILL)
    from xinhuo.chassis.config import BadSettings
    from xinhuo.chassis.security import BadKeyFile

    try:
        return run(options.service, options.role, options.port)
    except (BadSettings, BadKeyFile) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        import errno

        if error.errno != errno.EADDRINUSE:
            raise
        print(f"端口 {options.port} 已被占用 / port {options.port} is taken", file=sys.stderr)
        return 4


if __name__ == "__main__":
    prepare()
    sys.exit(main(sys.argv[1:]))
