"""A client of the broker for these tests, and a line to it that can be made to stall."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import amqp

from tests.integration.traps.services import body_of
from tests.support.processes import LOOPBACK
from tests.support.waiting import wait_for
from xinhuo.chassis.ids import new_id
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged

QUORUM = {"x-queue-type": "quorum"}


class Broker:
    """Publishes with confirms, and looks into queues."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._connection = amqp.Connection(
            host=f"{parts.hostname}:{parts.port or 5672}",
            userid=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path[1:]) or "/",
            confirm_publish=True,
            connect_timeout=10,
        )
        self._connection.connect()
        self.channel = self._connection.channel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def declare(self, queue: str, exchange: str = "", key: str = "", **arguments: Any) -> None:
        """Declare a durable queue, and bind it to a topic exchange."""
        self.channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments or None)
        if exchange:
            self.channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
            self.channel.queue_bind(queue, exchange, key)

    def publish(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        """Publish one message, confirmed."""
        properties = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
        self.channel.basic_publish(amqp.Message(body, delivery_mode=2, **properties), exchange, key, confirm_timeout=10)

    def publish_event(self, *categories: str) -> None:
        """Publish events of these categories; several go into one message, as the relay does it."""
        bodies = [body_of(category) for category in categories]
        single = len(bodies) == 1
        self.publish(
            "volunteers.events",
            "hours_logged.v1",
            bodies[0] if single else codec.join_batch(bodies),
            content_type=codec.CONTENT_TYPE if single else codec.BATCH_CONTENT_TYPE,
            message_id=str(new_id()),
            type=HoursLogged.topic,
        )

    def exists(self, queue: str) -> bool:
        """Tell whether there is a queue."""
        channel = self._connection.channel()
        try:
            channel.queue_declare(queue, passive=True)
        except amqp.NotFound:
            return False
        channel.close()
        return True

    def consumers(self, queue: str) -> int:
        """Return how many consumers a queue has."""
        return int(self.channel.queue_declare(queue, passive=True).consumer_count)

    def ready(self, queue: str) -> int:
        """Return how many messages of a queue wait for a consumer."""
        return int(self.channel.queue_declare(queue, passive=True).message_count)

    def left(self, queue: str) -> int:
        """Return how many messages a queue has when its last consumer is gone, which gives the unacked ones back."""
        wait_for(lambda: self.consumers(queue) == 0, what=f"the consumers of {queue} to be gone")
        return self.ready(queue)

    def take(self, queue: str) -> Any:
        """Take one message out of a queue, or None."""
        return self.channel.basic_get(queue, no_ack=True)

    def empty(self, queue: str) -> None:
        """Remove the messages of a queue."""
        self.channel.queue_purge(queue)


class StallingLine:
    """A TCP proxy before the broker; stalled, it takes nothing any more and says nothing, with all lines open."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._target = (str(parts.hostname), parts.port or 5672)
        self._listener = socket.create_server((LOOPBACK, 0))
        user, _, _host = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        self.uri = urlunsplit(parts._replace(netloc=f"{user}@{LOOPBACK}:{port}"))
        self._open = threading.Event()
        self._open.set()
        self._sockets: list[socket.socket] = []
        self.accepted = 0
        self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Pass nothing on from now on."""
        self._open.clear()

    def resume(self) -> None:
        """Pass on again."""
        self._open.set()

    def cut(self) -> None:
        """End every connection."""
        while self._sockets:
            end = self._sockets.pop()
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        """End everything."""
        self._ended = True
        self._open.set()
        # Closing does not wake a thread that accepts; shutting down does.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                self._open.wait()
                far = socket.create_connection(self._target)
                self._sockets.append(far)
                if self._ended:
                    self.cut()
                self.accepted += 1
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._open.wait()
                data = source.recv(65536)
                self._open.wait()
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)


@contextmanager
def stalling_line(uri: str) -> Iterator[StallingLine]:
    """Put a line that can stall before a broker for the length of a block."""
    line = StallingLine(uri)
    try:
        yield line
    finally:
        line.close()
