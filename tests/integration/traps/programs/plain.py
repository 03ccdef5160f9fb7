"""Plain nameko services as its guide writes them: `plain SERVICE [SERVICE …]`, stopped as its own command stops."""

import eventlet

eventlet.monkey_patch()

import itertools  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from nameko.cli.run import run  # noqa: E402
from nameko.events import EventDispatcher, event_handler  # noqa: E402
from nameko.extensions import DependencyProvider  # noqa: E402
from nameko.timer import timer  # noqa: E402
from nameko.web.handlers import http  # noqa: E402
from werkzeug.wrappers import Response  # noqa: E402

count = itertools.count(1)


class Raises:
    """Its handler fails."""

    name = "raises"

    @event_handler("shop", "sold")
    def note(self, data):
        print("handling", data)
        raise RuntimeError("no")


class Requeues:
    """Its handler fails and wants the message again."""

    name = "requeues"

    @event_handler("shop", "sold", requeue_on_error=True)
    def note(self, data):
        print("handled", next(count))
        raise RuntimeError("no")


class Slow:
    """Its handlers take until the file GO is there."""

    name = "slow"

    @event_handler("shop", "sold")
    def note(self, data):
        print("began", data)
        while not os.path.exists(os.environ["GO"]):
            eventlet.sleep(0.02)
        print("finished", data)


class Commits(DependencyProvider):
    """Commits when the worker is done, as many a published database provider does; here it takes for ever."""

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        print("about to commit")
        eventlet.sleep(3600)


class Committing:
    """Its work is committed by a provider."""

    name = "committing"
    db = Commits()

    @event_handler("shop", "sold")
    def note(self, data):
        print("handled", data)


class Breaks(DependencyProvider):
    """Fails to prepare a worker, as one that opens a session does while the database is away."""

    def worker_setup(self, worker_ctx):
        raise ConnectionError("no database")


class Breaking:
    """Has a provider that fails."""

    name = "breaking"
    db = Breaks()

    @event_handler("shop", "sold")
    def note(self, data):
        print("handled", data)


class Quorum:
    """Listens on a queue that somebody has declared as a quorum queue before."""

    name = "quorum"

    @event_handler("shop", "sold")
    def note(self, data):
        print("handled", data)


class Dispatches:
    """Dispatches an event that nobody has bound a queue for."""

    name = "dispatches"
    dispatch = EventDispatcher()

    @http("POST", "/sell")
    def sell(self, request):
        self.dispatch("sold", {"n": 1})
        return 201, "sold"


class Computes:
    """Its handler computes for longer than the heartbeat allows."""

    name = "computes"

    @event_handler("shop", "sold")
    def note(self, data):
        print("computing")
        until = time.monotonic() + 3.5
        while time.monotonic() < until:
            pass
        print("computed")


class Ticks:
    """Its timer says so."""

    name = "ticks"

    @timer(interval=0.2, eager=True)
    def tick(self):
        print("tick")


class Web:
    """HTTP and events together."""

    name = "web"

    @http("GET", "/ping")
    def ping(self, request):
        return "pong"

    @http("POST", "/eat")
    def eat(self, request):
        return str(len(request.get_data()))

    @http("GET", "/boom")
    def boom(self, request):
        raise RuntimeError("SELECT secret FROM persons WHERE phone = '0'")

    @http("GET", "/stream")
    def stream(self, request):
        def parts():
            yield b"data: first\n\n"
            eventlet.sleep(3600)

        return Response(parts(), content_type="text/event-stream")

    @event_handler("shop", "sold")
    def note(self, data):
        print("began", data)
        eventlet.sleep(3600)


class Left:
    """Serves HTTP."""

    name = "left"

    @http("GET", "/left")
    def left(self, request):
        return "left"


class Right:
    """Serves HTTP too."""

    name = "right"

    @http("GET", "/right")
    def right(self, request):
        return "right"


def main():
    """Run the named services."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s: %(message)s")
    config = {
        "AMQP_URI": os.environ["AMQP_URI"],
        "HEARTBEAT": int(os.environ.get("HEARTBEAT", "60")),
        "max_workers": int(os.environ.get("WORKERS", "10")),
    }
    if port := os.environ.get("PORT"):
        config["WEB_SERVER_ADDRESS"] = f"127.0.0.1:{port}"
    services = [globals()[name] for name in sys.argv[1:]]
    eventlet.spawn_after(0, lambda: print("starting"))
    run(services, config)
    print("ended")


if __name__ == "__main__":
    main()
