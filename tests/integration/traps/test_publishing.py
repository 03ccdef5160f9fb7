"""Rows 6, 7 and 8 of the traps: publishing that hangs or goes nowhere, and queues of the wrong type."""

import json
import threading
import time
import urllib.request

import pytest
from kombu.pools import producers, reset
from nameko.amqp.publish import Publisher

from tests.integration.traps.broker import QUORUM, Broker, stalling_line
from tests.integration.traps.running import running
from tests.integration.traps.services import Tally, event, fetch, seen
from tests.support.processes import LOOPBACK, free_port, listens
from tests.support.waiting import wait_for
from xinhuo.chassis import outbox, topology
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
from xinhuo.chassis.db import Database
from xinhuo.chassis.relay import Relay
from xinhuo.chassis.wire import BrokerUnavailable, Outgoing

COUNT = "tally.count"
QUEUE = "evt-shop-sold--quorum.note"


def outgoing(exchange: str, key: str, *, body: bytes = b"{}", mandatory: bool = True, number: int = 1) -> Outgoing:
    return Outgoing(exchange, key, body, "application/json", f"m-{number}", "t", mandatory)


def test_06_plain_nameko_hangs_when_it_publishes_on_a_frozen_connection(broker: Broker, amqp_uri: str) -> None:
    broker.declare("frozen", "frozen.events", "sold")
    ended = threading.Event()
    with stalling_line(amqp_uri) as line:
        publisher = Publisher(line.uri)
        publisher.publish({"n": 1}, exchange="frozen.events", routing_key="sold")

        def publish() -> None:
            try:
                publisher.publish({"n": 2}, exchange="frozen.events", routing_key="sold", retry=False)
            except OSError:
                pass
            finally:
                ended.set()

        line.stall()
        thread = threading.Thread(target=publish, daemon=True)
        thread.start()
        assert not ended.wait(3), "ours gives up after one second, in the next test"
        assert producers
    thread.join(10)
    reset()


@pytest.mark.parametrize("size", [2, 1_000_000])
def test_06_remedy_our_publisher_gives_up_in_time_on_a_frozen_connection_and_goes_on_after(
    broker: Broker, amqp_uri: str, size: int
) -> None:
    """With large bodies the buffers of the line are full before all is written: writing has its time-out too."""
    broker.declare("frozen", "frozen.events", "sold")
    batch = [outgoing("frozen.events", "sold", body=b"x" * size, number=number) for number in range(20)]
    with stalling_line(amqp_uri) as line:
        publisher = ConfirmingPublisher(line.uri, name="test", confirm_seconds=1)
        assert publisher.publish([outgoing("frozen.events", "sold")]) == frozenset()
        line.stall()
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher.publish(batch)
        assert time.monotonic() - started < 5
        line.resume()
        assert publisher.publish([outgoing("frozen.events", "sold")]) == frozenset()
        publisher.close()


def test_07_plain_nameko_reports_success_for_an_event_that_no_queue_takes(amqp_uri: str) -> None:
    port = free_port()
    with running("plain", "Dispatches", AMQP_URI=amqp_uri, PORT=str(port)) as plain:
        wait_for(lambda: listens(port), what="the service to listen")
        request = urllib.request.Request(f"http://{LOOPBACK}:{port}/sell", b"")
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            assert (answer.status, answer.read()) == (201, b"sold")
        assert not plain.said("error")


def test_07_remedy_an_event_that_no_queue_takes_stays_in_the_outbox_until_one_does(
    broker: Broker, amqp_uri: str, tally: dict[str, str], tally_database: Database
) -> None:
    broker.channel.queue_unbind(COUNT, "volunteers.events", "hours_logged.v1")
    with tally_database.transaction() as session:
        outbox.record(session, event("ok"))
    publisher = ConfirmingPublisher(amqp_uri, name="test", confirm_seconds=5)
    relay = Relay(tally_database, publisher, mandatory=topology.subscribed_topics([Tally]))
    with tally_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert relay.publish_batch(connection) == 1
        assert [row.published_at for row in fetch(tally_database, "SELECT published_at FROM outbox")] == [None]
        assert relay.publish_batch(connection) == 0, "held for some seconds, so that it blocks no other type"
        amqp_topology.declare(amqp_uri, topology.Topology(("volunteers.events",), topology.of([Tally]).queues))
        again = Relay(tally_database, publisher, mandatory=topology.subscribed_topics([Tally]))
        assert again.publish_batch(connection) == 1
    publisher.close()
    assert fetch(tally_database, "SELECT published_at FROM outbox")[0].published_at is not None
    assert broker.ready(COUNT) == 1


def test_07_remedy_of_a_batch_exactly_the_events_that_no_queue_took_are_named(broker: Broker, amqp_uri: str) -> None:
    broker.declare("some", "some.events", "sold")
    publisher = ConfirmingPublisher(amqp_uri, name="test", confirm_seconds=5)
    batch = [
        outgoing("some.events", "sold" if number % 3 else "unknown", mandatory=number % 2 == 0, number=number)
        for number in range(60)
    ]
    assert publisher.publish(batch) == {number for number in range(60) if number % 3 == 0 and number % 2 == 0}
    publisher.close()
    assert broker.ready("some") == 40
    broker.empty("some")


def test_07_remedy_a_queue_that_refuses_for_being_full_is_an_outage_and_no_success(
    broker: Broker, amqp_uri: str
) -> None:
    broker.declare("small", "small.events", "sold", **QUORUM, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    publisher = ConfirmingPublisher(amqp_uri, name="test", confirm_seconds=5)

    def refused() -> bool:
        try:
            publisher.publish([outgoing("small.events", "sold")])
        except BrokerUnavailable:
            return True
        return False

    wait_for(refused, what="the full queue to refuse")
    broker.empty("small")
    wait_for(lambda: not refused(), what="the emptied queue to take messages")
    publisher.close()


def test_08_plain_nameko_on_a_quorum_queue_loops_and_never_consumes(broker: Broker, amqp_uri: str) -> None:
    broker.declare(QUEUE, "shop.events", "sold", **QUORUM)
    broker.publish("shop.events", "sold", json.dumps("sale").encode())
    with running("plain", "Quorum", AMQP_URI=amqp_uri) as plain:
        plain.wait_until_said("inequivalent arg 'x-queue-type'", times=2)
        assert not plain.said("handled")
    assert broker.left(QUEUE) == 1


def test_08_remedy_ours_consumes_quorum_queues_and_declares_nothing_itself(
    broker: Broker, tally: dict[str, str], tally_topology: topology.Topology, tally_database: Database
) -> None:
    assert {queue.arguments["x-queue-type"] for queue in tally_topology.queues} == {"quorum"}
    with running("ours", "worker", **tally) as ours:
        broker.publish_event("ok")
        wait_for(lambda: seen(tally_database) == {"ok": 1}, what="the effect")
        assert not ours.said("consumer_waits")


def test_08_remedy_a_queue_declared_with_other_arguments_is_named_and_kept(broker: Broker, amqp_uri: str) -> None:
    broker.declare("other", "shop.events", "other")
    broker.publish("shop.events", "other", b"1")
    wanted = topology.Topology(("shop.events",), (topology.Queue("other", (), QUORUM),))
    with pytest.raises(BrokerUnavailable, match="other"):
        amqp_topology.declare(amqp_uri, wanted)
    assert broker.ready("other") == 1
    broker.empty("other")
