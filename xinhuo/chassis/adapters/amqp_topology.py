"""The topology at RabbitMQ: what of it is missing, and how it is declared, by services at their start and by tests."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import NotFound
from kombu import Connection

from ..topology import Queue, Topology
from ..wire import BrokerUnavailable
from .amqp import LOST, connect, drop


def missing(uri: str, topology: Topology) -> list[str]:
    """Return what ``declare`` would make. Raises BrokerUnavailable."""
    with connected(uri) as connection:
        return _missing(connection, topology)


def declare(uri: str, topology: Topology) -> list[str]:
    """Declare what is missing, idempotently; return what was made. Raises BrokerUnavailable.

    A queue or exchange of the same name with other arguments is an error (406) that names it; nothing is deleted.
    """
    with connected(uri) as connection:
        made = _missing(connection, topology)
        with connection.channel() as channel:
            for name in topology.exchanges:
                declare_exchange(channel, name)
            for queue in topology.queues:
                declare_queue(channel, queue)
    return made


def declare_exchange(channel: Any, name: str) -> None:
    """Declare one exchange."""
    channel.exchange_declare(name, "topic", durable=True, auto_delete=False)


def declare_queue(channel: Any, queue: Queue) -> None:
    """Declare one queue and bind it."""
    channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
    for exchange, key in queue.bindings:
        channel.queue_bind(queue.name, exchange, key)


def bind_exchange(uri: str, destination: str, source: str, routing_keys: Sequence[str]) -> None:
    """Let an exchange receive what another one gets under the given keys. Raises BrokerUnavailable."""
    with connected(uri) as connection, connection.channel() as channel:
        for key in routing_keys:
            channel.exchange_bind(destination, source, key)


@contextmanager
def connected(uri: str) -> Iterator[Connection]:
    """Give a connection for declarations; lost meanwhile, it raises BrokerUnavailable."""
    connection = connect(uri, name="xinhuo topology")
    try:
        yield connection
    except LOST as error:
        raise BrokerUnavailable(f"{type(error).__name__}: {getattr(error, 'reply_text', '')}") from error
    finally:
        drop(connection)


def _missing(connection: Connection, topology: Topology) -> list[str]:
    def exchange(name: str) -> Callable[[Any], object]:
        return lambda channel: channel.exchange_declare(name, "topic", passive=True)

    def queue(name: str) -> Callable[[Any], object]:
        return lambda channel: channel.queue_declare(name, passive=True)

    wanted = [("exchange", name, exchange(name)) for name in topology.exchanges]
    wanted += [("queue", one.name, queue(one.name)) for one in topology.queues]
    return [f"{kind} {name}" for kind, name, ask in wanted if not _exists(connection, ask)]


def _exists(connection: Connection, ask: Callable[[Any], object]) -> bool:
    channel = connection.channel()
    try:
        ask(channel)
    except NotFound:
        return False
    channel.close()
    return True
