"""Runs marked methods with plain threads: kombu for the messages, a threaded HTTP server, neither nameko nor eventlet.

Each queue has two threads. One holds the connection; the other handles the batches, so that a handler may take its
time without the broker missing our heartbeats. Nothing here waits for a thread for ever: all are daemons.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Event as Flag
from typing import Any

from xinhuo.contracts.codec import Undecodable

from .. import logs
from ..markers import Subscription, marked
from ..relay import Relay
from ..service import Service
from ..web.app import HttpApp
from ..wire import Incoming
from ..worker import Worker
from .amqp import BatchConsumer
from .parts import attend_until, background_of, consumer_of, relays_of, stays
from .threaded_http import HttpServer, Slots, stop_all
from .watchdog import StallWatchdog

log = logs.get("threads")
#: A handler is given this long for a batch before the log says what it is at.
STALL_SECONDS = 30.0
_LOOK_SECONDS = 0.2
#: What a stop still waits for threads that have nothing to finish.
_GRACE_SECONDS = 2.0


class _Task:
    """A batch on its way to the handling thread and back."""

    def __init__(self, messages: Sequence[Incoming]) -> None:
        self.messages = messages
        self.done = threading.Event()
        self.verdicts: Sequence[Undecodable | None] = ()
        self.error: BaseException | None = None


class Consumption:
    """One queue: a consumer that keeps its connection alive while another thread handles the batch."""

    def __init__(self, worker: Worker, method: str, watchdog: StallWatchdog) -> None:
        self._worker, self._method, self._watchdog = worker, method, watchdog
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self.consumer = consumer_of(worker, method, self._receive)

    def run(self, stop: Flag) -> None:
        """Consume until told to stop; the batch at hand is finished and acknowledged."""
        handling = threading.Thread(target=self._handle, name=f"{self.consumer.queue} handler", daemon=True)
        handling.start()
        try:
            self.consumer.run(stop)
        finally:
            self._tasks.put(None)

    def _receive(self, messages: Sequence[Incoming]) -> Sequence[Undecodable | None]:
        task = _Task(messages)
        self._tasks.put(task)
        lost = attend_until(task.done.wait, self.consumer)
        if task.error is not None:
            raise task.error
        if lost is not None:
            raise lost
        return task.verdicts

    def _handle(self) -> None:
        while (task := self._tasks.get()) is not None:
            number = self._watchdog.begin(self.consumer.queue)
            try:
                task.verdicts = self._worker.receive(self._method, task.messages)
            except BaseException as error:  # raised again by the thread that waits for it
                task.error = error
            finally:
                self._watchdog.end(number)
                task.done.set()


class ThreadsProcess:
    """One process of a service: its api, its worker, or both (``parts.Process``)."""

    def __init__(self, service: Service, mandatory: frozenset[str]) -> None:
        self.service = service
        self.settings = service.runtime.settings
        self.mandatory = mandatory
        self.consumers: list[BatchConsumer] = []
        self.relays: list[Relay] = []
        self.leaving = stays
        self._watchdog = StallWatchdog(
            STALL_SECONDS, event="handler_stalled",
            remedy="find what it waits for; move work that takes so long out of the transaction",
        )  # fmt: skip
        self._servers: list[HttpServer] = []
        self._consumptions: list[Consumption] = []
        self._background: list[tuple[str, Callable[[Flag], None]]] = []
        self._failure: Exception | None = None

    def add_api(self, make_app: Callable[[Any], HttpApp], host: str, port: int) -> None:
        """See ``parts.Process``."""
        self._serve(make_app(Slots(self.settings.http_workers)), host, port)

    def add_health(self, make_app: Callable[[Any], Any], host: str, port: int) -> None:
        """See ``parts.Process``."""
        self._serve(make_app(None), host, port)

    def add_worker(self) -> None:
        """See ``parts.Process``."""
        worker = Worker(self.service)
        self._consumptions = [
            Consumption(worker, method, self._watchdog) for method in marked(type(self.service), Subscription)
        ]
        self.consumers += [consumption.consumer for consumption in self._consumptions]
        self.relays += relays_of(self.service, self.mandatory, self.consumers)
        self._background += background_of(worker, self.relays)

    def run(self, stop: Flag) -> None:
        """See ``parts.Process``; raises OSError when the port is taken."""
        for server in self._servers:
            server.prepare()
        self._watchdog.start()
        stop_consuming, stop_rest = threading.Event(), threading.Event()
        serving = [self._thread("http", server.serve) for server in self._servers]
        consuming = [self._thread(one.consumer.queue, one.run, stop_consuming) for one in self._consumptions]
        rest = [self._thread(name, work, stop_rest) for name, work in self._background]
        # No wait on the flag here: the signal's handler, which sets it, runs in this thread and would wait for itself.
        while not stop.is_set() and self._failure is None:
            time.sleep(_LOOK_SECONDS)
        log.info("stopping", service=self.service.name)
        deadline = time.monotonic() + self.settings.drain_seconds
        stop_consuming.set()
        stop_all(self._servers, self.settings.drain_seconds)
        _join([*serving, *consuming], deadline)
        # Last, so that events of the last requests go out, too.
        stop_rest.set()
        _join(rest, max(deadline, time.monotonic() + _GRACE_SECONDS))
        self._watchdog.stop()
        if self._failure is not None:
            raise self._failure

    def _serve(self, app: Any, host: str, port: int) -> None:
        seconds, drain = self.settings.request_seconds, self.settings.drain_seconds
        self._servers.append(HttpServer((host, port), app, seconds=seconds, drain=drain, leaving=self.leaving))

    def _thread(self, name: str, work: Callable[..., object], *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                work(*arguments)
            except Exception as error:  # it ends the process, with this as the reason: see run
                log.error("thread_failed", thread=name, **logs.describe(error))
                self._failure = error

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread


def _join(threads: list[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            log.error("drain_timed_out", thread=thread.name)
