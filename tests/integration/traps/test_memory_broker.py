"""Rows 15 and 16 of the traps: what kombu's memory broker lacks, and Debian's way to call RabbitMQ."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Exchange, Queue
from kombu.transport.memory import Channel

from tests.integration.traps.broker import Broker
from tests.integration.traps.services import Tally, body_of, event, fetch, seen
from tests.support.processes import listens
from tests.support.rabbit import RabbitNode
from tests.support.services import KEYS
from tests.support.waiting import wait_for
from xinhuo.chassis import config, outbox, topology
from xinhuo.chassis.adapters.inprocess import InProcess, MemoryBroker, MemoryPublisher
from xinhuo.chassis.db import Database
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.wire import Outgoing

COUNT = "tally.count"
WRAPPER = Path("/usr/sbin/rabbitmqctl")


@pytest.fixture
def memory() -> Iterator[Connection]:
    """A fresh memory broker."""
    MemoryBroker(topology.Topology((), ()))
    with Connection("memory://", transport_options={"confirm_publish": True}) as connection:
        yield connection


def in_process(db: Database) -> InProcess:
    service = Tally()
    service.runtime = Runtime(config.load({}), db, KEYS)
    derived = topology.of([Tally])
    adapter = InProcess([service], topology.Topology((*derived.exchanges, "volunteers.events"), derived.queues))
    # `republish` reads the events of a publisher from its schema in the same database.
    with db.as_owner() as owner:
        owner.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS volunteers")
        owner.exec_driver_sql("CREATE OR REPLACE VIEW volunteers.outbox AS SELECT * FROM tally.outbox")
    return adapter


def test_15_the_memory_broker_takes_a_mandatory_message_that_no_queue_wants_without_a_word(
    memory: Connection,
) -> None:
    returned: list[object] = []
    producer = memory.Producer(on_return=lambda *message: returned.append(message))
    producer.publish({}, exchange="nowhere", routing_key="nothing", mandatory=True)
    with pytest.raises((NotImplementedError, TimeoutError, OSError)):
        memory.drain_events(timeout=0.2)
    assert returned == []
    assert not hasattr(memory.channel(), "confirm_select"), "nor can it confirm anything"


def test_15_the_memory_broker_does_not_dead_letter_what_is_rejected(memory: Connection) -> None:
    dead = Queue("dead", Exchange("dead", "fanout"))
    work = Queue("work", Exchange("work", "direct"), "k", queue_arguments={"x-dead-letter-exchange": "dead"})
    channel = memory.channel()
    for queue in (dead, work):
        queue(channel).declare()
    memory.Producer().publish({}, exchange="work", routing_key="k")
    message = work(channel).get()
    message.reject()
    assert work(channel).get() is None
    assert dead(channel).get() is None


def test_15_the_memory_broker_forgets_with_its_process_what_was_published(memory: Connection) -> None:
    queue = Queue("work", Exchange("work", "direct"), "k", durable=True)
    queue(memory.channel()).declare()
    memory.Producer().publish({}, exchange="work", routing_key="k", delivery_mode=2)
    assert memory.channel()._size("work") == 1
    Channel.queues.clear()  # which is all there is of it: the end of the process does no more
    queue(memory.channel()).declare()
    assert queue(memory.channel()).get() is None


def test_15_remedy_our_publisher_names_what_no_queue_of_the_memory_broker_takes() -> None:
    broker = MemoryBroker(topology.Topology(("a.events",), (topology.Queue("q", (("a.events", "known"),)),)))
    publisher = MemoryPublisher(broker)
    batch = [
        Outgoing("a.events", key, b"{}", "application/json", str(number), "t", mandatory)
        for number, (key, mandatory) in enumerate([("known", True), ("unknown", True), ("unknown", False)])
    ]
    assert publisher.publish(batch) == {1}
    publisher.close()


def test_15_remedy_events_published_and_forgotten_have_their_effect_after_the_next_start_once(
    tally: dict[str, str], tally_database: Database
) -> None:
    with tally_database.transaction() as session:
        for _ in range(50):
            outbox.record(session, event("ok"))
    first = in_process(tally_database)
    first.workers["tally"].subscriptions.clear()  # it publishes, and ends before a handler saw anything
    first.start_workers()
    wait_for(lambda: not fetch(tally_database, "SELECT 1 FROM outbox WHERE published_at IS NULL"), what="all to be out")
    first.stop()
    assert seen(tally_database) == {}
    for _ in range(2):
        adapter = in_process(tally_database)
        adapter.start_workers()
        wait_for(lambda: seen(tally_database) == {"ok": 50}, what="every effect")
        wait_for(lambda adapter=adapter: all(consumer.idle for consumer in adapter.consumers), what="all to be idle")
        adapter.stop()
    assert seen(tally_database) == {"ok": 50}


def test_15_remedy_what_cannot_be_read_or_done_is_in_the_database_without_a_dead_letter_exchange(
    tally: dict[str, str], tally_database: Database
) -> None:
    adapter = in_process(tally_database)
    adapter.start_workers()
    publisher = MemoryPublisher(adapter.broker)
    bodies = [b'{"', body_of("raise"), body_of("never"), body_of("ok")]
    publisher.publish(
        [
            Outgoing(
                "volunteers.events", "hours_logged.v1", body, "application/cloudevents+json", str(number),
                "volunteers.hours_logged.v1", True,
            )
            for number, body in enumerate(bodies)
        ]
    )  # fmt: skip
    wait_for(lambda: seen(tally_database) == {"ok": 1}, what="the good event's effect")
    reasons = wait_for(
        lambda: len(found := fetch(tally_database, "SELECT reason FROM dead_letters ORDER BY 1")) == 2 and found,
        what="two dead letters",
    )
    assert [row.reason for row in reasons] == ["event.undecodable", "tally.bad_category"]
    assert len(fetch(tally_database, "SELECT 1 FROM parked_events")) == 1
    publisher.close()
    adapter.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == COUNT]


@pytest.mark.skipif(not WRAPPER.exists() or os.geteuid() != 0, reason="Debian's wrappers, run by root, only")
def test_16_debians_wrapper_does_not_find_a_private_node(rabbit_node: RabbitNode) -> None:
    ran = subprocess.run(
        [WRAPPER, "--node", rabbit_node.name, "--timeout", "5", "eval", "node()."],
        env=rabbit_node._environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode != 0
    assert "rabbit" in ran.stdout + ran.stderr


def test_16_remedy_the_script_behind_the_wrapper_does(rabbit_node: RabbitNode) -> None:
    assert listens(rabbit_node.port)
    assert rabbit_node.name in rabbit_node.ctl("eval", "node().")


def test_16_remedy_the_private_node_serves_clients(broker: Broker) -> None:
    broker.declare("served")
    broker.publish("", "served", b"1")
    assert broker.take("served").body in (b"1", "1")
