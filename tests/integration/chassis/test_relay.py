"""What is recorded goes out: late commits too, again after a failure, by one relay at a time, and promptly."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tests.integration.chassis.services import Desk, event, execute, fetch, large_event
from tests.support.waiting import wait_for
from xinhuo.chassis import metrics, outbox, pressure, relay
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.relay import Relay
from xinhuo.chassis.wire import BrokerUnavailable, Outgoing
from xinhuo.chassis.worker import Worker
from xinhuo.contracts import codec
from xinhuo.contracts.codec import Envelope
from xinhuo.contracts.notices import UnitRegistered
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed


class Collecting:
    """A publisher that keeps what it gets; it can fail after some messages, or find no queue for a type."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []
        self.fail_after: int | None = None
        self.without_queue: set[str] = set()
        self.published = threading.Event()
        self.closed = False

    def publish(self, messages: list[Outgoing]) -> frozenset[int]:
        for number, message in enumerate(messages):
            if number == self.fail_after:
                raise BrokerUnavailable("gone")
            if message.type not in self.without_queue:
                self.messages.append(message)
        self.published.set()
        return frozenset(
            index for index, message in enumerate(messages)
            if message.mandatory and message.type in self.without_queue
        )  # fmt: skip

    def keep_alive(self) -> None:
        """Have nothing to keep."""

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[Envelope]:
        bodies: list[bytes] = []
        for message in self.messages:
            batch = message.content_type == codec.BATCH_CONTENT_TYPE
            bodies += codec.split_batch(message.body) if batch else [message.body]
        return [codec.decode(body) for body in bodies]

    @property
    def words(self) -> list[str]:
        return [each.data.category for each in self.events]


def record(db: Database, *names: str) -> None:
    with db.transaction() as session:
        outbox.record_all(session, [event(name) for name in names])


@contextmanager
def committing_each(db: Database) -> Iterator[sa.Connection]:
    """Give a connection as a relay's own, on which each statement is a transaction."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def publish(db: Database, publisher: Collecting, **options: object) -> int:
    """Let a new relay do one batch."""
    with committing_each(db) as connection:
        return Relay(db, publisher, **options).publish_batch(connection)  # type: ignore[arg-type]


def positions(db: Database) -> list[int | None]:
    return [row.position for row in fetch(db, "SELECT position FROM outbox ORDER BY seq")]


def unpublished(db: Database) -> int:
    return len(fetch(db, "SELECT 1 FROM outbox WHERE published_at IS NULL"))


@contextmanager
def running(*relays: Relay, stop: threading.Event | None = None) -> Iterator[list[threading.Event]]:
    """Run relays in threads, each with its own way to stop."""
    stops = [threading.Event() for _ in relays]
    threads = [
        threading.Thread(target=each.run, args=(flag,), daemon=True) for each, flag in zip(relays, stops, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield stops
    finally:
        for flag in stops:
            flag.set()
        execute(relays[0].db, "SELECT pg_notify('xinhuo_outbox_volunteers', '')")
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)


def test_a_commit_that_comes_late_is_not_lost_and_positions_have_no_gap(db: Database, other_db: Database) -> None:
    """Whoever takes "everything after the last one seen" loses the first of these for ever."""
    publisher = Collecting()
    with db.transaction() as early:
        outbox.record_all(early, [event("early")] * 1000)  # written, not committed
        record(other_db, "late")
        assert publish(other_db, publisher) == 1
        assert publish(other_db, publisher) == 0
        assert publisher.words == ["late"]
    assert publish(other_db, publisher) == 1000
    assert publisher.words == ["late"] + ["early"] * 1000
    found = positions(db)
    assert found[-1] == 1
    assert found == [*range(2, 1002), 1]


def test_positions_go_on_over_batches_without_gap_or_repetition(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 7)
    publisher = Collecting()
    record(db, *(f"w{number}" for number in range(20)))
    assert [publish(db, publisher) for _ in range(4)] == [7, 7, 6, 0]
    assert positions(db) == list(range(1, 21))
    assert publisher.words == [f"w{number}" for number in range(20)]


@pytest.mark.parametrize("fail_after", [0, 1, 2])
def test_a_batch_that_fails_on_its_way_is_published_again_whole_and_marked_once(db: Database, fail_after: int) -> None:
    with db.transaction() as session:
        outbox.record_all(session, [event(f"w{number}") for number in range(250)])
    publisher = Collecting()
    publisher.fail_after = fail_after
    with pytest.raises(BrokerUnavailable):
        publish(db, publisher)
    assert len(publisher.words) == fail_after * 100
    assert (unpublished(db), set(positions(db))) == (250, {None})
    publisher.fail_after = None
    assert publish(db, publisher) == 250
    assert publisher.words[fail_after * 100 :] == [f"w{number}" for number in range(250)]
    assert (unpublished(db), positions(db)) == (0, list(range(1, 251)))
    marked = fetch(db, "SELECT seq, published_at FROM outbox ORDER BY seq")
    assert publish(db, publisher) == 0
    assert fetch(db, "SELECT seq, published_at FROM outbox ORDER BY seq") == marked


def test_a_running_relay_waits_out_a_broker_that_is_away(db: Database) -> None:
    publisher = Collecting()
    publisher.fail_after = 0
    record(db, "a", "b")
    with running(one := Relay(db, publisher)):
        wait_for(lambda: one.active, what="the relay to work")
        assert unpublished(db) == 2
        publisher.fail_after = None
        wait_for(lambda: unpublished(db) == 0, what="the events to be out")
    assert publisher.words == ["a", "b"]
    assert publisher.closed


def test_small_batches_are_marked_together_in_order_and_none_is_sent_twice_meanwhile(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MARK_SECONDS", 3600.0)
    one = Relay(db, publisher := Collecting())
    with committing_each(db) as connection:
        for names in (["a", "b"], ["c"]):
            record(db, *names)
            assert one.publish_batch(connection, mark_later=True) == len(names)
        assert one.publish_batch(connection, mark_later=True) == 0
        assert positions(db) == [None] * 3
        monkeypatch.setattr(relay, "MARK_SECONDS", 0.0)
        record(db, "d")
        assert one.publish_batch(connection, mark_later=True) == 1
        assert positions(db) == [1, 2, 3, 4]
        assert one.publish_batch(connection) == 0
    assert publisher.words == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("count", "left"), [(relay.MARK_MOST - 1, relay.MARK_MOST - 1), (relay.MARK_MOST, 0)])
def test_a_large_batch_is_marked_at_once(db: Database, count: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MARK_SECONDS", 3600.0)
    record(db, *["a"] * count)
    with committing_each(db) as connection:
        Relay(db, Collecting()).publish_batch(connection, mark_later=True)
    assert unpublished(db) == left


def test_copies_for_departments_which_may_have_no_inbox_are_marked_at_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MARK_SECONDS", 3600.0)
    record(db, "a")
    publish(db, Collecting())
    with running(Relay(db, publisher := Collecting(), lane="public")):
        wait_for(lambda: publisher.messages, what="the copy to be out")
        wait_for(lambda: not fetch(db, "SELECT 1 FROM outbox WHERE public_published_at IS NULL"), 5, "its mark")


def test_a_relay_keeps_no_news_that_came_while_it_worked(db: Database) -> None:
    with committing_each(db) as connection:
        connection.execute(sa.text(f"LISTEN xinhuo_outbox_{db.service}"))
        for name in "abc":
            record(db, name)
            connection.execute(sa.text("SELECT 1"))
        relay._wait_for_news(connection, 60.0)
        assert list(connection.connection.driver_connection.notifies(timeout=0.0)) == []  # type: ignore[union-attr]


def test_what_waits_for_its_mark_is_marked_when_nothing_else_comes(db: Database) -> None:
    with running(Relay(db, publisher := Collecting())):
        record(db, "a")
        wait_for(lambda: unpublished(db) == 0, relay.POLL_SECONDS * 0.9, "the mark, sooner than the next poll")
    assert publisher.words == ["a"]


@pytest.mark.parametrize("end", ["stopped", "without a broker"])
def test_a_relay_that_ends_marks_what_it_sent(db: Database, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MARK_SECONDS", 3600.0)
    publisher = Collecting()
    with running(Relay(db, publisher)):
        record(db, "a")
        wait_for(lambda: publisher.words == ["a"], what="the event to be out")
        assert unpublished(db) == 1
        if end == "without a broker":
            publisher.fail_after = 0
            record(db, "b")
            wait_for(lambda: positions(db) == [1, None], what="the mark of what was confirmed")
            publisher.fail_after = None
            wait_for(lambda: publisher.words == ["a", "b"], what="the other event to be out")
    assert positions(db) == [1, 2][: len(publisher.words)]
    assert publisher.words == ["a", "b"][: len(publisher.words)], "each once"


def test_what_a_relay_had_not_marked_when_its_session_was_ended_goes_out_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock ended with the session, so that another one may have sent and marked it meanwhile."""
    monkeypatch.setattr(relay, "MARK_SECONDS", 3600.0)
    publisher = Collecting()
    with running(Relay(db, publisher)):
        record(db, "a")
        wait_for(lambda: publisher.words == ["a"], what="the event to be out")
        [holder] = lock_holders(db)
        execute(db, f"SELECT pg_terminate_backend({holder})")
        wait_for(lambda: publisher.words == ["a", "a"], what="the event to be out again")
    assert positions(db) == [1]


def test_a_type_that_no_queue_takes_waits_and_holds_up_no_other(db: Database) -> None:
    publisher = Collecting()
    publisher.without_queue = {HoursReversed.topic}
    reversal = HoursReversed(
        reversal_id=new_id(), reason_code="x",
        **{name: getattr(event(), name) for name in event().__struct_fields__},
    )  # fmt: skip
    with db.transaction() as session:
        outbox.record_all(session, [reversal, event("a"), reversal, event("b")])
    one = Relay(db, publisher, mandatory=frozenset({HoursReversed.topic, HoursLogged.topic}))
    with committing_each(db) as connection:
        assert one.publish_batch(connection) == 4
        assert publisher.words == ["a", "b"]
        assert positions(db) == [None, 1, None, 2]
        record(db, "c")
        assert one.publish_batch(connection) == 1, "the one held is not even looked at for some seconds"
        assert publisher.words == ["a", "b", "c"]
        publisher.without_queue = set()
        one._held = dict.fromkeys(one._held, time.monotonic() - 1)
        assert one.publish_batch(connection) == 2
    assert positions(db) == [4, 1, 5, 2, 3]


def test_a_type_that_nobody_inside_wants_goes_out_all_the_same(db: Database) -> None:
    publisher = Collecting()
    publisher.without_queue = {HoursLogged.topic}
    record(db, "a")
    assert publish(db, publisher, mandatory=frozenset({UnitRegistered.topic})) == 1
    assert (unpublished(db), positions(db)) == (0, [1])


@pytest.mark.parametrize(
    ("count", "messages"), [(1, [1]), (2, [2]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])]
)
def test_events_of_one_type_share_messages_of_at_most_a_hundred(db: Database, count: int, messages: list[int]) -> None:
    publisher = Collecting()
    record(db, *["a"] * count)
    publish(db, publisher, mandatory=frozenset({HoursLogged.topic}))
    assert [
        1 if message.content_type == codec.CONTENT_TYPE else len(codec.split_batch(message.body))
        for message in publisher.messages
    ] == messages
    for message in publisher.messages:
        assert (message.exchange, message.routing_key) == ("volunteers.events", "hours_logged.v1")
        assert (message.type, message.mandatory) == (HoursLogged.topic, True)


def test_a_message_of_large_events_stays_below_a_mebibyte(db: Database) -> None:
    publisher = Collecting()
    with db.transaction() as session:
        outbox.record_all(session, [large_event(30_000)] * 60)
    publish(db, publisher)
    assert len(publisher.messages) == 4
    assert all(len(message.body) <= codec.MAX_BATCH_BYTES for message in publisher.messages)
    assert len(publisher.events) == 60


def test_the_public_lane_leaves_internal_fields_out_and_wants_no_queue(db: Database) -> None:
    publisher = Collecting()
    record(db, "a", "b")
    assert publish(db, publisher, lane="public") == 0, "what is not yet out inside is not told to departments"
    publish(db, publisher)
    publisher.messages.clear()
    publisher.without_queue = {HoursLogged.topic}
    assert publish(db, publisher, lane="public", mandatory=frozenset({HoursLogged.topic})) == 2
    assert publish(db, publisher, lane="public") == 0
    publisher.without_queue = set()
    execute(db, "UPDATE outbox SET public_published_at = NULL")
    publish(db, publisher, lane="public")
    for message, row in zip(publisher.messages, fetch(db, "SELECT id FROM outbox ORDER BY seq"), strict=True):
        assert (message.exchange, message.routing_key) == ("pub.events", HoursLogged.topic)
        assert (message.mandatory, message.message_id) == (False, str(row.id))
        assert message.content_type == codec.CONTENT_TYPE
        assert b"volunteer_id" not in message.body
        assert b"01890000-0000-7000-8000-000000000000" not in message.body.replace(
            b'"activity_id":"01890000-0000-7000-8000-000000000000"', b""
        )
    assert positions(db) == [1, 2], "which the public lane does not touch"


def test_an_event_that_is_not_public_stays_inside(db: Database) -> None:
    publisher = Collecting()
    record(db, "a")
    execute(db, "UPDATE outbox SET public = false")
    publish(db, publisher)
    publisher.messages.clear()
    assert publish(db, publisher, lane="public") == 0
    assert publisher.messages == []


def active(*relays: Relay) -> list[Relay]:
    return [each for each in relays if each.active]


def lock_holders(db: Database) -> list[int]:
    return [
        row.pid
        for row in fetch(
            db,
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
    ]


def kill_active(db: Database) -> None:
    """Cut the connection of whoever holds the lock; nobody may, for a moment, when the active one ends by itself."""
    for pid in lock_holders(db):
        execute(db, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)


def test_of_two_relays_one_works_and_both_lanes_have_one_each(db: Database, other_db: Database) -> None:
    publishers = [Collecting() for _ in range(4)]
    inside = [Relay(each, one) for each, one in zip((db, other_db), publishers[:2], strict=True)]
    public = [Relay(each, one, lane="public") for each, one in zip((db, other_db), publishers[2:], strict=True)]
    with running(*inside, *public):
        wait_for(lambda: active(*inside) and active(*public), what="one of each lane")
        record(db, *(f"w{number}" for number in range(500)))
        wait_for(
            lambda: not fetch(db, "SELECT 1 FROM outbox WHERE published_at IS NULL OR public_published_at IS NULL"),
            what="both lanes to be done",
        )
        assert (len(active(*inside)), len(active(*public))) == (1, 1)
    for lane in (publishers[:2], publishers[2:]):
        assert sorted(len(one.messages) > 0 for one in lane) == [False, True]
    assert sorted(publishers[0].words + publishers[1].words) == sorted(f"w{number}" for number in range(500))


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE outbox SET type = 'awards.star_earned.v9', payload = '{}' WHERE seq = (SELECT min(seq) FROM outbox)",
        "UPDATE outbox SET type = 'volunteers.not_public.v1',"
        " payload = convert_to(replace(convert_from(payload, 'UTF8'), 'hours_logged.v1', 'not_public.v1'), 'UTF8')"
        " WHERE seq = (SELECT min(seq) FROM outbox)",
    ],
)
def test_an_event_without_a_public_form_stays_and_holds_up_no_other(db: Database, spoil: str) -> None:
    publisher = Collecting()
    record(db, "bad", "a", "b")
    execute(db, "UPDATE outbox SET published_at = clock_timestamp()")
    execute(db, spoil)
    public = Relay(db, publisher, lane="public")
    with committing_each(db) as connection:
        assert public.publish_batch(connection) == 3
        assert len(publisher.messages) == 2
        assert public.publish_batch(connection) == 0, "held back for some seconds"
    assert len(fetch(db, "SELECT 1 FROM outbox WHERE public_published_at IS NULL")) == 1


@pytest.mark.parametrize(
    ("taken", "seconds"),
    [(0, 0), (1, 0.004), (2, 0.008), (37, 0.148), (38, 0.15), (399, 0.15), (400, 0), (1000, 0)],
)
def test_the_more_a_small_batch_held_the_longer_the_next_one_gathers(taken: int, seconds: float) -> None:
    assert relay.gather_seconds(taken) == pytest.approx(seconds)


@pytest.mark.parametrize("lane", ["inside", "public"])
def test_the_first_of_a_backlog_are_read_without_the_rest_of_it(db: Database, lane: str) -> None:
    # As the statistics find it when nothing waits.
    record(db, *["a"] * 3000)
    execute(db, "UPDATE outbox SET published_at = clock_timestamp(), public_published_at = clock_timestamp()")
    with db.as_owner() as connection:
        connection.execute(sa.text("ANALYZE outbox"))
    record(db, *["a"] * 3000)
    if lane == "public":
        execute(db, "UPDATE outbox SET published_at = clock_timestamp() WHERE published_at IS NULL")
    take = Relay(db, Collecting(), lane=lane)._take

    def rows_read(connection: sa.Connection) -> int:
        asked = sa.text(f"EXPLAIN (ANALYZE, FORMAT JSON) {take.text}")
        plans = [connection.execute(asked, {"held": [], "sent": [], "batch": relay.BATCH}).scalar_one()[0]["Plan"]]
        read = 0
        while plans:
            plan = plans.pop()
            plans += plan.get("Plans", [])
            read += "Relation Name" in plan and round(plan["Actual Rows"])
        return read

    with db.engine.connect() as connection:
        assert rows_read(connection) == 3000, "what the planner makes of statistics by which nothing waits"
        connection.execute(outbox.IN_ORDER, {"until_commit": True})
        assert rows_read(connection) == relay.BATCH


def test_a_relay_has_its_session_read_in_order(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    publish_batch = Relay.publish_batch

    def look(self: Relay, connection: sa.Connection, *, mark_later: bool = False) -> int:
        seen.append(connection.execute(sa.text("SHOW enable_sort")).scalar_one())
        return publish_batch(self, connection, mark_later=mark_later)

    monkeypatch.setattr(Relay, "publish_batch", look)
    with running(Relay(db, Collecting())):
        wait_for(lambda: seen, what="the relay to look for events")
    assert set(seen) == {"off"}


@pytest.mark.parametrize(("count", "pressed"), [(0, False), (19, False), (20, True)])
def test_only_a_large_batch_presses_the_inside_lane(db: Database, count: int, pressed: bool) -> None:
    one = Relay(db, Collecting())
    record(db, *["a"] * count)
    with committing_each(db) as connection:
        assert one.publish_batch(connection) == count
    assert one.pressure.is_on() is pressed


def test_the_inside_lane_is_pressed_for_as_long_as_a_large_batch_takes_to_go_out(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "LINGER_SECONDS", 0.0)
    publisher = Collecting()
    one = Relay(db, publisher)
    seen: list[bool] = []
    publish = publisher.publish
    monkeypatch.setattr(publisher, "publish", lambda messages: seen.append(one.pressure.is_on()) or publish(messages))
    record(db, *["a"] * 20)
    with committing_each(db) as connection:
        one.publish_batch(connection)
    assert seen == [True]
    assert not one.pressure.is_on()


def test_the_public_lane_waits_while_others_are_pressed_but_not_for_ever(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "YIELD_SECONDS", 1.0)
    pressed = [True]
    publisher = Collecting()
    public = Relay(db, publisher, lane="public", yields=lambda: pressed[0])
    with running(public):
        wait_for(lambda: public.active, what="the public lane to work")
        record(db, "a")
        execute(db, "UPDATE outbox SET published_at = clock_timestamp()")
        started = time.monotonic()
        wait_for(lambda: len(publisher.messages) == 1, what="the public copy all the same")
        assert time.monotonic() - started > 0.9
        pressed[0] = False
        record(db, "b")
        execute(db, "UPDATE outbox SET published_at = clock_timestamp()")
        started = time.monotonic()
        wait_for(lambda: len(publisher.messages) == 2, what="the next one")
        assert time.monotonic() - started < 0.9 + relay.POLL_SECONDS


def test_a_backlog_of_full_batches_goes_out_beside_the_others_when_they_went_first_for_long_enough(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    monkeypatch.setattr(relay, "YIELD_SECONDS", 0.3)
    monkeypatch.setattr(relay, "YIELD_IN_ALL_SECONDS", 0.7)
    publisher = Collecting()
    record(db, *["a"] * 60)
    execute(db, "UPDATE outbox SET published_at = clock_timestamp()")
    started = time.monotonic()
    with running(Relay(db, publisher, lane="public", yields=lambda: True)):
        wait_for(lambda: len(publisher.messages) == 60, what="every copy")
    assert 0.7 < time.monotonic() - started < 30 * 0.3 / 2, "thirty batches, of which two or three waited"


def test_how_old_the_oldest_copy_is_that_departments_have_not_got_is_measured(desk: Desk, db: Database) -> None:
    age = metrics.OUTBOX_PUBLIC_OLDEST.labels(db.service)
    record(db, "a")
    execute(db, "UPDATE outbox SET recorded_at = recorded_at - interval '90 s', published_at = clock_timestamp()")
    Worker(desk)._refresh_gauges()
    assert 90 <= age._value.get() < 120
    execute(db, "UPDATE outbox SET public_published_at = clock_timestamp()")
    Worker(desk)._refresh_gauges()
    assert age._value.get() == 0


def test_the_standby_takes_over_when_the_active_one_ends_with_its_connection(db: Database, other_db: Database) -> None:
    publishers = [Collecting(), Collecting()]
    relays = [Relay(each, one) for each, one in zip((db, other_db), publishers, strict=True)]
    with running(*relays) as stops:
        (first,) = wait_for(lambda: active(*relays), what="one to be active")
        standby = relays[1 - relays.index(first)]
        stops[relays.index(first)].set()
        kill_active(db)
        record(db, "a")
        started = time.monotonic()
        wait_for(lambda: standby.active and unpublished(db) == 0, 5, "the standby to publish")
        assert time.monotonic() - started < 5
        assert active(*relays) == [standby]
    assert publishers[relays.index(standby)].words == ["a"]


def test_the_standby_takes_over_from_a_relay_that_hangs(
    db: Database, other_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(relay, "SILENT_SECONDS", 0.5)

    class Hanging(Collecting):
        def __init__(self) -> None:
            super().__init__()
            self.goes_on = threading.Event()

        def publish(self, messages: list[Outgoing]) -> frozenset[int]:
            self.goes_on.wait(30)
            return super().publish(messages)

    hanging, publisher = Hanging(), Collecting()
    first, standby = Relay(db, hanging), Relay(other_db, publisher)
    with running(first):
        wait_for(lambda: first.active, what="the first to be active")
        with running(standby):
            record(other_db, "a")
            wait_for(lambda: unpublished(other_db) == 0, what="the standby to publish")
            assert publisher.words == ["a"]
            hanging.goes_on.set()
            wait_for(lambda: active(first, standby) == [standby], what="the first to see that it lost its place")
            record(other_db, "b")
            wait_for(lambda: unpublished(other_db) == 0, what="the next to be out")
    assert sorted(position or 0 for position in positions(other_db)) == [1, 2]


def test_a_relay_whose_connection_is_killed_is_replaced_by_one_and_nothing_is_lost(
    db: Database, other_db: Database
) -> None:
    publishers = [Collecting(), Collecting()]
    relays = [Relay(each, one) for each, one in zip((db, other_db), publishers, strict=True)]
    with running(*relays):
        for number in range(3):
            wait_for(lambda: active(*relays) and lock_holders(db), what="one to be active")
            record(db, f"before {number}")
            kill_active(db)
            record(db, f"after {number}")
            wait_for(lambda: unpublished(db) == 0, 10, "all to be out")
        wait_for(lambda: len(active(*relays)) == 1, what="one to be active in the end")
    sent = publishers[0].words + publishers[1].words
    assert set(sent) == {f"{when} {number}" for when in ("before", "after") for number in range(3)}
    assert sorted(position or 0 for position in positions(db)) == [1, 2, 3, 4, 5, 6]


def test_a_commit_wakes_the_relay_at_once_and_not_at_the_next_poll(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 60.0)
    publisher = Collecting()
    with running(one := Relay(db, publisher)):
        wait_for(lambda: one.active, what="the relay to work")
        for number in range(5):
            publisher.published.clear()
            record(db, f"w{number}")
            assert publisher.published.wait(1), "published within a second"
            wait_for(lambda number=number: positions(db)[-1] == number + 1, 1, "the mark")


def test_polling_finds_what_no_notification_told_of(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "POLL_SECONDS", 0.05)
    publisher = Collecting()
    record(db, "a")
    publish(db, Collecting())
    with running(one := Relay(db, publisher)):
        wait_for(lambda: one.active, what="the relay to work")
        execute(db, "UPDATE outbox SET published_at = NULL, position = NULL")
        wait_for(lambda: publisher.words == ["a"], 5, "the poll to find it")


def test_a_relay_that_is_told_to_stop_gives_the_lock_to_the_next(db: Database) -> None:
    takes_over: list[Callable[[], bool]] = []
    with running(first := Relay(db, Collecting())):
        wait_for(lambda: first.active, what="the first")
    assert not first.active
    wait_for(lambda: lock_holders(db) == [], what="the lock to be free")
    with running(second := Relay(db, Collecting())):
        takes_over.append(lambda: second.active)
        assert wait_for(takes_over[0], what="the second")


def test_a_relay_that_is_told_to_stop_sends_what_was_recorded_until_then(db: Database) -> None:
    """All of it: more than a batch, recorded when it has looked for the last time."""
    publisher, stop = Collecting(), threading.Event()

    def last_minute() -> bool:
        record(db, *(f"last {number}" for number in range(relay.BATCH + 1)))
        stop.set()
        return False

    record(db, "first")
    Relay(db, publisher, yields=last_minute).run(stop)
    assert unpublished(db) == 0
    assert len(publisher.words) == relay.BATCH + 2
    assert publisher.closed


def test_a_relay_that_is_told_to_stop_while_the_broker_is_away_ends(db: Database) -> None:
    publisher, stop = Collecting(), threading.Event()

    def last_minute() -> bool:
        record(db, "last")
        publisher.fail_after = 0
        stop.set()
        return False

    record(db, "first")
    Relay(db, publisher, yields=last_minute).run(stop)
    assert (publisher.words, unpublished(db)) == (["first"], 1)
    assert lock_holders(db) == []


def test_a_relay_that_finds_no_free_connection_waits_for_one(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process with everything else it shares the pool with all requests."""
    monkeypatch.setattr(db.engine.pool, "_timeout", 0.05)
    record(db, "a")
    held = [db.engine.connect() for _ in range(10)]
    publisher = Collecting()
    stop = threading.Event()
    thread = threading.Thread(target=Relay(db, publisher).run, args=(stop,), daemon=True)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    for connection in held:
        connection.close()
    wait_for(lambda: publisher.words == ["a"], what="the event to be out")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_database_that_is_away_is_waited_for(db: Database) -> None:
    away = Database("postgresql+psycopg://nobody:x@127.0.0.1:1/none", "volunteers")
    one = Relay(away, Collecting())
    stop = threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,), daemon=True)
    thread.start()
    assert not one.active
    assert thread.is_alive()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    away.close()
    with pytest.raises(sa.exc.OperationalError):
        away.engine.connect()
