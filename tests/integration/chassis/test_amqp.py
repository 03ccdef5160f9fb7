"""RabbitMQ: what is declared, what goes out and waits, and consumers that outlive their connections and the node."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from amqp.connection import Connection as AmqpConnection

from tests.integration.chassis.services import Desk, deliveries, event, fetch, words
from tests.integration.traps.broker import Broker
from tests.support.rabbit import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis import outbox, relay, topology
from xinhuo.chassis.adapters import amqp_topology, parts
from xinhuo.chassis.adapters.amqp import BatchConsumer, ConfirmingPublisher
from xinhuo.chassis.adapters.dead_letters import dead_letter_receiver
from xinhuo.chassis.db import Database
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.chassis.relay import Relay
from xinhuo.chassis.topology import Queue, Topology
from xinhuo.chassis.wire import BrokerUnavailable, Incoming, Outgoing
from xinhuo.chassis.worker import Worker
from xinhuo.cli import build
from xinhuo.contracts import codec
from xinhuo.contracts.base import load_all
from xinhuo.contracts.notices import UnitRegistered
from xinhuo.contracts.volunteers import HoursLogged

COUNT = "volunteers.count"
AWAY = "amqp://nobody:x@127.0.0.1:1/none"


@pytest.fixture
def broker(amqp_uri: str) -> Iterator[Broker]:
    client = Broker(amqp_uri)
    yield client
    client.close()


@pytest.fixture
def declared(amqp_uri: str) -> Iterator[Topology]:
    """The small service's exchanges and queues, empty."""
    wanted = topology.of([Desk])
    amqp_topology.declare(amqp_uri, wanted)
    yield wanted
    client = Broker(amqp_uri)  # a new one: a test may have closed all there were
    for queue in wanted.queues:
        client.empty(queue.name)
    client.close()


@contextmanager
def running(*works: object) -> Iterator[None]:
    """Run relays and consumers in threads until the end of the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=each.run, args=(stop,), daemon=True) for each in works]  # type: ignore[attr-defined]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def consumer_of(desk: Desk, uri: str) -> BatchConsumer:
    worker = Worker(desk)
    return BatchConsumer(uri, COUNT, lambda messages: worker.receive("count", messages), prefetch_max=64, window=0.005)


def relay_of(db: Database, uri: str, **options: object) -> Relay:
    publisher = ConfirmingPublisher(uri, name="test relay", confirm_seconds=5)
    return Relay(db, publisher, mandatory=topology.subscribed_topics([Desk]), **options)  # type: ignore[arg-type]


def record(db: Database, *names: str) -> None:
    with db.transaction() as session:
        outbox.record_all(session, [event(name) for name in names])


def unpublished(db: Database) -> list[str]:
    return [row.type for row in fetch(db, "SELECT type FROM outbox WHERE published_at IS NULL")]


# Topology


def test_every_subscription_of_every_service_has_a_quorum_queue_with_a_dead_letter_exchange() -> None:
    services = build.service_classes()
    queues = {queue.name: queue for queue in topology.of(services).queues}
    subscriptions = [
        (service, name, mark) for service in services for name, mark in marked(service, Subscription).items()
    ]
    assert len(subscriptions) >= len(services)
    for service, name, mark in subscriptions:
        queue = queues.pop(f"{service.name}.{name}")
        assert queue.arguments == {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": f"{service.name}.dead",
            "x-dead-letter-strategy": "at-least-once",
            "x-delivery-limit": 20,
        }
        assert set(queue.bindings) == {
            (exchange, f"{wanted.fact}.v{wanted.version}")
            for wanted in mark.events
            for exchange in (f"{wanted.publisher}.events", f"{service.name}.{name}.replay")
        }, "its publishers, and the door for what is sent again to it alone"
    assert {name: queue.arguments for name, queue in queues.items()} == {
        f"{service.name}.dead": {"x-queue-type": "quorum"} for service in services
    }, "and what is left are the dead-letter queues"


def test_every_exchange_that_a_queue_is_bound_to_or_dies_into_is_part_of_the_topology() -> None:
    whole = topology.of(build.service_classes())
    used = {exchange for queue in whole.queues for exchange, _ in queue.bindings}
    used |= {queue.arguments["x-dead-letter-exchange"] for queue in whole.queues if not queue.name.endswith(".dead")}
    assert used <= set(whole.exchanges)
    assert "pub.events" in whole.exchanges
    assert len(whole.exchanges) == len(set(whole.exchanges))
    assert {f"{each.publisher}.events" for each in load_all().values()} <= set(whole.exchanges)


def test_declaring_makes_what_is_missing_and_again_makes_nothing(amqp_uri: str, broker: Broker) -> None:
    wanted = topology.of(build.service_classes())
    names = {f"exchange {name}" for name in wanted.exchanges} | {f"queue {queue.name}" for queue in wanted.queues}
    first = amqp_topology.missing(amqp_uri, wanted)
    assert set(first) <= names
    assert set(amqp_topology.declare(amqp_uri, wanted)) == set(first)
    assert amqp_topology.missing(amqp_uri, wanted) == []
    assert amqp_topology.declare(amqp_uri, wanted) == []
    broker.channel.queue_delete("awards.dead")
    assert amqp_topology.missing(amqp_uri, wanted) == ["queue awards.dead"]
    assert amqp_topology.declare(amqp_uri, wanted) == ["queue awards.dead"]
    for queue in wanted.queues:  # the broker refuses with 406 what was declared otherwise
        broker.channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=queue.arguments)
    assert broker.exists("awards.dead")
    for queue in wanted.queues:  # else other tests' events would find a queue here
        broker.channel.queue_delete(queue.name)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Topology(("typed.events",), ()), "typed.events"),
        (Topology((), (Queue("classic", (), {"x-queue-type": "quorum"}),)), "classic"),
        (Topology((), (Queue("limited", (), {"x-queue-type": "quorum", "x-delivery-limit": 20}),)), "limited"),
        (Topology((), (Queue("bound nowhere", (("no.such.exchange", "k"),)),)), "no.such.exchange"),
    ],
)
def test_what_is_there_with_other_arguments_is_an_error_that_names_it(
    amqp_uri: str, broker: Broker, wanted: Topology, named: str
) -> None:
    broker.channel.exchange_declare("typed.events", "fanout", durable=True, auto_delete=False)
    broker.channel.queue_declare("classic", durable=True, auto_delete=False)
    broker.channel.queue_declare(
        "limited", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum", "x-delivery-limit": 5}
    )
    with pytest.raises(BrokerUnavailable, match=named):
        amqp_topology.declare(amqp_uri, wanted)
    assert broker.exists("classic")


def test_a_broker_that_is_away_is_said_to_be_so() -> None:
    with pytest.raises(BrokerUnavailable):
        amqp_topology.declare(AWAY, Topology(("a.events",), ()))
    publisher = ConfirmingPublisher(AWAY, name="test", confirm_seconds=1)
    with pytest.raises(BrokerUnavailable):
        publisher.publish([Outgoing("a.events", "k", b"{}", codec.CONTENT_TYPE, "m", "t", False)])
    publisher.keep_alive()
    publisher.close()


# The relay


@pytest.mark.parametrize(("size", "pressed"), [(10, False), (63_000, False), (64_000, True)])
def test_the_public_lane_lets_a_consumer_with_a_large_batch_go_first(
    amqp_uri: str, desk: Desk, declared: Topology, monkeypatch: pytest.MonkeyPatch, size: int, pressed: bool
) -> None:
    monkeypatch.setattr(parts, "broker_of", lambda _service: amqp_uri)
    seen: list[bool] = []
    consumers: list[BatchConsumer] = []
    _, public = parts.relays_of(desk, frozenset(), consumers)

    def receive(messages: Sequence[Incoming]) -> list[None]:
        seen.append(public._yields())
        return [None] * len(messages)

    consumers.append(BatchConsumer(amqp_uri, COUNT, receive, prefetch_max=1, window=0.001))
    key = topology.routing_key(HoursLogged.topic)
    publisher = ConfirmingPublisher(amqp_uri, name="test relay", confirm_seconds=5)
    publisher.publish([Outgoing("volunteers.events", key, b"x" * size, codec.CONTENT_TYPE, "1", "x", mandatory=True)])
    with running(*consumers):
        wait_for(lambda: seen, what="the message")
    publisher.close()
    assert seen == [pressed]


def test_a_batch_goes_out_without_a_look_at_the_socket_for_each_message(
    amqp_uri: str, declared: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = ConfirmingPublisher(amqp_uri, name="test relay", confirm_seconds=5)
    looks: list[object] = []
    drain = AmqpConnection.drain_events
    monkeypatch.setattr(AmqpConnection, "drain_events", lambda line, **kw: looks.append(1) or drain(line, **kw))
    topic = HoursLogged.topic
    key = topology.routing_key(topic)
    out = [
        Outgoing("volunteers.events", key, b"{}", codec.CONTENT_TYPE, str(number), topic, mandatory=True)
        for number in range(200)
    ]
    assert publisher.publish(out) == frozenset()
    assert 1 <= len(looks) < 100, "those that wait for the confirms of all"
    publisher.close()


def test_a_type_without_a_queue_waits_while_others_go_out_and_follows_when_the_queue_is_there(
    amqp_uri: str, broker: Broker, db: Database, declared: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "HOLD_SECONDS", 0.2)
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.1)
    broker.channel.exchange_declare("notices.events", "topic", durable=True, auto_delete=False)
    publisher = ConfirmingPublisher(amqp_uri, name="test relay", confirm_seconds=5)
    one = Relay(db, publisher, mandatory=frozenset({UnitRegistered.topic, HoursLogged.topic}))
    with db.transaction() as session:
        for number in range(3):
            outbox.record(session, UnitRegistered(unit_code=f"U{number}", kind="middle_school"))
            outbox.record(session, event(f"w{number}"))
    with running(one):
        wait_for(lambda: unpublished(db) == [UnitRegistered.topic] * 3, what="the others to be out")
        record(db, "later")
        wait_for(lambda: unpublished(db) == [UnitRegistered.topic] * 3, what="a later one to be out")
        broker.declare("units", "notices.events", "unit_registered.v1")
        wait_for(lambda: unpublished(db) == [], what="those held to follow")
    assert broker.ready("units") == 1, "three events in one message"
    assert len(codec.split_batch(_bytes(broker.take("units").body))) == 3
    positions = [row.position for row in fetch(db, "SELECT position FROM outbox ORDER BY position")]
    assert positions == list(range(1, 8))


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def test_the_public_lane_goes_out_with_nobody_listening_and_to_those_who_do(
    amqp_uri: str, broker: Broker, db: Database, declared: Topology
) -> None:
    record(db, "unheard")
    with running(relay_of(db, amqp_uri), relay_of(db, amqp_uri, lane="public")):
        wait_for(
            lambda: not fetch(db, "SELECT 1 FROM outbox WHERE public_published_at IS NULL"), what="the public lane"
        )
        broker.declare("department", "pub.events", HoursLogged.topic)
        record(db, "heard")
        wait_for(lambda: broker.ready("department") == 1, what="the department's message")
    message = broker.take("department")
    assert message.delivery_info["routing_key"] == HoursLogged.topic
    assert message.properties["content_type"] == "application/cloudevents+json"
    assert '"category":"heard"' in _bytes(message.body).decode()
    assert "volunteer_id" not in _bytes(message.body).decode()


# Consumers


def test_what_is_recorded_takes_effect_over_the_broker(
    amqp_uri: str, desk: Desk, db: Database, declared: Topology, broker: Broker
) -> None:
    names = [f"w{number}" for number in range(500)]
    with running(relay_of(db, amqp_uri), consumer_of(desk, amqp_uri)):
        for start in range(0, 500, 50):
            record(db, *names[start : start + 50])
        wait_for(lambda: len(words(db)) == 500, 20, "every effect")
    assert Counter(words(db)) == Counter(names)
    assert broker.left(COUNT) == 0


@pytest.mark.parametrize(
    "deaths",
    [
        "no list", 7, [], [7], {"queue": COUNT}, [{"queue": 5, "reason": 6}], [{"queue": "a\x00b", "reason": "\x00"}],
        [{"queue": "q" * 300, "reason": "rejected"}], [{}],
    ],
)  # fmt: skip
def test_a_dead_message_is_kept_whatever_its_header_claims_about_its_death(
    desk: Desk, db: Database, deaths: object
) -> None:
    """An error here would end the process, which would read the same message again at its next start."""
    dead = Incoming(b"junk", None, None, None, None, "a", {"x-death": deaths})
    dead_letter_receiver(Worker(desk))([dead])
    assert [(row.handler, bytes(row.body)) for row in fetch(db, "SELECT handler, body FROM dead_letters")] == [
        (topology.dead_letter_name("volunteers"), b"junk")
    ]


def test_restarts_while_the_database_is_away_do_not_count_as_deliveries(
    amqp_uri: str, broker: Broker, declared: Topology
) -> None:
    """Taken and given back at each start, the message would be over the limit, and dead, at the 21st."""
    broker.publish_event("innocent")
    asked, received = threading.Event(), []

    def away() -> bool:
        asked.set()
        return False

    for ready in (*[away] * 3, lambda: True):
        asked.clear()
        consumer = BatchConsumer(
            amqp_uri, COUNT, lambda messages: [received.append(each) for each in messages],  # type: ignore[func-returns-value]
            prefetch_max=1, window=0.005, ready=ready,
        )  # fmt: skip
        with running(consumer):
            wait_for(lambda: asked.is_set() or received, what="the consumer to ask or to receive")
    assert [message.returns for message in received] == [0]


def test_a_consumer_whose_queue_is_missing_says_so_and_begins_when_it_is_there(
    amqp_uri: str, broker: Broker, desk: Desk, db: Database, declared: Topology
) -> None:
    broker.channel.queue_delete(COUNT)
    consumer = consumer_of(desk, amqp_uri)
    with running(consumer):
        assert not consumer.consuming
        amqp_topology.declare(amqp_uri, declared)
        publish(amqp_uri, "a")
        wait_for(lambda: words(db) == ["a"], what="the effect")
        assert consumer.consuming
    assert not consumer.consuming


def publish(uri: str, *names: str) -> None:
    publisher = ConfirmingPublisher(uri, name="test", confirm_seconds=5)
    messages = [
        Outgoing("volunteers.events", "hours_logged.v1", one.body, codec.CONTENT_TYPE, str(one.envelope.id),
                 HoursLogged.topic, True)
        for one in deliveries(*names)
    ]  # fmt: skip
    assert publisher.publish(messages) == frozenset()
    publisher.close()


def test_a_consumer_that_loses_its_connection_in_the_middle_of_a_batch_comes_back_and_doubles_nothing(
    amqp_uri: str, rabbit_node: RabbitNode, desk: Desk, db: Database, declared: Topology
) -> None:
    began, may_go_on = threading.Event(), threading.Event()
    worker = Worker(desk)

    def receive(messages: object) -> object:
        verdicts = worker.receive("count", messages)  # type: ignore[arg-type]
        began.set()
        may_go_on.wait(20)
        return verdicts

    consumer = BatchConsumer(amqp_uri, COUNT, receive, prefetch_max=64, window=0.005)  # type: ignore[arg-type]
    publish(amqp_uri, *(f"w{number}" for number in range(30)))
    with running(consumer):
        assert began.wait(10)
        vhost = amqp_uri.rpartition("/")[2]
        rabbit_node.ctl("close_all_connections", "--vhost", vhost, "test")
        may_go_on.set()
        wait_for(lambda: len(words(db)) == 30, what="every effect")
    assert Counter(words(db)) == Counter(f"w{number}" for number in range(30))
    again = Broker(amqp_uri)
    assert again.left(COUNT) == 0
    again.close()


def test_a_consumer_that_is_told_to_stop_acknowledges_what_it_did_first(
    amqp_uri: str, desk: Desk, db: Database, declared: Topology, broker: Broker
) -> None:
    began, may_go_on = threading.Event(), threading.Event()
    worker = Worker(desk)

    def receive(messages: object) -> object:
        began.set()
        may_go_on.wait(10)
        return worker.receive("count", messages)  # type: ignore[arg-type]

    consumer = BatchConsumer(amqp_uri, COUNT, receive, prefetch_max=64, window=0.005)  # type: ignore[arg-type]
    publish(amqp_uri, "a")
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    assert began.wait(10)
    stop.set()
    may_go_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert words(db) == ["a"]
    assert broker.left(COUNT) == 0


def test_relay_and_consumer_go_on_when_a_killed_broker_is_back_and_what_was_recorded_meanwhile_goes_out(
    tmp_path: Path, desk: Desk, db: Database
) -> None:
    tmp_path.chmod(0o711)
    node = RabbitNode(tmp_path / "rabbit")
    try:
        node.start()
        uri = node.uri()
        amqp_topology.declare(uri, topology.of([Desk]))
        node.write_down()
        consumer = consumer_of(desk, uri)
        with running(relay_of(db, uri), consumer):
            record(db, *(f"before {number}" for number in range(50)))
            wait_for(lambda: len(words(db)) == 50, what="the effects before")
            node.kill()
            wait_for(lambda: not consumer.consuming, what="the consumer to notice")
            record(db, *(f"away {number}" for number in range(50)))
            wait_for(lambda: len(unpublished(db)) == 50, what="the marks of what went out before")
            node.start()
            wait_for(lambda: len(words(db)) == 100, 60, "the effects after")
            assert consumer.consuming
        expected = Counter(f"{when} {number}" for when in ("before", "away") for number in range(50))
        assert Counter(words(db)) == expected
        assert unpublished(db) == []
    finally:
        node.discard()
