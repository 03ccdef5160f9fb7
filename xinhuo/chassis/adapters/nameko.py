"""Runs marked methods as a nameko service: the default adapter where there is a broker.

Each route, subscription and job becomes an entrypoint, and runs in a nameko worker. The entrypoints are our
own, since nameko's acknowledge what failed, declare classic queues only and share one pool with HTTP.
The process must be patched by eventlet before anything else is imported; the launcher does so.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from threading import Event as Flag
from typing import Any

import eventlet
from eventlet import patcher
from eventlet.event import Event as Once
from nameko.constants import MAX_WORKERS_CONFIG_KEY
from nameko.extensions import DependencyProvider, Entrypoint, ProviderCollector, SharedExtension
from nameko.runners import ServiceRunner

from xinhuo.contracts.codec import Undecodable

from .. import logs
from ..config import Settings
from ..markers import Http, Subscription, marked
from ..relay import Relay
from ..service import Service
from ..web.app import HttpApp
from ..wire import Incoming
from ..worker import Worker
from . import wsgi
from .amqp import BatchConsumer
from .parts import attend_until, background_of, consumer_of, relays_of, stays
from .watchdog import StallWatchdog

log = logs.get("nameko")
_CONNECTIONS = 2000
#: Two heartbeats of the broker are 20 s; who stands still for this long should be known before.
STALL_SECONDS = 5.0


class WebServer(ProviderCollector, SharedExtension):
    """eventlet's WSGI server with time-outs, a pool of its own, and a stop that lets requests finish."""

    def __init__(
        self, make_app: Callable[[Any], HttpApp], address: tuple[str, int], settings: Settings,
        leaving: Callable[[], bool],
    ) -> None:  # fmt: skip
        super().__init__()
        self._make_app, self._address, self._leaving = make_app, address, leaving
        self._seconds, self._drain = settings.request_seconds, settings.drain_seconds
        self._busy = 0
        self._stopped = False

    def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._entrypoints = {provider.method_name: provider for provider in self._providers}
        app = self._make_app(self._invoke)

        def counted(environ: Any, start_response: Any) -> Any:
            environ["eventlet.minimum_write_chunk_size"] = 1
            self._busy += 1
            try:
                return app(environ, start_response)
            finally:
                self._busy -= 1

        self._socket = eventlet.listen(self._address, backlog=512, reuse_port=False)
        self._server = self.container.spawn_managed_thread(lambda: self._serve(counted), identifier="http")

    def stop(self) -> None:
        """Stop listening and wait, for a bounded time, until the requests in flight are answered; once."""
        if self._stopped:
            return
        self._stopped = True
        self._server.kill()
        self._socket.close()
        deadline = time.monotonic() + self._drain
        while self._busy and time.monotonic() < deadline:
            eventlet.sleep(0.02)

    def _serve(self, app: Any) -> None:
        seconds, leaving = self._seconds, self._leaving
        wsgi.serve(self._socket, app, seconds=seconds, connections=_CONNECTIONS, leaving=leaving)

    def _invoke(self, name: str, work: Callable[[], Any]) -> Any:
        copy = copy_context()
        # The worker is a greenlet of its own, which else knows nothing of the request's trace.
        return self._entrypoints[name].run(lambda: copy.run(work))


class _Raised:
    """An error on its way to the caller; nameko would log its text, which may quote what a person typed."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _InWorker:
    """An entrypoint whose calls run in a nameko worker while the caller waits."""

    def run(self, *arguments: Any) -> Any:
        """Run the method in a worker and return, or raise, what it does."""
        return self._begin(*arguments).wait()

    def _begin(self, *arguments: Any) -> Once:
        done = Once()

        def keep(_context: Any, result: Any, exc_info: Any) -> Any:
            if exc_info is not None:
                done.send_exception(*exc_info)
            elif isinstance(result, _Raised):
                done.send_exception(type(result.error), result.error, result.error.__traceback__)
            else:
                done.send(result)
            return None, None

        self.container.spawn_worker(self, arguments, {}, handle_result=keep)  # type: ignore[attr-defined]
        return done


class RouteEntrypoint(_InWorker, Entrypoint):
    """A route of the service's WSGI application."""

    def __init__(self, server: WebServer) -> None:
        super().__init__()
        self.server = server

    def setup(self) -> None:
        """Register with the server."""
        self.server.register_provider(self)

    def stop(self) -> None:
        """Stop the server, so that no request comes in while the workers end."""
        self.server.stop()


class SubscriptionEntrypoint(_InWorker, Entrypoint):
    """One queue: messages come in batches, the method runs in a worker, then they are settled."""

    def __init__(self, worker: Worker, method: str) -> None:
        super().__init__()
        self._stop = Flag()
        self.consumer = consumer_of(worker, method, self._receive)

    def start(self) -> None:
        """Consume in a thread of its own."""
        self._thread = self.container.spawn_managed_thread(
            lambda: self.consumer.run(self._stop), identifier=self.consumer.queue
        )

    def stop(self) -> None:
        """Finish the batch at hand, acknowledge it, and end."""
        self._stop.set()
        self._thread.wait()

    def _receive(self, messages: Sequence[Incoming]) -> Sequence[Undecodable | None]:
        done = self._begin(messages)

        def is_done(seconds: float) -> bool:
            with contextlib.suppress(Exception):  # raised again below
                done.wait(seconds)
            return bool(done.ready())

        lost = attend_until(is_done, self.consumer)
        verdicts: Sequence[Undecodable | None] = done.wait()
        if lost is not None:
            raise lost
        return verdicts


class Background(DependencyProvider):
    """The threads of a worker that no message starts: relay lanes, jobs, dead letters."""

    def __init__(self, works: list[tuple[str, Callable[[Flag], None]]]) -> None:
        super().__init__()
        self._works = works
        self._stop = Flag()

    def start(self) -> None:
        """Start all."""
        self._threads = [
            self.container.spawn_managed_thread(lambda work=work: work(self._stop), identifier=name)
            for name, work in self._works
        ]

    def stop(self) -> None:
        """Tell all to stop and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.wait()


class NamekoProcess:
    """One process of a service: its api, its worker, or both."""

    def __init__(self, service: Service, mandatory: frozenset[str]) -> None:
        self.service = service
        self.settings = service.runtime.settings
        self.mandatory = mandatory
        self.consumers: list[BatchConsumer] = []
        self.relays: list[Relay] = []
        self.leaving = stays
        self._members: dict[str, Any] = {"name": service.name}

    def add_api(self, make_app: Callable[[Any], HttpApp], host: str, port: int) -> None:
        """Serve HTTP; ``make_app(invoke)`` builds the application."""
        server = WebServer(make_app, (host, port), self.settings, self.leaving)
        for name in marked(type(self.service), Http):
            self._add(name, lambda _self, work: work(), RouteEntrypoint, server)
        self._members["_http"] = _Serving(server)

    def add_health(self, make_app: Callable[[Any], Any], host: str, port: int) -> None:
        """Serve health and metrics only."""
        self._members["_http"] = _Serving(WebServer(make_app, (host, port), self.settings, self.leaving))

    def add_worker(self) -> None:
        """Consume, relay and do timed work."""
        service = self.service
        worker = Worker(service)
        for name in marked(type(service), Subscription):
            self._add(
                name,
                lambda _self, messages, name=name: worker.receive(name, messages),
                SubscriptionEntrypoint, worker, name,
            )  # fmt: skip
        self.relays += relays_of(service, self.mandatory, self.consumers)
        self._members["background"] = Background(background_of(worker, self.relays))

    def run(self, stop: Flag) -> None:
        """Run until told to stop; wakes twice a second, so that a signal is seen even when nothing happens.

        Raises what ended the service when it was not told to stop.
        """
        service_class = type(f"{type(self.service).__name__}OnNameko", (), self._members)
        runner = ServiceRunner({MAX_WORKERS_CONFIG_KEY: self.settings.http_workers})
        runner.add_service(service_class)
        runner.start()
        self.consumers += [
            extension.consumer for container in runner.containers for extension in container.entrypoints
            if isinstance(extension, SubscriptionEntrypoint)
        ]  # fmt: skip
        waiting = eventlet.spawn(runner.wait)
        watchdog = StallWatchdog(
            STALL_SECONDS, event="green_threads_stalled", real=patcher.original,
            remedy="move work that computes for long into a process of its own",
        )  # fmt: skip
        watchdog.start()
        turns = watchdog.begin()
        while not stop.is_set() and not waiting.dead:
            watchdog.beat(turns)
            eventlet.sleep(0.5)
        watchdog.stop()
        log.info("stopping", service=self.service.name)
        runner.stop()
        if not stop.is_set():
            waiting.wait()  # raises what ended the service, so that its process does not end as if all was well

    def _add(self, name: str, function: Callable[..., Any], entrypoint: type[Entrypoint], *arguments: Any) -> None:
        def guarded(_self: Any, *given: Any) -> Any:
            try:
                return function(_self, *given)
            except Exception as error:  # handed to the caller, and raised there
                return _Raised(error)

        guarded.__name__ = name
        self._members[name] = entrypoint.decorator(*arguments)(guarded)


class _Serving(DependencyProvider):
    """Holds the web server of a process, so that one without routes still answers health checks."""

    def __init__(self, server: WebServer) -> None:
        super().__init__()
        self.server = server
