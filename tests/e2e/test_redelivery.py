"""Events that come again, and events that come back too often: nothing is counted twice, and nothing waits for ever."""

import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import requests
from kombu import Connection
from prometheus_client import REGISTRY

from tests.e2e.conftest import Loaded
from tests.support.installation import SERVICES, XINHUO, Installation, clean_environment, free_port_base, xinhuo
from tests.support.messages import JSON, Message, publish
from tests.support.processes import LOOPBACK, end, tail
from tests.support.waiting import wait_for
from xinhuo.chassis import config
from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
from xinhuo.chassis.adapters.inprocess import InProcess, MemoryPublisher
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.chassis.wire import Outgoing
from xinhuo.cli import build
from xinhuo.cli.embedded import EmbeddedPostgres

TIMES = 2
#: As many are confirmed together.
AT_ONCE = 500
PATIENCE = 60
#: Of what no sample run records an event; tests/integration/privacy and portal give them theirs twice.
NOT_IN_A_RUN = {"awards.forget_person", "notify.forget_person", "portal.forget_person"}
#: The broker gives a message twenty times more, and calls it dead when it comes back once more.
ONE_TOO_OFTEN = 21


# --- Every event of the run, again --------------------------------------------------------------------------


def events_of(installation: Installation) -> list[Outgoing]:
    """Return every recorded event as the relay sends a single one: the stored bytes."""
    return [
        Outgoing(
            f"{publisher}.events",
            row["type"].partition(".")[2],
            bytes(row["payload"]),
            JSON,
            str(row["id"]),
            row["type"],
            True,
        )
        for publisher in SERVICES
        for row in installation.rows(f"SELECT id, type, payload FROM {publisher}.outbox")  # noqa: S608
    ]


def duplicates_expected(events: list[Outgoing]) -> dict[str, int]:
    """Return how many duplicates each handler meets when these events come to it."""
    by_type = Counter(event.type for event in events)
    return {
        f"{service.name}.{method}": sum(by_type[event.topic] for event in mark.events)
        for service in build.service_classes()
        for method, mark in marked(service, Subscription).items()
    }


@dataclass
class WayIn:
    """Where messages can be given to the broker, and what the handlers say to have met again."""

    publish: Callable[[list[Outgoing]], None]
    duplicates: Callable[[str], float]


@contextmanager
def by_rabbitmq(installation: Installation) -> Iterator[WayIn]:
    """Publish to the exchanges, confirmed; the services' metrics tell what arrived."""
    installation.serve()

    def publish(messages: list[Outgoing]) -> None:
        publisher = ConfirmingPublisher(installation.settings["AMQP_URI"], name="test", confirm_seconds=PATIENCE)
        try:
            for start in range(0, len(messages), AT_ONCE):
                batch = messages[start : start + AT_ONCE]
                assert publisher.publish(batch) == unroutable(batch)
        finally:
            publisher.close()

    def duplicates(handler: str) -> float:
        service = handler.partition(".")[0]
        text = requests.get(installation.url(service) + "/metrics", timeout=10).text
        pattern = rf'^xinhuo_events_consumed_total\{{handler="{handler}",outcome="duplicate",.*\}} (\S+)$'
        return sum(float(value) for value in re.findall(pattern, text, re.MULTILINE))

    yield WayIn(publish, duplicates)


@contextmanager
def by_memory(installation: Installation) -> Iterator[WayIn]:
    """Run what `xinhuo up` runs without a broker, but in this process, where its broker can be reached."""
    installation.end()
    with ExitStack() as stack:
        postgres = EmbeddedPostgres(installation.data)
        settings = config.load({"DATABASE_URL": postgres.start(), "XINHUO_DATA": str(installation.data)})
        stack.callback(postgres.stop)
        services = [build.make_service(name, settings) for name in SERVICES]
        for service in services:
            stack.callback(service.runtime.db.close)
        everything = InProcess(services, build.full_topology())
        stack.callback(everything.stop)
        everything.start_workers()
        publisher = MemoryPublisher(everything.broker)
        stack.callback(publisher.close)

        def publish(messages: list[Outgoing]) -> None:
            assert publisher.publish(messages) == unroutable(messages)

        def duplicates(handler: str) -> float:
            labels = {"service": handler.partition(".")[0], "handler": handler, "outcome": "duplicate"}
            return REGISTRY.get_sample_value("xinhuo_events_consumed_total", labels) or 0.0

        yield WayIn(publish, duplicates)


def unroutable(messages: list[Outgoing]) -> frozenset[int]:
    wanted = {event.topic for service in build.service_classes()
              for mark in marked(service, Subscription).values() for event in mark.events}  # fmt: skip
    return frozenset(number for number, message in enumerate(messages) if message.type not in wanted)


def test_every_event_of_the_run_again_shuffled_and_twice_changes_nothing(loaded: Loaded) -> None:
    installation = loaded.installation
    way_in = by_memory if installation.broker == "embedded" else by_rabbitmq
    with way_in(installation) as broker:
        wait_for(lambda: not any(installation.troubles().values()), PATIENCE, "everything to be published")
        events = events_of(installation)
        expected = duplicates_expected(events)
        met = {handler: broker.duplicates(handler) for handler in expected}
        before = installation.contents()
        again = events * TIMES
        random.shuffle(again)

        broker.publish(again)

        for handler, count in expected.items():
            wanted = met[handler] + count * TIMES
            wait_for(
                lambda handler=handler, wanted=wanted: broker.duplicates(handler) >= wanted,
                PATIENCE, f"{handler} to have met {count} events {TIMES} times more",
            )  # fmt: skip
        after = installation.contents()

    assert len(events) > 2000
    assert {handler for handler, count in expected.items() if not count} == NOT_IN_A_RUN
    assert after == before
    assert {"volunteers.ledger_entries", "awards.stars", "notify.messages", "notices.outbox"} <= before.keys()


# --- What comes too often -------------------------------------------------------------------------------------


def test_an_event_that_came_back_too_often_is_a_dead_letter_of_its_own_kind(
    amqp_uri: str, database: str, tmp_path: Path
) -> None:
    queue = "volunteers.follow_units"
    settings = {"AMQP_URI": amqp_uri, "DATABASE_URL": database, "XINHUO_DATA": str(tmp_path)}
    assert xinhuo("key", "create", settings=settings).code == 0
    assert xinhuo("topology", "apply", settings=settings).code == 0
    tired, fresh = Message(), Message()
    publish(amqp_uri, tired)
    given_back(amqp_uri, queue, ONE_TOO_OFTEN)
    publish(amqp_uri, fresh)

    with worker_of("volunteers", settings, tmp_path / "worker.log"):
        wait_for(
            lambda: selected(database, "SELECT reason, handler, body FROM volunteers.dead_letters"),
            PATIENCE, f"the dead letter: {tail(tmp_path / 'worker.log')}",
        )  # fmt: skip
        wait_for(lambda: selected(database, "SELECT code FROM volunteers.known_units"), PATIENCE, "the other event")

    ((reason, handler, body),) = selected(database, "SELECT reason, handler, body FROM volunteers.dead_letters")
    assert (reason, handler, bytes(body)) == ("event.delivery_limit", queue, tired.body)
    assert selected(database, "SELECT code FROM volunteers.known_units") == [(fresh.unit_code,)]


def given_back(amqp_uri: str, queue: str, times: int) -> None:
    """Take a message and give it back, as a process does that dies over it, until the broker has had enough."""
    taken = 0
    with Connection(amqp_uri) as connection, connection.channel() as channel:
        for _ in range(times):
            message = wait_for(lambda: channel.basic_get(queue), 10, f"a message in {queue} after {taken} times")
            channel.basic_reject(message.delivery_tag, requeue=True)
            taken += 1
        wait_for(
            lambda: channel.queue_declare("volunteers.dead", passive=True).message_count == 1, 10,
            "the message in the dead-letter queue",
        )  # fmt: skip
    assert taken == times


def selected(database: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute(statement).fetchall()


@contextmanager
def worker_of(service: str, settings: dict[str, str], log: Path) -> Iterator[None]:
    port = free_port_base()
    command = [XINHUO, "serve", service, "--role", "worker", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=clean_environment(settings), stdout=output, stderr=output)
    try:
        wait_for(lambda: is_ready(process, port, log), PATIENCE, f"{service} to be ready")
        yield
    finally:
        end(process, signal.SIGTERM, 40)


def is_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> bool:
    assert process.poll() is None, f"the worker ended:\n{tail(log)}"
    try:
        return requests.get(f"http://{LOOPBACK}:{port}/readyz", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False
