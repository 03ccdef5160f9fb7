"""What our consumer must hold under attack, beside the rows of the table: crashes, cut lines, a growing prefetch."""

import errno
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import Connection

from tests.integration.traps.broker import QUORUM, Broker, stalling_line
from tests.integration.traps.running import running
from tests.integration.traps.services import fetch, seen
from tests.support.waiting import wait_for
from xinhuo.chassis.adapters import amqp
from xinhuo.chassis.adapters.amqp import BatchConsumer
from xinhuo.chassis.db import Database, DatabaseUnavailable
from xinhuo.chassis.wire import Incoming
from xinhuo.contracts.codec import Undecodable

COUNT, DEAD = "tally.count", "tally.dead"
INNOCENTS = 30


@contextmanager
def consuming(uri: str, queue: str, receive: Any, *, prefetch_max: int = 64) -> Iterator[BatchConsumer]:
    """Consume in a thread for the length of a block."""
    stop = threading.Event()
    consumer = BatchConsumer(uri, queue, receive, prefetch_max=prefetch_max, window=0.005)
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        thread.join(15)
    assert not thread.is_alive()


def fill(broker: Broker, queue: str, count: int, **arguments: Any) -> None:
    broker.declare(queue, f"{queue}.events", "k", **QUORUM, **arguments)
    for number in range(count):
        broker.publish(f"{queue}.events", "k", str(number).encode())


def test_with_a_fixed_prefetch_an_event_that_kills_its_process_takes_the_innocent_with_it(
    broker: Broker, tally: dict[str, str]
) -> None:
    broker.publish_event("kill")
    for _ in range(INNOCENTS):
        broker.publish_event("ok")
    with running("crashing", "fixed", **tally) as crashing:
        wait_for(lambda: broker.ready(DEAD) == INNOCENTS + 1, 30, "all to be dead-lettered")
        assert len(crashing.said("crashed")) >= 20
        crashing.terminate()
        crashing.wait_until_ended()


def test_an_event_that_kills_its_process_is_dead_lettered_alone_and_the_innocent_are_spared(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    broker.publish_event("kill")
    for _ in range(INNOCENTS):
        broker.publish_event("ok")
    with running("crashing", "ours", **tally) as crashing:
        rows = wait_for(
            lambda: fetch(tally_database, "SELECT handler, reason, type FROM dead_letters"), 40, "the dead letter"
        )
        wait_for(lambda: seen(tally_database) == {"ok": INNOCENTS}, what="the innocent events' effect")
        crashing.terminate()
        crashing.wait_until_ended()
    assert [tuple(row) for row in rows] == [(COUNT, "event.delivery_limit", "volunteers.hours_logged.v1")]
    assert (broker.left(COUNT), broker.left(DEAD)) == (0, 0)


def test_an_event_that_kills_its_process_spares_the_innocent_in_its_own_message(
    broker: Broker, tally: dict[str, str], tally_database: Database
) -> None:
    broker.publish_event(*["ok"] * 20, "kill", *["ok"] * 19)
    with running("crashing", "ours", **tally) as crashing:
        rows = wait_for(
            lambda: fetch(tally_database, "SELECT reason, event_id IS NOT NULL AS known FROM dead_letters"),
            40,
            "the dead letter",
        )
        crashing.terminate()
        crashing.wait_until_ended()
    assert [tuple(row) for row in rows] == [("event.delivery_limit", True)]
    assert seen(tally_database) == {"ok": 39}


def test_while_the_prefetch_grows_every_message_comes_once_and_the_consumer_keeps_its_subscription(
    broker: Broker, amqp_uri: str
) -> None:
    fill(broker, "ramp", 1500)
    got: Counter[bytes] = Counter()
    batches: list[int] = []

    def receive(messages: Sequence[Incoming]) -> list[Undecodable | None]:
        got.update(message.body for message in messages)
        batches.append(len(messages))
        return [None] * len(messages)

    with consuming(amqp_uri, "ramp", receive):
        wait_for(lambda: sum(got.values()) >= 1500, what="all messages")
        for number in range(1500, 1510):
            broker.publish("ramp.events", "k", str(number).encode())
        wait_for(lambda: sum(got.values()) >= 1510, what="those that came later")
        assert broker.consumers("ramp") == 1
    assert batches[0] == 1, "it starts with one"
    assert max(batches) > 16, "and grows"
    assert set(got.values()) == {1}
    assert len(got) == 1510
    assert broker.left("ramp") == 0


def test_when_its_line_is_cut_again_and_again_nothing_is_lost_and_nothing_stays_behind(
    broker: Broker, amqp_uri: str
) -> None:
    fill(broker, "cut", 600)
    got: Counter[bytes] = Counter()

    def receive(messages: Sequence[Incoming]) -> list[Undecodable | None]:
        got.update(message.body for message in messages)
        return [None] * len(messages)

    with stalling_line(amqp_uri) as line, consuming(line.uri, "cut", receive) as consumer:
        for share in (50, 200, 400):
            wait_for(lambda share=share: len(got) >= share, what=f"{share} messages")
            line.cut()
        wait_for(lambda: len(got) == 600, what="all messages")
        wait_for(lambda: consumer.consuming, what="the consumer to consume again")
        assert line.accepted >= 3
    assert broker.left("cut") == 0


def test_a_frozen_line_does_not_keep_the_consumer_from_stopping(broker: Broker, amqp_uri: str) -> None:
    fill(broker, "frozen-line", 1)
    got = threading.Event()

    def receive(messages: Sequence[Incoming]) -> list[Undecodable | None]:
        got.set()
        return [None] * len(messages)

    with stalling_line(amqp_uri) as line, consuming(line.uri, "frozen-line", receive):
        assert got.wait(10)
        line.stall()


def test_while_the_database_is_away_messages_are_held_and_then_done(broker: Broker, amqp_uri: str) -> None:
    fill(broker, "held", 5)
    away = threading.Event()
    away.set()
    tried, got = threading.Event(), Counter[bytes]()

    def receive(messages: Sequence[Incoming]) -> list[Undecodable | None]:
        tried.set()
        if away.is_set():
            raise DatabaseUnavailable
        got.update(message.body for message in messages)
        return [None] * len(messages)

    with consuming(amqp_uri, "held", receive):
        assert tried.wait(10)
        away.clear()
        wait_for(lambda: len(got) == 5, what="all messages")
    assert set(got.values()) == {1}
    assert broker.left("held") == 0


def test_of_a_batch_only_what_cannot_be_read_is_rejected(broker: Broker, amqp_uri: str) -> None:
    broker.declare("rejected", "rejected.dead", "#")
    fill(broker, "mixed", 100, **{"x-dead-letter-exchange": "rejected.dead"})
    seen_bodies: set[bytes] = set()

    def receive(messages: Sequence[Incoming]) -> list[Undecodable | None]:
        seen_bodies.update(message.body for message in messages)
        return [Undecodable("x", "y") if int(message.body) % 10 == 3 else None for message in messages]

    with consuming(amqp_uri, "mixed", receive):
        wait_for(lambda: broker.ready("rejected") == 10, what="the rejected messages")
        wait_for(lambda: len(seen_bodies) == 100, what="all messages")
    assert broker.left("mixed") == 0


def test_a_connection_that_the_kernel_has_given_up_is_an_error_and_no_silence() -> None:
    """Taken for silence it would leave the consumer deaf: kombu connects anew by itself, without its consumers."""

    class GivenUp:
        error = TimeoutError(errno.ETIMEDOUT, "Connection timed out")

        def drain_events(self, timeout: float) -> None:
            raise self.error

    connection: Any = Connection("amqp://")
    connection._connection = GivenUp()
    with pytest.raises(TimeoutError):
        amqp._drain(connection, 1.0)
    GivenUp.error = TimeoutError("timed out")
    assert amqp._drain(connection, 1.0) is False
    connection._connection = None
