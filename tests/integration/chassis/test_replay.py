"""Recorded events sent again to one handler: which, in what order, how fast, and what a full queue means."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from services.notify.service import Notify
from tests.integration.traps.broker import Broker
from tests.support.waiting import wait_for
from xinhuo.chassis import outbox, replay, topology
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.adapters.amqp import ConfirmingPublisher
from xinhuo.chassis.db import Database
from xinhuo.chassis.replay import NotReplayed, Span, Target, UnknownHandler
from xinhuo.chassis.topology import Queue, Topology
from xinhuo.chassis.wire import BrokerUnavailable, Incoming, Outgoing, QueueFull, open_message
from xinhuo.cli.build import service_class
from xinhuo.contracts import codec
from xinhuo.contracts.notices import UnitChanged, UnitRegistered

ALWAYS = Span(datetime(2000, 1, 1, tzinfo=UTC))
QUEUE = "volunteers.follow_units"
UNITS = Target(QUEUE, (UnitRegistered.topic, UnitChanged.topic))


class Fake:
    """A broker's end that keeps what it gets, and fails as it is told."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.failures: list[Exception] = []
        self.depths: list[int] = []

    def publish(self, messages: list[Outgoing]) -> frozenset[int]:
        if self.failures:
            raise self.failures.pop(0)
        self.taken += messages
        return frozenset()

    def waiting(self, queue: str) -> int:
        return self.depths.pop(0) if self.depths else 0

    def keep_alive(self) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Nothing to close."""

    def events(self) -> list[codec.Envelope]:
        """Open everything as a worker does."""
        return [delivery.envelope for message in self.taken for delivery in opened(message)]


def opened(message: Outgoing) -> list[Any]:
    deliveries, broken = open_message(
        Incoming(message.body, message.content_type, "utf-8", message.type, message.message_id, message.routing_key)
    )
    assert broken == []
    return deliveries


@pytest.fixture
def db(database: str) -> Iterator[Database]:
    """The database of notices, which publishes units."""
    made = Database(database, "notices")
    with made.as_owner() as connection:
        connection.execute(sa.text("TRUNCATE outbox RESTART IDENTITY"))
    yield made
    made.close()


def record(db: Database, *events: UnitRegistered | UnitChanged, published: bool = True) -> None:
    with db.transaction() as session:
        outbox.record_all(session, events)
    if published:
        with db.transaction() as session:
            session.execute(
                sa.text("UPDATE outbox SET published_at = now(), position = seq WHERE published_at IS NULL")
            )


def registered(number: int) -> UnitRegistered:
    return UnitRegistered(unit_code=f"U-{number}", kind="primary")


def changed(number: int) -> UnitChanged:
    return UnitChanged(unit_code=f"U-{number}", kind="primary", revision=2)


def send(db: Database, fake: Fake, target: Target = UNITS, span: Span = ALWAYS, **options: Any) -> Any:
    return replay.send(lambda _: db, fake, target, span, **options)


# --- Which handlers -------------------------------------------------------------------------------------------


def test_a_service_gets_what_its_handlers_subscribe_to_and_nothing_else() -> None:
    found = replay.targets(Notify)

    assert {target.queue: target.types for target in found} == {
        "notify.acknowledge_hours": ("volunteers.hours_logged.v1",),
        "notify.acknowledge_star": ("awards.star_earned.v1",),
        "notify.forget_person": ("volunteers.person_erased.v1",),
    }
    assert replay.targets(Notify, handler="notify.acknowledge_star") == [found[1]]
    assert replay.targets(Notify, types=["awards.star_earned.v1"]) == [found[1]]


@pytest.mark.parametrize(
    ("choice", "says"),
    [({"handler": "send_letters"}, "acknowledge_hours"), ({"types": ["notices.unit_registered.v1"]}, "star_earned")],
)
def test_a_handler_or_type_that_the_service_does_not_have_is_refused_with_what_it_has(
    choice: dict[str, Any], says: str
) -> None:
    with pytest.raises(UnknownHandler, match=says):
        replay.targets(Notify, **choice)


# --- Which events, and how ------------------------------------------------------------------------------------


def test_events_go_to_the_handlers_own_exchange_in_the_order_of_the_log_and_marked(db: Database) -> None:
    record(db, registered(1), registered(2), changed(1), registered(3))
    fake = Fake()

    sent = send(db, fake)

    assert sent == {UnitRegistered.topic: 3, UnitChanged.topic: 1}
    assert [len(opened(message)) for message in fake.taken] == [2, 1, 1]
    assert {(message.exchange, message.mandatory) for message in fake.taken} == {(f"{QUEUE}.replay", True)}
    assert [type(each.data).__name__ + each.data.unit_code for each in fake.events()] == [  # type: ignore[attr-defined]
        "UnitRegisteredU-1", "UnitRegisteredU-2", "UnitChangedU-1", "UnitRegisteredU-3",
    ]  # fmt: skip
    assert all(each.replayed for each in fake.events())


def test_an_event_that_was_not_published_yet_is_left_to_the_relay(db: Database) -> None:
    record(db, registered(1))
    record(db, registered(2), published=False)

    assert replay.count(lambda _: db, UNITS, ALWAYS) == {UnitRegistered.topic: 1}
    assert send(db, Fake()).total() == 1


def test_only_the_types_and_the_span_that_are_asked_for_are_sent(db: Database) -> None:
    record(db, registered(1), changed(1))
    now = datetime.now(UTC)

    assert send(db, Fake(), Target(QUEUE, (UnitChanged.topic,))) == {UnitChanged.topic: 1}
    assert send(db, Fake(), span=Span(now + timedelta(hours=1))).total() == 0
    assert send(db, Fake(), span=Span(now - timedelta(hours=1), now - timedelta(minutes=30))).total() == 0
    assert send(db, Fake(), span=Span(now - timedelta(hours=1), now + timedelta(hours=1))).total() == 2


def test_more_than_a_page_is_sent_whole_with_a_hundred_events_in_a_message(db: Database) -> None:
    record(db, *map(registered, range(2 * replay.PAGE + 50)))
    fake = Fake()
    told: list[tuple[int, int]] = []

    send(db, fake, report=lambda queue, done, total, why: told.append((done, total)))

    assert [each.data.unit_code for each in fake.events()] == [f"U-{n}" for n in range(2 * replay.PAGE + 50)]  # type: ignore[attr-defined]
    assert max(len(opened(message)) for message in fake.taken) == 100
    assert told == [(done, 4050) for done in (2000, 4000, 4050)]


def test_a_rate_is_kept(db: Database) -> None:
    record(db, *map(registered, range(30)))
    started = datetime.now(UTC)

    assert send(db, Fake(), rate=50).total() == 30

    assert datetime.now(UTC) - started >= timedelta(seconds=0.55)


def test_told_to_stop_it_ends_with_what_was_sent(db: Database) -> None:
    record(db, *map(registered, range(30)))
    stop, fake = threading.Event(), Fake()

    sent = send(db, fake, rate=10, report=lambda *_: stop.set(), stop=stop)

    assert sent.total() == len(fake.events()) == 10


# --- Back-pressure --------------------------------------------------------------------------------------------


def test_a_full_queue_a_long_one_and_a_short_absence_of_the_broker_are_waited_out(db: Database) -> None:
    record(db, *map(registered, range(5)))
    fake = Fake()
    fake.failures = [QueueFull("full"), QueueFull("full"), BrokerUnavailable("away")]
    fake.depths = [500, 400, 10]
    waited: list[str] = []

    sent = send(db, fake, report=lambda queue, done, total, why: waited.append(why) if why else None)

    assert sent.total() == len(fake.events()) == 5
    assert [sign in "".join(waited) for sign in ("500", "已满", "away")] == [True] * 3


def test_a_broker_that_stays_away_is_an_error(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_BROKER_AWAY_PAUSES", 1)
    record(db, registered(1))
    fake = Fake()
    fake.failures = [BrokerUnavailable("away")] * 9

    with pytest.raises(BrokerUnavailable):
        send(db, fake)


def test_a_queue_from_which_nobody_takes_anything_is_an_error_that_names_the_worker(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "STALLED_SECONDS", 0.3)
    record(db, registered(1))
    fake = Fake()
    fake.depths = [500] * 99

    with pytest.raises(NotReplayed, match="worker"):
        send(db, fake)


# --- On RabbitMQ ----------------------------------------------------------------------------------------------


@pytest.fixture
def publisher(amqp_uri: str) -> Iterator[ConfirmingPublisher]:
    made = ConfirmingPublisher(amqp_uri, name="test replay", confirm_seconds=5)
    yield made
    made.close()


def test_no_other_queue_of_the_same_event_gets_a_replayed_one(
    db: Database, amqp_uri: str, publisher: ConfirmingPublisher
) -> None:
    whole = topology.of([service_class(name) for name in ("volunteers", "notices", "awards", "notify")])
    amqp_topology.declare(amqp_uri, whole)
    client = Broker(amqp_uri)
    for queue in whole.queues:
        client.empty(queue.name)
    record(db, *map(registered, range(150)), changed(1))

    sent = replay.send(lambda _: db, publisher, UNITS, ALWAYS)

    assert sent.total() == 151
    wait_for(lambda: publisher.waiting(QUEUE) == 3, what="three messages in the queue")
    assert [publisher.waiting(queue.name) for queue in whole.queues if queue.name != QUEUE] == [0] * (
        len(whole.queues) - 1
    )
    client.empty(QUEUE)
    client.close()


def test_a_queue_at_its_limit_holds_the_replay_until_there_is_room(
    db: Database, amqp_uri: str, publisher: ConfirmingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PAGE", 2)
    queue, exchange = "small.take_all", "small.take_all.replay"
    limits = {"x-queue-type": "quorum", "x-overflow": "reject-publish", "x-max-length": 1}
    keys = [topology.routing_key(topic) for topic in UNITS.types]
    amqp_topology.declare(
        amqp_uri, Topology((exchange,), (Queue(queue, tuple((exchange, key) for key in keys), limits),))
    )
    record(db, *(registered(n) if n % 2 else changed(n) for n in range(20)))  # a message for each
    client = Broker(amqp_uri)
    waited, done = threading.Event(), threading.Event()
    taken: set[str] = set()

    def take_all() -> None:
        waited.wait(20)
        while len(taken) < 20 and not done.wait(0.01):
            if message := client.channel.basic_get(queue):
                taken.add(message.properties["message_id"])
                client.channel.basic_ack(message.delivery_tag)

    taker = threading.Thread(target=take_all, daemon=True)
    taker.start()
    try:
        sent = replay.send(
            lambda _: db, publisher, Target(queue, UNITS.types), ALWAYS,
            report=lambda _queue, _done, _total, why: waited.set() if why else None,
        )  # fmt: skip
        wait_for(lambda: len(taken) == 20, 20, "everything to be taken")
    finally:
        done.set()
        taker.join(20)
        client.close()

    assert waited.is_set()
    assert len(taken) == 20
    assert sent.total() == 20


def test_a_missing_queue_names_the_command_that_makes_it(db: Database, publisher: ConfirmingPublisher) -> None:
    record(db, registered(1))

    with pytest.raises(NotReplayed, match="topology apply"):
        replay.send(lambda _: db, publisher, Target("nobody.made_this", UNITS.types), ALWAYS)
