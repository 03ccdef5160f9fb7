"""One process of the small service: ``program ADAPTER --role api|worker|all --port PORT``, told by the environment.

nameko and threads are started by the launcher of ``xinhuo serve``, which is given the small service in place of a real
one; in one process it is what ``xinhuo up`` does without a broker.
"""

import os
import sys

from xinhuo.cli import process


def on_rabbitmq(arguments: list[str]) -> int:
    """Run it as `xinhuo serve` does."""
    process.prepare()
    from tests.conformance.service import VERSIONS, Bench
    from xinhuo.chassis.adapters import amqp, watchdog
    from xinhuo.cli import build

    amqp._HEARTBEAT = int(os.environ.get("TEST_HEARTBEAT", amqp._HEARTBEAT))
    if seconds := os.environ.get("TEST_STALL"):
        made = watchdog.StallWatchdog.__init__

        def sooner(self, _seconds, **options):
            made(self, float(seconds), **options)

        watchdog.StallWatchdog.__init__ = sooner
    build.service_class = lambda _name: Bench
    build.service_classes = lambda: [Bench]
    build.versions_of = lambda _name: VERSIONS
    return process.main([Bench.name, *arguments])


def in_one_process(arguments: list[str]) -> int:
    """Run it as `xinhuo up` does without a broker."""
    import signal
    import time

    from tests.conformance.service import VERSIONS, Bench
    from xinhuo.chassis import config, logs, topology
    from xinhuo.chassis.adapters.inprocess import InProcess
    from xinhuo.chassis.adapters.threaded_http import Slots
    from xinhuo.cli import build

    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    build.service_class = lambda _name: Bench
    build.versions_of = lambda _name: VERSIONS
    settings = config.load(os.environ)
    logs.configure(settings.log_level)
    service = build.make_service(Bench.name, settings)
    everything = InProcess([service], topology.of([Bench]))
    app = build.make_app(service, Slots(settings.http_workers))
    port = int(arguments[arguments.index("--port") + 1])
    everything.serve(app, settings.host, port, seconds=settings.request_seconds)
    everything.start_workers()
    while not told and everything.failure is None:
        time.sleep(0.1)
    everything.stop()
    service.runtime.db.close()
    if everything.failure is not None:
        raise everything.failure
    return 0


if __name__ == "__main__":
    adapter, *rest = sys.argv[1:]
    os.environ["XINHUO_ADAPTER"] = "nameko" if adapter == "inprocess" else adapter
    sys.exit(in_one_process(rest) if adapter == "inprocess" else on_rabbitmq(rest))
