"""A small service on the chassis: `ours api|worker|all`, with the environment of `xinhuo serve` and PORT.

What its handler does with an event is said by the event's category.
"""

import os

os.environ.setdefault("PSYCOPG_WAIT_FUNC", "wait_selector")
import eventlet

eventlet.monkey_patch()

import gc  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402

from werkzeug.wrappers import Response  # noqa: E402

from tests.integration.traps.services import Tally, database  # noqa: E402
from tests.support.services import KEYS  # noqa: E402
from xinhuo.chassis import config, logs  # noqa: E402
from xinhuo.chassis.adapters import amqp, nameko  # noqa: E402
from xinhuo.chassis.adapters.nameko import NamekoProcess  # noqa: E402
from xinhuo.chassis.service import Runtime  # noqa: E402
from xinhuo.chassis.topology import subscribed_topics  # noqa: E402
from xinhuo.chassis.web import health  # noqa: E402
from xinhuo.chassis.web.app import HttpApp  # noqa: E402


def stream(_request):
    """Send one part and keep the line open."""

    def parts():
        yield b"data: first\n\n"
        eventlet.sleep(3600)

    return Response(parts(), content_type="text/event-stream")


def garbage(_request):
    """Tell how many objects nobody holds but they each other, since this was last asked."""
    gc.disable()
    return Response(str(gc.collect()))


def main():
    """Run until SIGTERM."""
    role, port = sys.argv[1], int(os.environ.get("PORT", "0"))
    logs.configure("debug")
    amqp._HEARTBEAT = int(os.environ.get("HEARTBEAT", "20"))
    nameko.STALL_SECONDS = float(os.environ.get("STALL", nameko.STALL_SECONDS))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = config.load(os.environ)
    service = Tally()
    service.runtime = Runtime(settings, database(os.environ["DATABASE_URL"]), KEYS)
    process = NamekoProcess(service, subscribed_topics([Tally]))

    def make_app(invoke):
        app = HttpApp(service, invoke=invoke)
        health.mount(app, {})
        app.mount("/stream", stream)
        app.mount("/garbage", garbage)
        return app

    if role in ("worker", "all"):
        process.add_worker()
    if role in ("api", "all"):
        process.add_api(make_app, "127.0.0.1", port)
    print("starting")
    process.run(stop)
    print("ended")


if __name__ == "__main__":
    main()
