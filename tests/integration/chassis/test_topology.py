"""What is at the broker beside what is wanted: shown whole, made where missing, never deleted with messages."""

from collections.abc import Iterator

import pytest

from tests.integration.traps.broker import Broker
from tests.support.waiting import wait_for
from xinhuo.chassis.adapters import broker_state
from xinhuo.chassis.adapters.broker_state import Item, Unequal
from xinhuo.chassis.topology import RETIRED_QUEUES, Queue, Topology
from xinhuo.chassis.wire import BrokerUnavailable
from xinhuo.cli import build

QUORUM = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": "a.dead",
    "x-dead-letter-strategy": "at-least-once",
    "x-delivery-limit": 20,
}
WANTED = Topology(("a.events", "a.dead"), (Queue("a.count", (("a.events", "k"),), QUORUM),), retired=("a.old",))


@pytest.fixture
def uri(amqp_uri: str) -> Iterator[str]:
    """A virtual host with nothing of this module in it."""
    yield amqp_uri
    client = Broker(amqp_uri)
    for name in ("a.count", "a.old"):
        client.channel.queue_delete(name)
    for name in ("a.events", "a.dead"):
        client.channel.exchange_delete(name)
    client.close()


@pytest.fixture
def broker(uri: str) -> Iterator[Broker]:
    client = Broker(uri)
    yield client
    client.close()


def by_label(items: list[Item]) -> dict[str, Item]:
    return {item.label: item for item in items}


def test_what_is_missing_is_shown_then_made_then_as_wanted(uri: str, broker: Broker) -> None:
    labels = {"exchange a.events", "exchange a.dead", "queue a.count"}

    before = broker_state.inspect(uri, WANTED)
    assert {item.label: item.state for item in before} == dict.fromkeys(labels, "missing")
    assert not broker.exists("a.count")

    made = broker_state.apply(uri, WANTED)
    assert {item.label: item.done for item in made} == dict.fromkeys(labels, "made")
    broker.channel.basic_publish(_message(), exchange="a.events", routing_key="k")
    wait_for(lambda: broker.ready("a.count") == 1, what="the queue to be bound")

    again = broker_state.apply(uri, WANTED)
    assert {item.label: (item.state, item.done) for item in again} == dict.fromkeys(labels, ("same", None))
    assert by_label(again)["queue a.count"].messages == 1


@pytest.mark.parametrize(
    ("there", "unequal"),
    [
        ({**QUORUM, "x-delivery-limit": 5}, [("x-delivery-limit", 20, 5)]),
        ({**QUORUM, "x-overflow": "drop-head"}, [("x-overflow", "reject-publish", "drop-head")]),
        ({**QUORUM, "x-dead-letter-exchange": "b"}, [("x-dead-letter-exchange", "a.dead", "b")]),
        ({**QUORUM, "x-max-length": 9}, [("x-max-length", None, 9)]),
        (
            {"x-queue-type": "quorum"},
            [
                ("x-dead-letter-exchange", "a.dead", None),
                ("x-dead-letter-strategy", "at-least-once", None),
                ("x-delivery-limit", 20, None),
                ("x-overflow", "reject-publish", None),
            ],
        ),
        (
            {"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": "b"},
            [
                ("x-dead-letter-exchange", "a.dead", "b"),
                ("x-dead-letter-strategy", "at-least-once", None),
                ("x-delivery-limit", 20, 3),
                ("x-overflow", "reject-publish", None),
            ],
        ),
    ],
)
def test_every_argument_that_differs_is_shown_with_both_values(
    uri: str, broker: Broker, there: dict[str, object], unequal: list[tuple[str, object, object]]
) -> None:
    broker.channel.queue_declare("a.count", durable=True, auto_delete=False, arguments=there)
    broker.channel.basic_publish(_message(), exchange="", routing_key="a.count")
    wait_for(lambda: broker.ready("a.count") == 1, what="the message")

    found = by_label(broker_state.apply(uri, WANTED, replace_empty=True))["queue a.count"]

    assert found.state == "differs"
    assert sorted(found.unequal, key=lambda one: one.name) == [Unequal(*one) for one in unequal]
    assert (found.messages, found.consumers, found.done) == (1, 0, None)
    assert broker.ready("a.count") == 1, "nothing is deleted"


@pytest.mark.parametrize(
    ("durable", "auto_delete", "expected"),
    [(False, False, Unequal("durable", True, False)), (True, True, Unequal("auto_delete", False, True))],
)
def test_a_classic_queue_is_told_with_its_other_properties(
    uri: str, broker: Broker, durable: bool, auto_delete: bool, expected: Unequal
) -> None:
    broker.channel.queue_declare("a.count", durable=durable, auto_delete=auto_delete)

    found = by_label(broker_state.inspect(uri, WANTED))["queue a.count"]

    assert found.state == "differs"
    assert expected in found.unequal


def test_an_exchange_of_another_type_is_told_and_left(uri: str, broker: Broker) -> None:
    broker.channel.exchange_declare("a.events", "fanout", durable=True, auto_delete=False)

    found = by_label(broker_state.inspect(uri, WANTED))["exchange a.events"]

    assert (found.state, found.unequal) == ("differs", (Unequal("type", "topic", "fanout"),))


def test_an_empty_classic_queue_is_replaced_only_when_that_is_wanted(uri: str, broker: Broker) -> None:
    broker.channel.queue_declare("a.count", durable=True, auto_delete=False)

    left = by_label(broker_state.apply(uri, WANTED))["queue a.count"]
    assert (left.state, left.done, left.is_classic) == ("differs", None, True)
    done = by_label(broker_state.apply(uri, WANTED, replace_empty=True))["queue a.count"]
    assert done.done == "replaced"
    assert by_label(broker_state.inspect(uri, WANTED))["queue a.count"].state == "same"


def test_a_classic_queue_with_a_message_or_a_consumer_is_never_replaced(uri: str, broker: Broker) -> None:
    broker.channel.queue_declare("a.count", durable=True, auto_delete=False)
    broker.channel.basic_publish(_message(), exchange="", routing_key="a.count")
    wait_for(lambda: broker.ready("a.count") == 1, what="the message")
    assert by_label(broker_state.apply(uri, WANTED, replace_empty=True))["queue a.count"].done is None
    assert broker.ready("a.count") == 1

    broker.channel.queue_purge("a.count")
    broker.channel.basic_consume("a.count", callback=lambda _message: None)
    assert by_label(broker_state.apply(uri, WANTED, replace_empty=True))["queue a.count"].done is None
    assert by_label(broker_state.inspect(uri, WANTED))["queue a.count"].consumers == 1


def test_a_queue_that_is_not_wanted_any_more_is_told_and_left(uri: str, broker: Broker) -> None:
    broker.channel.queue_declare("a.old", durable=True, auto_delete=False)
    broker.channel.basic_publish(_message(), exchange="", routing_key="a.old")
    wait_for(lambda: broker.ready("a.old") == 1, what="the message")

    found = by_label(broker_state.apply(uri, WANTED, replace_empty=True))["queue a.old"]

    assert (found.state, found.messages, found.done) == ("retired", 1, None)
    assert broker.ready("a.old") == 1


def test_a_queue_that_another_connection_keeps_for_itself_is_told(uri: str, broker: Broker) -> None:
    broker.channel.queue_declare("a.count", exclusive=True)

    found = by_label(broker_state.inspect(uri, WANTED))["queue a.count"]

    assert found.unequal == (Unequal("exclusive", False, True),)


def test_no_retired_queue_is_wanted() -> None:
    assert not set(RETIRED_QUEUES) & {queue.name for queue in build.full_topology().queues}


def test_a_broker_that_is_away_is_said_to_be_so() -> None:
    with pytest.raises(BrokerUnavailable):
        broker_state.inspect("amqp://nobody:x@127.0.0.1:1/none", WANTED)


def _message() -> object:
    import amqp

    return amqp.Message(b"{}")
