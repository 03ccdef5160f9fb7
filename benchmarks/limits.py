"""What broker, database and machine can do at most: the same drivers, durable and confirmed, with no job behind.

``python -m benchmarks.limits QUEUE COUNT`` takes so many messages from a queue and prints the moment of the last; the
three of a fan-out are processes of their own, as services are.
"""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.adapters.amqp import BatchConsumer, ConfirmingPublisher
from xinhuo.chassis.topology import Queue, Topology
from xinhuo.chassis.wire import Incoming, Outgoing
from xinhuo.contracts import codec

from .servers import vhost_of_its_own

EXCHANGE = "limit.events"
CONFIRMED_TOGETHER = 500
PREFETCH = 500
_INSERT = sa.text("INSERT INTO limit_rows SELECT unnest(CAST(:ids AS uuid[])), unnest(CAST(:bodies AS bytea[]))")


def commits_per_second(database_url: str, body: bytes, count: int = 3000) -> float:
    """Return how many transactions of one row each a single connection commits."""
    with _table(database_url) as connection:
        started = time.monotonic()
        for _ in range(count):
            connection.execute(_INSERT, {"ids": [uuid.uuid4()], "bodies": [body]})
            connection.commit()
        return count / (time.monotonic() - started)


def rows_per_second(database_url: str, body: bytes, count: int = 60_000) -> float:
    """Return how many rows a single connection inserts with arrays of 500, each of them committed."""
    with _table(database_url) as connection:
        started = time.monotonic()
        for _ in range(count // CONFIRMED_TOGETHER):
            ids = [uuid.uuid4() for _ in range(CONFIRMED_TOGETHER)]
            connection.execute(_INSERT, {"ids": ids, "bodies": [body] * CONFIRMED_TOGETHER})
            connection.commit()
        return count / (time.monotonic() - started)


@contextmanager
def _table(database_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS limit_rows"))
        connection.execute(sa.text("CREATE TABLE limit_rows (id uuid PRIMARY KEY, body bytea NOT NULL)"))
        connection.commit()
        yield connection
        connection.execute(sa.text("DROP TABLE limit_rows"))
        connection.commit()
    engine.dispose()


def publishes_per_second(node: RabbitNode, body: bytes, count: int = 20_000) -> float:
    """Return how many messages a second one quorum queue takes, 500 of them confirmed together."""
    with _queues(node, 1) as uri:
        started = time.monotonic()
        _publish(uri, body, count)
        return count / (time.monotonic() - started)


def fan_out_per_second(node: RabbitNode, body: bytes, count: int = 10_000) -> float:
    """Return how many messages a second go through an exchange to three quorum queues and three consumers."""
    with _queues(node, 3) as uri:
        environment = {**os.environ, "LIMIT_AMQP_URI": uri}
        consumers = []
        for number in range(3):
            command = [sys.executable, "-m", "benchmarks.limits", f"limit.{number}", str(count)]
            consumers.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        try:
            for consumer in consumers:
                assert consumer.stdout is not None
                assert consumer.stdout.readline() == "ready\n"
            started = time.time()
            _publish(uri, body, count)
            ended = max(float(consumer.communicate(timeout=120)[0]) for consumer in consumers)
        finally:
            for consumer in consumers:
                consumer.kill()
                consumer.wait()
        return count / (ended - started)


def _publish(uri: str, body: bytes, count: int) -> None:
    publisher = ConfirmingPublisher(uri, name="limit", confirm_seconds=60)
    for start in range(0, count, CONFIRMED_TOGETHER):
        publisher.publish(
            [
                Outgoing(EXCHANGE, "k", body, codec.CONTENT_TYPE, str(start + number), "limit", True)
                for number in range(CONFIRMED_TOGETHER)
            ]
        )
    publisher.close()


@contextmanager
def _queues(node: RabbitNode, count: int) -> Iterator[str]:
    arguments = {"x-queue-type": "quorum"}
    queues = tuple(Queue(f"limit.{number}", ((EXCHANGE, "k"),), arguments) for number in range(count))
    with vhost_of_its_own(node, "limit") as uri:
        amqp_topology.declare(uri, Topology((EXCHANGE,), queues))
        yield uri


def _consume(uri: str, queue: str, count: int) -> None:
    left, stop = count, threading.Event()

    def receive(messages: Sequence[Incoming]) -> list[None]:
        nonlocal left
        left -= len(messages)
        if left <= 0:
            stop.set()
        return [None] * len(messages)

    consumer = BatchConsumer(uri, queue, receive, prefetch_max=PREFETCH, window=0.005)
    consuming = threading.Thread(target=consumer.run, args=(stop,))
    consuming.start()
    wait_for(lambda: consumer.consuming, what="the consumer to consume")
    print("ready", flush=True)
    consuming.join()
    print(time.time())


if __name__ == "__main__":
    _consume(os.environ["LIMIT_AMQP_URI"], sys.argv[1], int(sys.argv[2]))
