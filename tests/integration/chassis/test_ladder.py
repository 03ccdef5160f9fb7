"""A batch that fails: tried again, taken apart, its bad event parked or buried; and outages, which are no failure."""

import threading
from collections import Counter

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.integration.chassis.services import (
    NeverRight,
    WordTaken,
    categories,
    deliveries,
    event,
    execute,
    fetch,
    note_all,
    words,
    write,
)
from tests.support.services import delivery_of
from tests.support.threads import together
from tests.support.waiting import wait_for
from xinhuo.chassis import ladder
from xinhuo.chassis.db import Database, DatabaseUnavailable
from xinhuo.chassis.errors import RetryEventLater
from xinhuo.chassis.parked import retry_parked
from xinhuo.contracts.codec import Envelope

HANDLER = "volunteers.count"
CANARY = "canary of a person"


def parked(db: Database) -> list[tuple[str, int, str]]:
    return [tuple(row) for row in fetch(db, "SELECT handler, attempts, reason FROM parked_events ORDER BY event_id")]  # type: ignore[misc]


def dead(db: Database) -> list[tuple[str, str, int]]:
    return [tuple(row) for row in fetch(db, "SELECT handler, reason, attempts FROM dead_letters ORDER BY died_at")]  # type: ignore[misc]


@pytest.mark.parametrize("place", [0, 1, 249, 250, 499])
def test_one_bad_event_among_500_is_found_and_the_innocents_take_effect_once_each(db: Database, place: int) -> None:
    names = [f"w{number}" for number in range(500)]
    names[place] = "bad"
    calls: list[int] = []

    def handle(session: Session, envelopes: list[Envelope]) -> None:
        calls.append(len(envelopes))
        if "bad" in categories(envelopes):
            raise ValueError(CANARY)
        session.execute(
            sa.text("INSERT INTO notes (word) SELECT unnest(CAST(:words AS text[]))"), {"words": categories(envelopes)}
        )

    ladder.take(db, HANDLER, handle, deliveries(*names))
    assert sorted(words(db)) == sorted(set(names) - {"bad"})
    assert parked(db) == [(HANDLER, 1, "handler.failed")]
    assert len(fetch(db, "SELECT 1 FROM inbox")) == 499
    assert len(calls) <= 2 * 9 + 1, "each halving costs two calls"


def test_several_bad_events_are_found_each(db: Database) -> None:
    names = ["bad" if number % 7 == 3 else f"w{number}" for number in range(100)]
    ladder.take(db, HANDLER, note_all, deliveries(*names))
    assert Counter(words(db)) == Counter(name for name in names if name != "bad")
    assert parked(db) == [(HANDLER, 1, "handler.failed")] * names.count("bad")


def test_a_batch_of_nothing_but_bad_events_ends(db: Database) -> None:
    ladder.take(db, HANDLER, note_all, deliveries(*["bad"] * 16))
    assert (words(db), len(parked(db))) == ([], 16)
    assert fetch(db, "SELECT 1 FROM inbox") == []


def test_no_events_are_no_work(db: Database) -> None:
    ladder.take(db, HANDLER, lambda *_: pytest.fail("called"), [])
    assert fetch(db, "SELECT 1 FROM inbox") == []


@pytest.mark.parametrize(
    ("failures", "effect", "parked_rows"),
    [(0, ["a", "b"], 0), (1, ["a", "b"], 0), (2, ["a", "b"], 0), (3, ["a", "b"], 0), (1000, [], 2)],
)
@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
def test_a_deadlock_or_serialization_failure_is_tried_again_up_to_three_times_before_the_batch_is_split(
    db: Database, state: str, failures: int, effect: list[str], parked_rows: int
) -> None:
    left = [failures]
    sizes: list[int] = []

    def handle(session: Session, envelopes: list[Envelope]) -> None:
        sizes.append(len(envelopes))
        note_all(session, envelopes)
        if left[0]:
            left[0] -= 1
            session.execute(sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"))

    ladder.take(db, HANDLER, handle, deliveries("a", "b"))
    assert words(db) == effect
    assert len(parked(db)) == parked_rows
    assert sizes == ([2] * min(failures + 1, 3) + ([1] * 2 if failures == 3 else [1] * 6 if failures > 3 else []))


def test_a_true_deadlock_between_two_handlers_is_solved_by_trying_again(db: Database, other_db: Database) -> None:
    both = threading.Barrier(2)
    calls: list[str] = []

    def handler_of(order: tuple[int, int]) -> ladder.Handle:
        tried: list[int] = []

        def handle(session: Session, envelopes: list[Envelope]) -> None:
            calls.extend(categories(envelopes))
            for number, slot in enumerate(order):
                session.execute(sa.text("UPDATE slots SET taken = taken + 1 WHERE id = :id"), {"id": slot})
                if number == 0 and not tried:
                    tried.append(1)
                    both.wait(10)

        return handle

    results = together(
        lambda: ladder.take(db, "volunteers.one", handler_of((1, 2)), deliveries("a")),
        lambda: ladder.take(other_db, "volunteers.two", handler_of((2, 1)), deliveries("b")),
    )
    assert results == [None, None]
    assert [row.taken for row in fetch(db, "SELECT taken FROM slots ORDER BY id")] == [2, 2]
    assert set(calls) == {"a", "b"}
    assert len(calls) in (3, 4), "PostgreSQL ends one of them, or both when they look at the same moment"
    assert parked(db) == []


def test_a_permanent_error_goes_straight_to_the_dead_letters_under_its_code(db: Database) -> None:
    def handle(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        if "never" in categories(envelopes):
            raise NeverRight("the entry 7 is of no known kind")

    batch = deliveries("a", "never", "b")
    ladder.take(db, HANDLER, handle, batch)
    assert words(db) == ["a", "b"]
    assert parked(db) == []
    (row,) = fetch(db, "SELECT * FROM dead_letters")
    assert (row.handler, row.reason, row.attempts, row.state) == (HANDLER, "chassis_test.never_right", 1, "waiting")
    assert row.error == "chassis_test.never_right: the entry 7 is of no known kind"
    assert (row.event_id, bytes(row.body)) == (batch[1].envelope.id, batch[1].body)
    assert "handle" in row.stack


@pytest.mark.parametrize(("delay", "low", "high"), [(None, 9, 10), (3.0, 2, 3), (3600.0, 3599, 3600), (0.0, -1, 0)])
def test_an_event_that_came_too_early_waits_as_long_as_it_asks(
    db: Database, delay: float | None, low: int, high: int
) -> None:
    def handle(session: Session, envelopes: list[Envelope]) -> None:
        write(session, "undone")
        raise RetryEventLater("its entry is not here yet", delay_seconds=delay)

    ladder.take(db, HANDLER, handle, deliveries("early"))
    (row,) = fetch(
        db, "SELECT reason, error, extract(epoch FROM next_attempt_at - first_failed_at) AS wait FROM parked_events"
    )
    assert (row.reason, row.error) == ("event.too_early", "its entry is not here yet")
    assert low <= float(row.wait) <= high + 1
    assert words(db) == []


@pytest.mark.parametrize("word", ["a\0b", "x"])
def test_a_value_that_no_column_takes_makes_a_dead_letter_at_once_and_no_eleven_minutes(
    db: Database, word: str
) -> None:
    def handle(session: Session, envelopes: list[Envelope]) -> None:
        session.execute(sa.text("SELECT 1 / (length(CAST(:word AS text)) - 1)"), {"word": word})

    ladder.take(db, HANDLER, handle, deliveries(word))
    assert (parked(db), dead(db)) == ([], [(HANDLER, "event.data_refused", 1)])


def test_a_broken_rule_is_a_failure_of_the_handler_that_names_the_rule_and_no_value(db: Database) -> None:
    def handle(session: Session, envelopes: list[Envelope]) -> None:
        write(session, "undone")
        raise WordTaken(CANARY)

    ladder.take(db, HANDLER, handle, deliveries("a"))
    (row,) = fetch(db, "SELECT reason, error FROM parked_events")
    assert (row.reason, row.error) == ("handler.failed", "WordTaken")
    assert words(db) == []


def test_neither_parked_events_nor_dead_letters_hold_the_text_of_an_error(db: Database) -> None:
    def handle(session: Session, envelopes: list[Envelope]) -> None:
        secret = CANARY
        if "sql" in categories(envelopes):
            session.execute(sa.text("SELECT CAST(:secret AS integer)"), {"secret": secret})
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(f"no {secret}") from error

    batch = deliveries("a", "sql")
    ladder.take(db, HANDLER, handle, batch)
    for _ in range(4):
        execute(db, "UPDATE parked_events SET next_attempt_at = clock_timestamp()")
        retry_parked(db, {HANDLER: handle})
    rows = fetch(db, "SELECT * FROM dead_letters")
    assert len(rows) == 2
    assert {row.error for row in rows} == {"ValueError", "DataError"}
    for row in rows:
        text = " ".join(str(value) for name, value in row._mapping.items() if name != "body")
        assert CANARY not in text
        assert "in handle" in row.stack


def test_the_same_dead_body_waits_once(db: Database) -> None:
    for _ in range(3):
        ladder.bury_message(db, HANDLER, b"{", "event.undecodable", "why")
    ladder.bury_message(db, HANDLER, b"{", "event.rejected", "why")
    ladder.bury_message(db, "volunteers.other", b"{", "event.undecodable", "why")
    assert len(dead(db)) == 3
    execute(db, "UPDATE dead_letters SET state = 'retried'")
    ladder.bury_message(db, HANDLER, b"{", "event.undecodable", "why")
    assert len(dead(db)) == 4, "and again when the first was dealt with"


def backend_of(session: Session) -> int:
    pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
    assert isinstance(pid, int)
    return pid


def test_a_connection_that_breaks_in_the_middle_is_an_outage_and_leaves_nothing_half_done(
    db: Database, other_db: Database
) -> None:
    batch = deliveries("a", "b")

    def handle(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        execute(other_db, "SELECT pg_terminate_backend(:pid, 5000)", pid=backend_of(session))
        write(session, "after")

    with pytest.raises(DatabaseUnavailable):
        ladder.take(db, HANDLER, handle, batch)
    assert (words(db), parked(db), dead(db)) == ([], [], [])
    assert fetch(db, "SELECT 1 FROM inbox") == []
    ladder.take(db, HANDLER, note_all, batch)
    assert words(db) == ["a", "b"]


def test_a_connection_that_breaks_before_the_commit_is_an_outage_and_leaves_nothing_half_done(
    db: Database, other_db: Database
) -> None:
    def handle(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        execute(other_db, "SELECT pg_terminate_backend(:pid, 5000)", pid=backend_of(session))

    with pytest.raises(DatabaseUnavailable):
        ladder.take(db, HANDLER, handle, deliveries("a", "b"))
    assert (words(other_db), parked(other_db), dead(other_db)) == ([], [], [])


def test_an_outage_in_the_middle_of_taking_a_batch_apart_keeps_what_was_done_and_counts_as_no_attempt(
    db: Database, other_db: Database
) -> None:
    batch = deliveries("a", "b", "bad", "c")
    broke: list[int] = []

    def handle(session: Session, envelopes: list[Envelope]) -> None:
        if categories(envelopes) == ["bad"] and not broke:
            broke.append(1)
            execute(other_db, "SELECT pg_terminate_backend(:pid, 5000)", pid=backend_of(session))
            write(session, "x")
        note_all(session, envelopes)

    with pytest.raises(DatabaseUnavailable):
        ladder.take(db, HANDLER, handle, batch)
    assert (words(db), parked(db)) == (["a", "b"], [])
    ladder.take(db, HANDLER, handle, batch)
    assert words(db) == ["a", "b", "c"]
    assert parked(db) == [(HANDLER, 1, "handler.failed")]


def test_a_server_that_cannot_be_reached_is_an_outage(desk_url: str) -> None:
    away = Database("postgresql+psycopg://nobody:x@127.0.0.1:1/none", "volunteers")
    with pytest.raises(DatabaseUnavailable):
        ladder.take(away, HANDLER, note_all, deliveries("a"))
    with pytest.raises(DatabaseUnavailable):
        retry_parked(away, {HANDLER: note_all})
    with pytest.raises(DatabaseUnavailable):
        ladder.bury_message(away, HANDLER, b"{", "event.undecodable", "why")
    away.close()


def test_a_pool_without_a_free_connection_is_an_outage(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.engine.pool, "_timeout", 0.05)
    held = [db.engine.connect() for _ in range(10)]
    with pytest.raises(DatabaseUnavailable):
        ladder.take(db, HANDLER, note_all, deliveries("a"))
    for connection in held:
        connection.close()
    assert words(db) == []


def test_a_parking_that_meets_an_outage_leaves_the_event_for_the_next_delivery(
    db: Database, other_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def park_on_a_broken_connection(session: Session, *rest: object, **named: object) -> None:
        execute(other_db, "SELECT pg_terminate_backend(:pid, 5000)", pid=backend_of(session))
        real(session, *rest, **named)  # type: ignore[arg-type]

    real = ladder._park
    monkeypatch.setattr(ladder, "_park", park_on_a_broken_connection)
    with pytest.raises(DatabaseUnavailable):
        ladder.take(db, HANDLER, note_all, deliveries("bad"))
    assert parked(db) == []


def test_many_deliveries_at_once_by_many_threads_take_effect_once(db: Database) -> None:
    batch = [delivery_of(event(f"w{number}")) for number in range(60)]
    results = together(*(lambda: ladder.take(db, HANDLER, note_all, batch) for _ in range(6)))
    assert results == [None] * 6
    assert wait_for(lambda: Counter(words(db))) == Counter(f"w{number}" for number in range(60))
