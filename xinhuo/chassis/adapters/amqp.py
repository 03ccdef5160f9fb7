"""RabbitMQ by kombu and py-amqp: batches with one wait for confirms, consumers that never ack unfinished work.

Works in real threads and, where the process is patched, in eventlet's; imports neither.
"""

import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event as Flag
from typing import Any

from amqp.exceptions import AMQPError
from amqp.exceptions import NotFound as AmqpNotFound
from kombu import Connection
from kombu.exceptions import OperationalError

from xinhuo.contracts.codec import Undecodable

from .. import faultpoints, logs
from ..db import DatabaseUnavailable
from ..pressure import Pressure
from ..wire import BrokerUnavailable, Incoming, Outgoing, QueueFull

log = logs.get("amqp")
LOST = (AMQPError, OperationalError, OSError)
_HEARTBEAT = 20
_PIECE, _READ = 256 * 1024, 16 * 1024
#: A batch with so many bytes waits for no more; after so many seconds without one there is a quiet time.
_ENOUGH, _QUIET = 500_000, 0.5
#: A batch with so many bytes, some hundred events, presses the consumer.
_PRESSED = 64_000
#: A connection is attended to once in so many seconds, however often it is used.
_ATTEND = 0.5
#: How long a batch waits for each message that the last one held, and at most.
_EACH, _MOST = 0.001, 0.05
#: While a batch gathers, what has come is looked at so often: waking up costs more than reading. When nothing has, the
#: rush is over.
_LOOK = 0.05


def connect(uri: str, *, name: str, timeout: float = 5.0) -> Connection:
    """Return an open connection with time-outs on everything; raises BrokerUnavailable."""
    connection = Connection(
        uri,
        connect_timeout=timeout,
        heartbeat=_HEARTBEAT,
        transport_options={
            "write_timeout": timeout,
            "client_properties": {"connection_name": name},
        },
    )
    try:
        connection.connect()
        line = _line(connection)
        # Where this stands py-amqp looks at the socket before each publish, to no end: a blocked broker shows as a
        # missing confirm. What it is given to begin with is overwritten by what it negotiates.
        line.client_properties["capabilities"].pop("connection.blocked", None)
        # It waits without end for answers, also when it closes, and its "write_timeout" does nothing to eventlet's
        # sockets; this one bounds every read and write that has no time-out of its own.
        line.transport.sock.settimeout(timeout)
        # It asks for seven bytes, and then for a frame; what comes along is kept in its own buffer.
        receive = line.transport._quick_recv
        line.transport._quick_recv = lambda wanted: receive(max(wanted, _READ))
    except LOST as error:
        connection.release()
        raise BrokerUnavailable(type(error).__name__) from error
    return connection


class ConfirmingPublisher:
    """Publishes batches on one connection and waits once for all confirms (``wire.Publisher``)."""

    def __init__(self, uri: str, *, name: str, confirm_seconds: float) -> None:
        self._uri, self._name, self._seconds = uri, name, confirm_seconds
        self._connection: Connection | None = None
        self._channel: Any = None
        self._next_tag = 1
        self._attended = 0.0
        self._open: set[int] = set()
        self._refused: set[int] = set()
        self._returned: set[str] = set()

    def publish(self, messages: list[Outgoing]) -> frozenset[int]:
        """See ``wire.Publisher``; a batch not confirmed in time closes the connection and raises."""
        try:
            return self._publish(messages)
        except LOST as error:
            self.close()
            raise BrokerUnavailable(type(error).__name__) from error

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue; raises BrokerUnavailable, also when there is no such queue."""
        try:
            declared = self._ready_channel().queue_declare(queue, passive=True)
            return int(declared.message_count)
        except (*LOST, AmqpNotFound) as error:
            self.close()
            raise BrokerUnavailable(f"{type(error).__name__}: {queue}") from error

    def keep_alive(self) -> None:
        """See ``wire.Publisher``: an idle connection without heartbeats would be closed by the broker."""
        if self._connection is None or time.monotonic() < self._attended + _ATTEND:
            return
        self._attended = time.monotonic()
        try:
            _attend(self._connection)
        except LOST as error:
            self.close()
            raise BrokerUnavailable(type(error).__name__) from error

    def close(self) -> None:
        """Close the connection, if there is one, without waiting for a broker that does not answer."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            drop(connection)

    def _publish(self, messages: list[Outgoing]) -> frozenset[int]:
        channel = self._ready_channel()
        assert self._connection is not None  # noqa: S101  (made by the line above; for the type checker)
        self._open.clear()
        self._refused.clear()
        self._returned.clear()
        with _in_one_go(self._connection):
            for message in messages:
                self._open.add(self._next_tag)
                self._next_tag += 1
                channel.basic_publish(
                    channel.prepare_message(
                        message.body,
                        content_type=message.content_type,
                        content_encoding="utf-8",
                        headers={},
                        properties={"delivery_mode": 2, "message_id": message.message_id, "type": message.type},
                    ),
                    exchange=message.exchange,
                    routing_key=message.routing_key,
                    mandatory=message.mandatory,
                )
        deadline = time.monotonic() + self._seconds
        while self._open:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            _line(self._connection).drain_events(timeout=left)
        if self._refused:
            raise QueueFull("refused by a full or stopping queue")
        return frozenset(index for index, message in enumerate(messages) if message.message_id in self._returned)

    def _ready_channel(self) -> Any:
        if self._channel is None:
            self._connection = connect(self._uri, name=self._name, timeout=self._seconds)
            channel = self._connection.channel()
            channel.confirm_select()
            channel.events["basic_ack"].add(self._on_ack)
            channel.events["basic_nack"].add(self._on_nack)
            channel.events["basic_return"].add(self._on_return)
            self._channel, self._next_tag = channel, 1
        return self._channel

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._open -= {number for number in self._open if number <= tag} if multiple else {tag}

    def _on_nack(self, tag: int, multiple: bool) -> None:
        numbers = {number for number in self._open if number <= tag} if multiple else {tag}
        self._open -= numbers
        self._refused |= numbers

    def _on_return(self, _error: Any, _exchange: str, _key: str, message: Any) -> None:
        self._returned.add(message.properties.get("message_id"))


class BatchConsumer:
    """Reads one queue in batches; acknowledges what ``receive`` returned for, rejects what it cannot read.

    Prefetch starts at 1 on each connection and doubles with every batch that went well, so that a handler
    that takes its process down drags few other messages towards the delivery limit.
    """

    def __init__(
        self,
        uri: str,
        queue: str,
        receive: Callable[[Sequence[Incoming]], Sequence[Undecodable | None]],
        *,
        prefetch_max: int,
        window: float,
        gather: float = 0.0,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """``ready`` tells whether what ``receive`` needs is there; until then nothing is taken from the queue.

        Else each restart during an outage of the database would be one delivery more, and bring what is
        innocent of it over the limit. ``window`` is how long a batch waits for more, ``gather`` how long it does
        while there is a batch again and again.
        """
        self._uri, self.queue, self._receive, self._ready = uri, queue, receive, ready
        self._prefetch, self._prefetch_max, self._window, self._gather = 1, prefetch_max, window, gather
        self._settled, self._last, self._was_full = 0.0, 0, False
        self._buffer: list[Incoming] = []
        self._bytes = 0
        """Of the messages in the buffer."""
        self._connection: Connection | None = None
        self.consuming = False
        self.pressure = Pressure()

    def run(self, stop: Flag) -> None:
        """Consume until told to stop, then finish what was delivered; reconnects when the broker goes away."""
        pause = 0.1
        while not stop.is_set():
            if not self._ready():
                log.warning("consumer_waits", queue=self.queue, why="database away")
                stop.wait(1.0)
                continue
            try:
                self._consume(stop)
                pause = 0.1
            except AmqpNotFound:
                log.error("queue_missing", queue=self.queue, remedy="run 'xinhuo topology apply'")
                stop.wait(2.0)
            except (*LOST, BrokerUnavailable) as error:
                log.warning("consumer_waits", queue=self.queue, **logs.describe(error))
                stop.wait(pause)
                pause = min(pause * 2, 3.0)
            finally:
                self.consuming = False

    def attend(self) -> None:
        """Exchange heartbeats; for a ``receive`` that takes its time, from the thread that called it.

        Raises one of LOST when the connection is gone; what is at hand will then be delivered again.
        """
        assert self._connection is not None  # noqa: S101  (there is one while receive is called)
        _attend(self._connection)

    def _consume(self, stop: Flag) -> None:
        self._buffer, self._bytes = [], 0
        connection = self._connection = connect(self._uri, name=f"consumer {self.queue}")
        try:
            channel = connection.channel()
            self._prefetch = 1
            tag = self._subscribe(channel)
            self.consuming = True
            while not stop.is_set():
                self._fill(connection)
                if self._buffer and self._settle(connection, channel, stop) and self._prefetch < self._prefetch_max:
                    channel.basic_cancel(tag)
                    self._prefetch = min(self._prefetch * 2, self._prefetch_max)
                    tag = self._subscribe(channel)
            channel.basic_cancel(tag)
            if self._buffer:
                self._settle(connection, channel, stop)
        finally:
            drop(connection)

    def _subscribe(self, channel: Any) -> Any:
        channel.basic_qos(0, self._prefetch, False)
        return channel.basic_consume(self.queue, no_ack=False, callback=self._keep)

    def _keep(self, message: Any) -> None:
        properties = message.properties
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        self._bytes += len(body)
        self._buffer.append(
            Incoming(
                body=body,
                content_type=properties.get("content_type"),
                content_encoding=properties.get("content_encoding"),
                type=properties.get("type"),
                message_id=properties.get("message_id"),
                routing_key=message.delivery_info.get("routing_key"),
                headers=properties.get("application_headers") or {},
                tag=message.delivery_tag,
            )
        )

    def _fill(self, connection: Connection) -> None:
        """Wait for a first message, then for more until the batch is full, its time over, or no more are coming."""
        if not self._buffer:  # messages may have come while the prefetch was raised: they wait for nobody
            _drain(connection, 1.0)
        _line(connection).heartbeat_tick()
        deadline = time.monotonic() + self._patience()
        while self._buffer and self._has_room():
            left = deadline - time.monotonic()
            if left > _LOOK:
                before = len(self._buffer)
                time.sleep(_LOOK)
                while self._has_room() and _drain(connection, 0.001):
                    continue
                if len(self._buffer) == before:
                    return
            elif left <= 0 or not _drain(connection, left):
                return

    def _has_room(self) -> bool:
        return len(self._buffer) < self._prefetch and self._bytes < _ENOUGH

    def _patience(self) -> float:
        """Return how long a batch waits for more: the more were in the last one, the longer, after a quiet time not.

        Large ones gather by themselves: what is left after a full one, the last of a rush, waits for no others.
        """
        if time.monotonic() - self._settled > _QUIET:
            return self._window
        gather = 0.0 if self._was_full else self._gather
        return max(self._window, gather, min(self._last * _EACH, _MOST))

    def _settle(self, connection: Connection, channel: Any, stop: Flag) -> bool:
        """Have the batch done, waiting out an outage of the database, and acknowledge it; False at a stop."""
        messages, size, self._was_full = self._buffer, self._bytes, not self._has_room()
        self._buffer, self._bytes = [], 0
        self._settled, self._last = time.monotonic(), len(messages)
        while True:
            try:
                with self.pressure.of(large=size >= _PRESSED):
                    verdicts = self._receive(messages)
                break
            except DatabaseUnavailable:
                log.warning("consumer_holds", queue=self.queue, messages=len(messages), why="database away")
                if stop.wait(1.0):
                    return False  # unacknowledged: the broker gives them to the next one
                self.attend()
        faultpoints.reach("after_commit_before_ack")
        refused = [(message, verdict) for message, verdict in zip(messages, verdicts, strict=True) if verdict]
        for message, verdict in refused:
            log.error("message_rejected", queue=self.queue, code=verdict.code, size=len(message.body))
            channel.basic_reject(message.tag, requeue=False)
        if len(refused) < len(messages):
            channel.basic_ack(messages[-1].tag, multiple=True) if not refused else self._ack_each(
                channel, messages, verdicts
            )
        return True

    @staticmethod
    def _ack_each(channel: Any, messages: Sequence[Incoming], verdicts: Sequence[Undecodable | None]) -> None:
        for message, verdict in zip(messages, verdicts, strict=True):
            if verdict is None:
                channel.basic_ack(message.tag)


def _line(connection: Connection) -> Any:
    """Return py-amqp's connection; kombu's property of that name makes a new one, without consumers, for a dead one."""
    return connection._connection


@contextmanager
def _in_one_go(connection: Connection) -> Iterator[None]:
    """Send what is written meanwhile in large pieces; py-amqp would call the kernel for every message."""
    transport = _line(connection).transport
    send, pending = transport._write, bytearray()

    def keep(data: Any) -> None:
        pending.extend(data)
        if len(pending) >= _PIECE:
            send(pending)
            pending.clear()

    transport._write = keep
    try:
        yield
    finally:
        transport._write = send
    send(pending)


def _drain(connection: Connection, timeout: float) -> bool:
    """Handle one thing the broker sent; False when nothing came in time."""
    try:
        _line(connection).drain_events(timeout=timeout)
    except (TimeoutError, socket.timeout) as error:  # noqa: UP041  (two classes under eventlet)
        if error.errno is not None:  # ETIMEDOUT: the kernel has given the connection up
            raise
        # Its frames hold the timer that holds it, and would stay until the garbage collector comes.
        error.__traceback__ = None
        return False
    return True


def _attend(connection: Connection) -> None:
    """Exchange heartbeats; the broker's own are among what was received meanwhile."""
    while _drain(connection, 0.001):
        continue
    _line(connection).heartbeat_tick()


def drop(connection: Connection) -> None:
    """Close in good order, so that acknowledgements on their way arrive; at once when an error is being handled."""
    try:
        if sys.exception() is not None:
            _line(connection).collect()  # a close would wait for an answer, and the line is broken
    except LOST as error:
        log.debug("connection_dropped", **logs.describe(error))
    finally:
        connection.release()  # which swallows errors of its own
