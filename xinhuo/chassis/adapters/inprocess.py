"""Everything in one process: kombu's ``memory://`` broker, plain threads and a threaded WSGI server.

The memory broker confirms nothing and forgets everything with the process; what makes it safe is the inbox:
at start every recorded event that a subscribed handler has not seen is published again (``republish``).
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from kombu import Connection
from kombu.transport.memory import Channel as MemoryChannel
from kombu.transport.memory import Transport as MemoryTransport

from xinhuo.contracts import codec

from .. import logs
from ..db import DatabaseUnavailable
from ..relay import Relay
from ..service import Service
from ..topology import Topology, events_exchange, queue_name, routing_key, subscribed_topics
from ..wire import Incoming, Outgoing
from ..worker import Worker
from .parts import stays
from .threaded_http import HttpServer, stop_all

log = logs.get("inprocess")
_IDLE_SECONDS = 1.0
_DRAIN_SECONDS = 10.0


class MemoryBroker:
    """kombu's memory transport with a bell: consumers sleep until something was published."""

    def __init__(self, topology: Topology) -> None:
        MemoryChannel.queues.clear()
        MemoryTransport.global_state.clear()
        self._bell = threading.Condition()
        self._published = 0
        self._connection = Connection("memory://")
        channel = self._connection.channel()
        for exchange in topology.exchanges:
            channel.exchange_declare(exchange, "topic")
        for queue in topology.queues:
            channel.queue_declare(queue.name)
            for exchange, key in queue.bindings:
                channel.queue_bind(queue.name, exchange, key)

    def channel(self) -> Any:
        """Return a channel for one thread."""
        return self._connection.channel()

    def ring(self) -> None:
        """Wake the consumers."""
        with self._bell:
            self._published += 1
            self._bell.notify_all()

    def wait(self, seen: int) -> int:
        """Wait until something was published after ``seen``; return the count of now."""
        with self._bell:
            if self._published == seen:
                self._bell.wait(_IDLE_SECONDS)
            return self._published


class MemoryPublisher:
    """Publishes to the memory broker (``wire.Publisher``); there are no confirms to wait for."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._channel = broker.channel()

    def publish(self, messages: list[Outgoing]) -> frozenset[int]:
        """Publish all; a message without a queue is known by the exchange's bindings."""
        unroutable = set()
        for index, message in enumerate(messages):
            queues = self._channel.typeof(message.exchange).lookup(
                self._channel.get_table(message.exchange), message.exchange, message.routing_key, None
            )
            if message.mandatory and not queues:
                unroutable.add(index)
                continue
            self._put(message, message.exchange, message.routing_key)
        self._broker.ring()
        return frozenset(unroutable)

    def put_in_queue(self, queue: str, message: Outgoing) -> None:
        """Put a message into one queue only, under its own routing key."""
        prepared = self._prepared(message, message.exchange, message.routing_key)
        prepared["body"], encoding = self._channel.encode_body(prepared["body"], self._channel.body_encoding)
        prepared["properties"]["body_encoding"] = encoding
        self._channel._put(queue, prepared)
        self._broker.ring()

    def keep_alive(self) -> None:
        """See ``wire.Publisher``: memory needs no heartbeat."""

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _put(self, message: Outgoing, exchange: str, key: str) -> None:
        self._channel.basic_publish(self._prepared(message, exchange, key), exchange, key)

    def _prepared(self, message: Outgoing, exchange: str, key: str) -> Any:
        return self._channel.prepare_message(
            message.body,
            content_type=message.content_type,
            content_encoding="binary",
            properties={
                "message_id": message.message_id,
                "type": message.type,
                "delivery_info": {"exchange": exchange, "routing_key": key},
                "delivery_tag": message.message_id,
            },
        )


class MemoryConsumer:
    """Reads one queue of the memory broker in batches; holds them while the database is away."""

    def __init__(self, broker: MemoryBroker, worker: Worker, method: str, *, batch: int) -> None:
        self._broker, self._worker, self._method, self._batch = broker, worker, method, batch
        self.queue = queue_name(worker.service.name, method)
        self.idle = True

    def run(self, stop: threading.Event) -> None:
        """Consume until told to stop; what was read is finished first."""
        channel = self._broker.channel()
        seen = -1
        while not stop.is_set():
            messages = self._read(channel)
            if not messages:
                self.idle = True
                seen = self._broker.wait(seen)
                continue
            self.idle = False
            self._settle(messages, stop)
        channel.close()

    def _read(self, channel: Any) -> list[Incoming]:
        found: list[Incoming] = []
        while len(found) < self._batch:
            message = channel.basic_get(self.queue, no_ack=True)
            if message is None:
                break
            properties = message.properties
            found.append(
                Incoming(
                    body=bytes(message.body) if not isinstance(message.body, str) else message.body.encode(),
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    type=properties.get("type"),
                    message_id=properties.get("message_id"),
                    routing_key=message.delivery_info.get("routing_key"),
                    headers=message.headers,
                )
            )
        return found

    def _settle(self, messages: Sequence[Incoming], stop: threading.Event) -> None:
        while True:
            try:
                self._handle(messages)
                return
            except DatabaseUnavailable:
                log.warning("consumer_holds", queue=self.queue, messages=len(messages), why="database away")
                if stop.wait(0.5):
                    return  # no inbox row was written: the next start publishes them again

    def _handle(self, messages: Sequence[Incoming]) -> None:
        verdicts = self._worker.receive(self._method, messages)
        for message, verdict in zip(messages, verdicts, strict=True):
            if verdict is not None:
                handler = self._worker.handler_name(self._method)
                self._worker.bury(handler, message, verdict.code, verdict.why)


class InProcess:
    """Runs services, api and worker together, until ``stop``; used by ``xinhuo up`` without a broker."""

    def __init__(self, services: Iterable[Service], topology: Topology) -> None:
        self.services = list(services)
        self.broker = MemoryBroker(topology)
        self.workers = {service.name: Worker(service) for service in self.services}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._servers: list[HttpServer] = []
        #: Set, with ``failure``, when one of the threads ended by an error that nobody expected.
        self.failed = threading.Event()
        self.failure: Exception | None = None
        self.consumers: list[MemoryConsumer] = []
        self.relays: list[Relay] = []

    def start_workers(self) -> None:
        """Start relays, consumers and jobs; events without effect from an earlier run are published again."""
        mandatory = subscribed_topics(type(service) for service in self.services)
        publisher = MemoryPublisher(self.broker)
        again = sum(republish(publisher, worker) for worker in self.workers.values())
        if again:
            log.info("events_published_again", events=again)
        for service in self.services:
            worker = self.workers[service.name]
            relay = Relay(service.runtime.db, MemoryPublisher(self.broker), mandatory=mandatory)
            self.relays.append(relay)
            self._run(f"{service.name}.relay", relay.run, self._stop)
            for method in worker.subscriptions:
                consumer = MemoryConsumer(self.broker, worker, method, batch=service.runtime.settings.prefetch_max)
                self.consumers.append(consumer)
                self._run(consumer.queue, consumer.run, self._stop)
            self._run(f"{service.name}.housekeeping", worker.housekeep, self._stop)

    def serve(self, app: Any, host: str, port: int, *, seconds: int) -> int:
        """Serve a WSGI application on an address; return the port. Raises OSError when it is taken."""
        server = HttpServer((host, port), app, seconds=seconds, drain=_DRAIN_SECONDS, leaving=stays)
        server.prepare()
        self._servers.append(server)
        self._run(f"http {port}", server.serve)
        return server.port

    def stop(self, timeout: float = _DRAIN_SECONDS) -> None:
        """Stop answering, finish what is in flight, and end all threads."""
        self._stop.set()
        stop_all(self._servers, timeout)
        self.broker.ring()
        for thread in self._threads:
            thread.join(timeout)

    def _run(self, name: str, work: Any, *arguments: Any) -> None:
        def guarded() -> None:
            try:
                work(*arguments)
            except Exception as error:  # a thread must not end in silence: whoever waits on failed is told
                log.error("thread_failed", thread=name, **logs.describe(error))
                self.failure = error
                self.failed.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)


def republish(publisher: MemoryPublisher, worker: Worker) -> int:
    """Put events that a service's handlers have not dealt with into their queues; return how many.

    Dealt with means: in the handler's inbox, parked, or a dead letter. Events of publishers live in other
    schemas of the same database; an event still unpublished is the relay's own work and left to it.
    """
    service = worker.service
    count = 0
    for method, mark in worker.subscriptions.items():
        handler = worker.handler_name(method)
        for event in mark.events:
            # The service's own role sees no other schema; only this adapter, which is all services in one, looks there.
            with service.runtime.db.as_owner() as connection:
                rows = connection.execute(
                    sa.text(
                        f"SELECT o.id, o.payload FROM {event.publisher}.outbox o"  # noqa: S608  (names from code)
                        " WHERE o.type = :type AND o.published_at IS NOT NULL"
                        " AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.event_id = o.id AND i.handler = :handler)"
                        " AND NOT EXISTS (SELECT 1 FROM parked_events p"
                        " WHERE p.event_id = o.id AND p.handler = :handler)"
                        " AND NOT EXISTS (SELECT 1 FROM dead_letters d"
                        " WHERE d.event_id = o.id AND d.handler = :handler)"
                        " ORDER BY o.seq"
                    ),
                    {"type": event.topic, "handler": handler},
                ).all()
            for row in rows:
                publisher.put_in_queue(
                    queue_name(service.name, method),
                    Outgoing(
                        events_exchange(event.publisher),
                        routing_key(event.topic),
                        bytes(row.payload),
                        codec.CONTENT_TYPE,
                        str(row.id),
                        event.topic,
                        False,
                    ),
                )
            count += len(rows)
    return count
