"""What we ask of RabbitMQ 3.10 is nothing that 4.x refuses or does otherwise (docs/upgrade.md has the list)."""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from kombu import Connection

from tests.support.documents import ROOT
from tests.support.servers import RabbitNode
from tests.support.waiting import wait_for
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.adapters.amqp import BatchConsumer
from xinhuo.chassis.broker_rights import policies
from xinhuo.chassis.topology import dead_letter_name
from xinhuo.chassis.wire import Incoming
from xinhuo.cli.build import full_topology, service_classes
from xinhuo.contracts.codec import MAX_BATCH_BYTES, MAX_EVENT_BYTES

#: The largest message of RabbitMQ 4.x as it comes.
MAX_MESSAGE = 16 * 1024 * 1024
#: The smallest frame that a client of RabbitMQ 4.1 may ask for.
LEAST_FRAME = 8192
#: Of queues, what RabbitMQ 4.3 accepts and we use.
ARGUMENTS = {
    "x-queue-type", "x-overflow", "x-dead-letter-exchange", "x-dead-letter-strategy", "x-delivery-limit",
}  # fmt: skip


@pytest.fixture(scope="module")
def declared(amqp_uri: str) -> str:
    amqp_topology.declare(amqp_uri, full_topology())
    return amqp_uri


@pytest.fixture
def consumer(declared: str) -> Iterator[BatchConsumer]:
    def receive(messages: Sequence[Incoming]) -> Sequence[None]:
        return [None] * len(messages)

    made = BatchConsumer(declared, full_topology().queues[-1].name, receive, prefetch_max=8, window=0.01)
    stop = threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    wait_for(lambda: made.consuming, 20, "the consumer")
    yield made
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def listed(node: RabbitNode, uri: str, what: str, *columns: str) -> list[dict[str, Any]]:
    vhost = uri.rpartition("/")[2]
    found = json.loads(node.ctl("--formatter=json", "--quiet", what, f"--vhost={vhost}", *columns))
    assert isinstance(found, list)
    return found


def test_every_queue_at_the_broker_is_durable_and_of_a_type_that_was_asked_for(
    declared: str, rabbit_node: RabbitNode
) -> None:
    queues = listed(rabbit_node, declared, "list_queues", "name", "durable", "exclusive", "auto_delete", "type")
    assert {queue.pop("name") for queue in queues} == {queue.name for queue in full_topology().queues}
    for queue in queues:
        kind = str(queue.pop("type")).removeprefix("rabbit_").removesuffix("_queue")
        # 3.10 leaves out whether a quorum queue is exclusive: it cannot be.
        assert (kind, queue.pop("exclusive") or False) == ("quorum", False)
        assert queue == {"durable": True, "auto_delete": False}


def test_a_consumer_limits_itself_and_not_its_whole_channel(
    consumer: BatchConsumer, declared: str, rabbit_node: RabbitNode
) -> None:
    channels = listed(rabbit_node, declared, "list_channels", "vhost", "consumer_count", "global_prefetch_count")
    ours = [channel for channel in channels if channel["vhost"] == declared.rpartition("/")[2]]
    assert [channel["consumer_count"] for channel in ours] == [1], consumer.queue
    assert [channel["global_prefetch_count"] for channel in ours] == [0]


def test_the_check_would_see_a_limit_of_a_whole_channel(declared: str, rabbit_node: RabbitNode) -> None:
    with Connection(declared) as connection, connection.channel() as channel:
        channel.basic_qos(0, 7, True)
        (found,) = [
            each for each in listed(rabbit_node, declared, "list_channels", "vhost", "global_prefetch_count")
            if each["vhost"] == declared.rpartition("/")[2]
        ]  # fmt: skip
    assert found["global_prefetch_count"] == 7


def test_queues_have_no_argument_that_is_refused_and_say_how_often_a_message_may_come_back() -> None:
    dead = {dead_letter_name(service.name) for service in service_classes()}
    for queue in full_topology().queues:
        assert set(queue.arguments) <= ARGUMENTS, queue.name
        # The dead-letter queues were declared without one by earlier releases: a policy gives it to them.
        assert (queue.arguments.get("x-delivery-limit") == 20) != (queue.name in dead), queue.name


def test_the_policy_for_dead_letter_queues_is_for_all_of_them_and_no_other() -> None:
    page = (ROOT / "docs" / "upgrade.md").read_text(encoding="utf-8")
    (policy,) = (one for one in policies() if "delivery-limit" in one.definition)
    pattern = re.compile(policy.pattern)
    assert f"set_policy {policy.name} '{policy.pattern}' '{json.dumps(dict(policy.definition))}'" in page
    dead = {dead_letter_name(service.name) for service in service_classes()}
    assert {queue.name for queue in full_topology().queues if pattern.search(queue.name)} == dead


def test_the_largest_message_is_far_below_what_is_accepted() -> None:
    assert max(MAX_BATCH_BYTES, MAX_EVENT_BYTES) <= MAX_MESSAGE // 16


def test_frames_are_as_large_as_the_broker_offers(declared: str) -> None:
    with Connection(declared) as connection:
        connection.connect()
        assert connection._connection.frame_max >= LEAST_FRAME
