"""Everything in one process: what a crash forgot is done at the next start, and nothing ends a consumer."""

import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.chassis.services import (
    Desk,
    deliveries,
    event,
    execute,
    fetch,
    note_all,
    words,
)
from tests.support.processes import LOOPBACK
from tests.support.services import KEYS
from tests.support.waiting import wait_for
from xinhuo.chassis import ladder, outbox, topology
from xinhuo.chassis.adapters.inprocess import InProcess, MemoryBroker, MemoryPublisher, republish
from xinhuo.chassis.db import Database, DatabaseUnavailable
from xinhuo.chassis.service import Runtime
from xinhuo.chassis.web.app import HttpApp
from xinhuo.chassis.wire import Outgoing
from xinhuo.chassis.worker import Worker
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged

COUNT = "volunteers.count"


@contextmanager
def running(desk: Desk) -> Iterator[InProcess]:
    """Start everything but HTTP, and end it."""
    adapter = InProcess([desk], topology.of([Desk]))
    adapter.start_workers()
    try:
        yield adapter
    finally:
        adapter.stop()
    assert not [thread.name for thread in adapter._threads if thread.is_alive()]


def record(db: Database, *names: str) -> None:
    with db.transaction() as session:
        outbox.record_all(session, [event(name) for name in names])


def forget_that_it_was_published(db: Database) -> None:
    """Leave what a crash leaves: events marked as published, whose messages went with the memory."""
    execute(db, "UPDATE outbox SET published_at = now(), position = seq, public_published_at = now()")


def put_in(adapter: InProcess, *bodies: bytes) -> None:
    publisher = MemoryPublisher(adapter.broker)
    publisher.publish(
        [
            Outgoing("volunteers.events", "hours_logged.v1", body, codec.CONTENT_TYPE, f"m{number}",
                     HoursLogged.topic, True)
            for number, body in enumerate(bodies)
        ]
    )  # fmt: skip
    publisher.close()


def test_what_is_recorded_takes_effect(desk: Desk, db: Database) -> None:
    with running(desk):
        for number in range(20):
            record(db, f"w{number}")
        wait_for(lambda: len(words(db)) == 20, what="every effect")
    assert Counter(words(db)) == Counter(f"w{number}" for number in range(20))


def test_a_thousand_events_that_a_crash_forgot_take_effect_at_the_next_start_once(desk: Desk, db: Database) -> None:
    names = [f"w{number}" for number in range(1000)]
    record(db, *names)
    done = deliveries_of(db)[:300]
    ladder.take(db, COUNT, note_all, done)
    forget_that_it_was_published(db)
    for _ in range(2):
        with running(desk):
            wait_for(lambda: len(words(db)) >= 1000, what="every effect")
            record(db, "another")
            wait_for(lambda: "another" in words(db), what="an event of now")
        execute(db, "DELETE FROM notes WHERE word = 'another'")
    assert sorted(words(db)) == sorted(names)
    assert len(fetch(db, "SELECT 1 FROM inbox")) == 1002


def deliveries_of(db: Database) -> list[ladder.Delivery]:
    rows = fetch(db, "SELECT payload FROM outbox ORDER BY seq")
    return [ladder.Delivery(bytes(row.payload), codec.decode(bytes(row.payload))) for row in rows]


def test_parked_events_and_dead_letters_are_not_delivered_again(desk: Desk, db: Database) -> None:
    record(db, "done", "parked", "dead", "forgotten")
    done, parked, dead, _ = deliveries_of(db)
    ladder.take(db, COUNT, note_all, [done])
    execute(db, "INSERT INTO parked_events (event_id, handler, body, attempts, next_attempt_at, reason, error)"
                " VALUES (:id, :h, :b, 1, now() + interval '1 h', 'handler.failed', 'x')",
            id=parked.envelope.id, h=COUNT, b=parked.body)  # fmt: skip
    with db.transaction() as session:
        ladder.insert_dead_letter(session, COUNT, dead.body, "handler.failed", "x", event_id=dead.envelope.id)
    record(db, "unpublished")
    execute(db, "UPDATE outbox SET published_at = now(), position = seq WHERE seq < (SELECT max(seq) FROM outbox)")
    publisher = MemoryPublisher(MemoryBroker(topology.of([Desk])))
    assert republish(publisher, Worker(desk)) == 1, "the last one is the relay's own work"
    publisher.close()
    with running(desk):
        wait_for(lambda: len(words(db)) == 3, what="the effects")
    assert words(db)[0] == "done"
    assert sorted(words(db)) == ["done", "forgotten", "unpublished"]
    assert len(fetch(db, "SELECT 1 FROM parked_events")) == 1


def test_what_another_handler_has_seen_is_delivered_to_the_one_that_has_not(desk: Desk, db: Database) -> None:
    record(db, "a")
    ladder.take(db, "volunteers.other", lambda *_: None, deliveries_of(db))
    forget_that_it_was_published(db)
    with running(desk):
        wait_for(lambda: words(db) == ["a"], what="the effect")
    assert words(db) == ["a"]


def test_a_stored_event_that_cannot_be_read_is_buried_once_over_all_starts_and_stops_nothing(
    desk: Desk, db: Database
) -> None:
    record(db, "a", "b", "c")
    execute(db, "UPDATE outbox SET payload = 'no event' WHERE seq = (SELECT min(seq) + 1 FROM outbox)")
    forget_that_it_was_published(db)
    for _ in range(2):
        with running(desk):
            wait_for(lambda: sorted(words(db)) == ["a", "c"], what="the good ones' effect")
            wait_for(lambda: fetch(db, "SELECT 1 FROM dead_letters"), what="the dead letter")
            record(db, "now")
            wait_for(lambda: "now" in words(db), what="an event of now")
        execute(db, "DELETE FROM notes WHERE word = 'now'")
    (row,) = fetch(db, "SELECT handler, reason, body FROM dead_letters")
    assert (row.handler, row.reason, bytes(row.body)) == (COUNT, "event.undecodable", b"no event")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"x" * 70_000, b"\0"])
def test_a_message_that_cannot_be_read_is_buried_and_the_next_takes_effect(
    desk: Desk, db: Database, body: bytes
) -> None:
    (good,) = deliveries("good")
    with running(desk) as adapter:
        put_in(adapter, body, good.body)
        wait_for(lambda: words(db) == ["good"], what="the good one's effect")
        wait_for(lambda: fetch(db, "SELECT 1 FROM dead_letters"), what="the dead letter")
    (row,) = fetch(db, "SELECT handler, body FROM dead_letters")
    assert (row.handler, bytes(row.body)) == (COUNT, body)


@pytest.mark.parametrize("where", ["receive", "bury"])
def test_an_outage_of_the_database_holds_the_consumer_up_and_does_not_end_it(
    desk: Desk, db: Database, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    failed = threading.Event()
    real = getattr(Worker, where)

    def fails_once(self: Worker, *arguments: object) -> object:
        if not failed.is_set():
            failed.set()
            raise DatabaseUnavailable
        return real(self, *arguments)

    monkeypatch.setattr(Worker, where, fails_once)
    (good,) = deliveries("good")
    with running(desk) as adapter:
        put_in(adapter, b"{", good.body)
        assert failed.wait(10)
        wait_for(lambda: words(db) == ["good"] and fetch(db, "SELECT 1 FROM dead_letters"), what="both to be settled")
        record(db, "next")
        wait_for(lambda: words(db) == ["good", "next"], what="the consumer to go on")
    assert len(fetch(db, "SELECT 1 FROM dead_letters")) == 1


def test_connections_that_are_cut_under_everything_lose_nothing_and_double_nothing(
    desk: Desk, db: Database, other_db: Database
) -> None:
    names: list[str] = []
    with running(desk):
        for number in range(4):
            names += [f"w{number}-{part}" for part in range(50)]
            record(other_db, *names[-50:])
            other_db.close()  # this test's own connections are not those that are cut
            execute(
                other_db,
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database()",
            )
        wait_for(lambda: len(words(other_db)) >= 200, 20, "every effect")
    assert sorted(words(other_db)) == sorted(names)
    assert fetch(other_db, "SELECT 1 FROM parked_events") == []
    assert fetch(other_db, "SELECT 1 FROM dead_letters") == []


def test_an_event_that_fails_is_parked_and_done_when_its_time_has_come(desk: Desk, db: Database) -> None:
    with running(desk):
        record(db, "a", "bad", "b")
        wait_for(lambda: words(db) == ["a", "b"] and fetch(db, "SELECT 1 FROM parked_events"), what="the parking")
        execute(db, "UPDATE parked_events SET body = :body, next_attempt_at = now()", body=renamed(db))
        wait_for(lambda: words(db) == ["a", "b", "good"], what="the retry")
    assert fetch(db, "SELECT 1 FROM parked_events") == []


def renamed(db: Database) -> bytes:
    """Return the parked event with a word that the handler can bear."""
    return bytes(fetch(db, "SELECT body FROM parked_events")[0].body).replace(b'"bad"', b'"good"')


# cheroot leaves the socket that it could not bind to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_that_is_taken_is_an_error_at_the_start(desk: Desk) -> None:
    adapter = InProcess([desk], topology.of([Desk]))
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=r"in use|No socket could be created"):
            adapter.serve(HttpApp(desk), LOOPBACK, port, seconds=5)
    adapter.stop()


def test_http_is_served_until_the_stop_and_an_answer_in_the_making_is_finished(desk: Desk, db: Database) -> None:
    adapter = InProcess([desk], topology.of([Desk]))
    port = adapter.serve(HttpApp(desk), LOOPBACK, 0, seconds=5)
    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{port}/v1/notes", b'{"word": "slow"}', {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            answers.append(answer.status)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    assert desk.began.wait(10)
    stopping = threading.Thread(target=adapter.stop, daemon=True)
    stopping.start()
    desk.may_go_on.set()
    asking.join(10)
    stopping.join(20)
    assert answers == [201]
    assert words(db) == ["slow"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((LOOPBACK, port), timeout=5)


def test_two_starts_in_one_process_do_not_see_each_others_messages(desk: Desk, db: Database) -> None:
    first = InProcess([desk], topology.of([Desk]))
    put_in(first, deliveries("of the first")[0].body)
    twin = Desk()
    twin.runtime = Runtime(desk.runtime.settings, db, KEYS)
    with running(twin):
        record(db, "of the second")
        wait_for(lambda: words(db) == ["of the second"], what="the effect")
    first.stop()
    assert words(db) == ["of the second"]
