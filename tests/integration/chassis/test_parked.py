"""Parked events: when they are tried again, and how each of them ends."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.integration.chassis.services import (
    NeverRight,
    deliveries,
    event,
    execute,
    fetch,
    note_all,
    topics,
    words,
    write,
)
from tests.support.threads import together
from xinhuo.chassis import ladder, outbox, parked
from xinhuo.chassis.db import Database, DatabaseUnavailable
from xinhuo.chassis.errors import RetryEventLater
from xinhuo.contracts.codec import Envelope

HANDLER = "volunteers.count"


@dataclass
class Fickle:
    """A handler that raises as long as it has errors, and counts its calls."""

    errors: list[Exception] = field(default_factory=list)
    calls: int = 0

    def __call__(self, session: Session, envelopes: list[Envelope]) -> None:
        self.calls += 1
        note_all(session, envelopes)
        for envelope in envelopes:
            outbox.record(session, event("caused"), caused_by=envelope)
        if self.errors:
            raise self.errors.pop(0)


def waits(db: Database) -> list[tuple[int, int]]:
    """Return attempts and the seconds until the next one of every parked event."""
    rows = fetch(
        db,
        "SELECT attempts, ceil(extract(epoch FROM next_attempt_at - clock_timestamp())) AS wait"
        " FROM parked_events ORDER BY event_id",
    )
    return [(row.attempts, int(row.wait)) for row in rows]


def let_time_pass(db: Database, seconds: float) -> None:
    """Move every parked event so much nearer to its next attempt."""
    execute(db, "UPDATE parked_events SET next_attempt_at = next_attempt_at - make_interval(secs => :s)", s=seconds)


def park(db: Database, handle: ladder.Handle, *names: str) -> list[ladder.Delivery]:
    batch = deliveries(*names)
    ladder.take(db, HANDLER, handle, batch)
    assert len(waits(db)) == len(names)
    return batch


def retry(db: Database, handle: ladder.Handle) -> int:
    return parked.retry_parked(db, {HANDLER: handle})


def test_the_steps_are_ten_seconds_a_minute_and_ten_minutes_and_then_it_is_a_dead_letter(db: Database) -> None:
    handle = Fickle([ValueError()] * 4)
    (delivery,) = park(db, handle, "a")
    for number, seconds in enumerate((10, 60, 600), start=1):
        assert waits(db) == [(number, seconds)]
        let_time_pass(db, seconds - 5)
        assert retry(db, handle) == 0, "not yet"
        let_time_pass(db, 6)
        assert retry(db, handle) == 1
        assert handle.calls == number + 1
    assert waits(db) == []
    (row,) = fetch(db, "SELECT * FROM dead_letters")
    assert (row.handler, row.reason, row.error, row.attempts) == (HANDLER, "handler.failed", "ValueError", 4)
    assert (row.event_id, bytes(row.body), row.type) == (
        delivery.envelope.id, delivery.body, "volunteers.hours_logged.v1",
    )  # fmt: skip
    assert (words(db), topics(db)) == ([], 0), "nothing of its four tries is left"
    assert fetch(db, "SELECT 1 FROM inbox") == []


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_try_that_goes_well_has_its_effect_once_and_the_event_is_parked_no_more(db: Database, failures: int) -> None:
    handle = Fickle([ValueError()] * failures)
    (delivery,) = park(db, handle, "a")
    for _ in range(failures):
        let_time_pass(db, 601)
        retry(db, handle)
    assert (words(db), topics(db), waits(db)) == (["a"], 1, [])
    assert fetch(db, "SELECT 1 FROM dead_letters") == []
    ladder.take(db, HANDLER, handle, [delivery])
    assert (words(db), topics(db)) == (["a"], 1), "a late copy is a duplicate"


def test_a_permanent_error_on_a_later_try_ends_the_waiting(db: Database) -> None:
    handle = Fickle([ValueError(), NeverRight("no")])
    park(db, handle, "a")
    let_time_pass(db, 10)
    assert retry(db, handle) == 1
    assert waits(db) == []
    (row,) = fetch(db, "SELECT reason, attempts FROM dead_letters")
    assert tuple(row) == ("chassis_test.never_right", 2)


def test_an_event_that_stays_too_early_is_a_dead_letter_that_says_so(db: Database) -> None:
    handle = Fickle([RetryEventLater("not yet", delay_seconds=2.0)] * 4)
    park(db, handle, "a")
    for number in range(1, 4):
        assert waits(db) == [(number, 2)]
        let_time_pass(db, 2)
        assert retry(db, handle) == 1
    assert [row.reason for row in fetch(db, "SELECT reason FROM dead_letters")] == ["event.too_early"]


def test_an_event_delivered_again_while_parked_takes_effect_once_and_its_parked_row_goes(db: Database) -> None:
    handle = Fickle([ValueError()])
    (delivery,) = park(db, handle, "a")
    ladder.take(db, HANDLER, handle, [delivery, delivery])
    assert words(db) == ["a"]
    let_time_pass(db, 10)
    retry(db, handle)
    assert (words(db), waits(db), topics(db)) == (["a"], [], 1)
    assert handle.calls == 2, "the retry found it done"


def test_an_event_that_fails_again_on_another_delivery_keeps_its_place_on_the_ladder(db: Database) -> None:
    handle = Fickle([ValueError()] * 3)
    (delivery,) = park(db, handle, "a")
    let_time_pass(db, 10)
    retry(db, handle)
    assert waits(db) == [(2, 60)]
    ladder.take(db, HANDLER, handle, [delivery])
    assert waits(db) == [(2, 60)]


def test_the_one_that_fails_holds_up_no_other(db: Database) -> None:
    handle = Fickle([ValueError()] * 7)
    park(db, handle, "bad", "a", "b")
    let_time_pass(db, 10)
    handle.errors.clear()
    assert retry(db, handle) == 3
    assert words(db) == ["a", "b"]
    assert waits(db) == [(2, 60)]


def test_what_the_database_refuses_at_the_commit_moves_up_the_ladder_like_any_failure(db: Database) -> None:
    """Without it the first such event would be tried for ever, and nothing behind it."""
    park(db, Fickle([ValueError()] * 5), "late", "a")
    for _ in range(3):
        let_time_pass(db, 601)
        retry(db, note_all)
    assert words(db) == ["a"]
    (row,) = fetch(db, "SELECT reason, attempts FROM dead_letters")
    assert tuple(row) == ("handler.failed", 4)
    assert waits(db) == []


def test_a_parked_event_that_can_no_longer_be_read_is_a_dead_letter_and_holds_up_no_other(db: Database) -> None:
    first, _ = park(db, Fickle([ValueError()] * 3), "a", "b")
    body = json.loads(first.body)
    body["type"] = "volunteers.hours_logged.v99"
    execute(db, "UPDATE parked_events SET body = :body, next_attempt_at = now() - interval '1 h' WHERE event_id = :id",
            body=json.dumps(body).encode(), id=first.envelope.id)  # fmt: skip
    let_time_pass(db, 10)
    assert retry(db, note_all) == 2
    assert words(db) == ["b"]
    (row,) = fetch(db, "SELECT event_id, handler, reason FROM dead_letters")
    assert tuple(row) == (first.envelope.id, HANDLER, "event.unknown_version")


def test_an_event_whose_handler_is_gone_stays_and_is_seen(db: Database) -> None:
    park(db, Fickle([ValueError()]), "a")
    let_time_pass(db, 3600)
    assert parked.retry_parked(db, {"volunteers.another": note_all}) == 0
    assert parked.retry_parked(db, {}) == 0
    (row,) = fetch(db, "SELECT handler, reason, next_attempt_at < now() - interval '30 min' AS late FROM parked_events")
    assert tuple(row) == (HANDLER, "handler.failed", True)
    assert retry(db, note_all) == 1, "and is done when the handler is back"
    assert words(db) == ["a"]


def test_an_id_that_was_used_with_another_body_meanwhile_is_a_dead_letter(db: Database) -> None:
    (first,) = park(db, Fickle([ValueError()]), "a")
    execute(db, "INSERT INTO inbox (event_id, handler, body_hash) VALUES (:id, :handler, 'x')",
            id=first.envelope.id, handler=HANDLER)  # fmt: skip
    let_time_pass(db, 10)
    assert retry(db, note_all) == 1
    assert [row.reason for row in fetch(db, "SELECT reason FROM dead_letters")] == ["event.id_conflict"]
    assert (waits(db), words(db)) == ([], [])


def test_an_outage_is_no_attempt(db: Database, other_db: Database) -> None:
    park(db, Fickle([ValueError()]), "a")
    let_time_pass(db, 10)

    def breaks(session: Session, envelopes: list[Envelope]) -> None:
        note_all(session, envelopes)
        pid = session.scalar(sa.text("SELECT pg_backend_pid()"))
        execute(other_db, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
        write(session, "after")

    with pytest.raises(DatabaseUnavailable):
        retry(db, breaks)
    assert [attempts for attempts, _ in waits(db)] == [1]
    assert (words(db), fetch(db, "SELECT 1 FROM dead_letters")) == ([], [])
    assert retry(db, note_all) == 0, "it is nobody else's for a while"
    let_time_pass(db, 10)
    assert retry(db, note_all) == 1
    assert words(db) == ["a"]


def test_several_processes_share_the_parked_events(db: Database, other_db: Database) -> None:
    names = [f"w{number}" for number in range(40)]
    park(db, Fickle([ValueError()] * 100), *names)
    let_time_pass(db, 10)
    works: list[Callable[[], object]] = [lambda each=each: retry(each, note_all) for each in (db, other_db) * 2]
    tried = together(*works)
    assert sum(count for count in tried if isinstance(count, int)) == 40, tried
    assert sorted(words(db)) == sorted(names)
    assert waits(db) == []


def test_one_round_tries_a_bounded_number(db: Database) -> None:
    park(db, Fickle([ValueError()] * 20), "a", "b", "c")
    let_time_pass(db, 10)
    assert parked.retry_parked(db, {HANDLER: note_all}, limit=2) == 2
    assert parked.retry_parked(db, {HANDLER: note_all}, limit=2) == 1
