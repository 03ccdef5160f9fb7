"""Each event takes effect once for each handler, and its row is written with its effect."""

import threading
from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from tests.integration.chassis.services import (
    categories,
    deliveries,
    event,
    fetch,
    id_of_month,
    note_all,
    words,
    write,
)
from tests.support.services import delivery_of
from tests.support.threads import together
from tests.support.waiting import wait_for
from xinhuo.chassis import inbox, ladder
from xinhuo.chassis.db import Database
from xinhuo.chassis.ids import new_id
from xinhuo.contracts.codec import Envelope

HANDLER = "volunteers.count"


def claim(db: Database, offered: Sequence[tuple[UUID, bytes]], handler: str = HANDLER) -> inbox.Claim:
    with db.transaction() as session:
        return inbox.claim(session, handler, offered)


def waits_for_another(db: Database) -> bool:
    return bool(
        fetch(db, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    )


def test_a_claim_ends_with_the_transaction_of_its_effect(db: Database) -> None:
    offer = (new_id(), b"1")
    with db.transaction() as session:
        assert inbox.claim(session, HANDLER, [offer]).fresh == {offer[0]}
        session.rollback()
    assert claim(db, [offer]).fresh == {offer[0]}
    assert claim(db, [offer]).fresh == frozenset()


def test_every_handler_has_its_own_inbox(db: Database) -> None:
    offer = (new_id(), b"1")
    assert claim(db, [offer], "volunteers.a").fresh == {offer[0]}
    assert claim(db, [offer], "volunteers.b").fresh == {offer[0]}
    assert claim(db, [offer], "volunteers.a").fresh == frozenset()


@pytest.mark.parametrize("first_commits", [True, False])
def test_who_claims_the_same_event_waits_for_the_first_and_then_has_it_only_when_that_one_gave_up(
    db: Database, other_db: Database, first_commits: bool
) -> None:
    offer = (new_id(), b"1")
    claimed, may_end = threading.Event(), threading.Event()

    def first() -> frozenset[UUID]:
        with db.transaction() as session:
            fresh = inbox.claim(session, HANDLER, [offer]).fresh
            claimed.set()
            may_end.wait(10)
            if not first_commits:
                session.rollback()
            return fresh

    def second() -> frozenset[UUID]:
        claimed.wait(10)
        return claim(other_db, [offer]).fresh

    def release() -> None:
        claimed.wait(10)
        wait_for(lambda: waits_for_another(other_db), what="the second to wait")
        may_end.set()

    results = together(first, second, release)
    assert results[:2] == [{offer[0]}, frozenset() if first_commits else {offer[0]}]


def test_two_batches_with_the_same_events_in_opposite_order_do_not_wait_for_each_other_for_ever(
    db: Database, other_db: Database
) -> None:
    for _ in range(10):
        offers = [(new_id(), b"1") for _ in range(200)]
        results = together(lambda: claim(db, offers), lambda: claim(other_db, offers[::-1]))  # noqa: B023
        assert all(isinstance(result, inbox.Claim) for result in results), results
        fresh = [result.fresh for result in results if isinstance(result, inbox.Claim)]
        assert fresh[0] | fresh[1] == {event_id for event_id, _ in offers}
        assert not fresh[0] & fresh[1]


def test_two_workers_with_the_same_deliveries_give_each_its_effect_once(db: Database, other_db: Database) -> None:
    batch = deliveries(*(f"w{number}" for number in range(300)))
    results = together(
        lambda: ladder.take(db, HANDLER, note_all, batch),
        lambda: ladder.take(other_db, HANDLER, note_all, batch[::-1]),
    )
    assert results == [None, None]
    assert sorted(words(db)) == sorted(f"w{number}" for number in range(300))


def test_a_duplicate_in_one_batch_is_handled_once(db: Database) -> None:
    first, second = deliveries("a", "b")
    handled: list[str] = []

    def handle(session: Session, envelopes: list[Envelope]) -> None:
        handled.extend(categories(envelopes))

    ladder.take(db, HANDLER, handle, [first, second, first, first, second])
    assert handled == ["a", "b"]
    assert len(fetch(db, "SELECT 1 FROM inbox")) == 2


def test_a_handler_is_not_called_when_nothing_is_new(db: Database) -> None:
    calls: list[int] = []
    batch = deliveries("a", "b")
    for _ in range(3):
        ladder.take(db, HANDLER, lambda _session, envelopes: calls.append(len(envelopes)), batch)
    assert calls == [2]


@pytest.mark.parametrize("in_one_batch", [True, False])
def test_an_id_used_again_with_another_body_is_a_dead_letter_and_the_first_keeps_its_effect(
    db: Database, in_one_batch: bool
) -> None:
    event_id = new_id()
    first, second = delivery_of(event("first"), event_id=event_id), delivery_of(event("second"), event_id=event_id)
    good = deliveries("good")
    for batch in [[first, second, *good]] if in_one_batch else [[first], [second, *good]]:
        ladder.take(db, HANDLER, note_all, batch)
    assert words(db) == ["first", "good"]
    (dead,) = fetch(db, "SELECT * FROM dead_letters")
    assert (dead.reason, dead.event_id, bytes(dead.body)) == ("event.id_conflict", event_id, second.body)
    assert (dead.handler, dead.type, dead.state) == (HANDLER, "volunteers.hours_logged.v1", "waiting")
    assert fetch(db, "SELECT 1 FROM parked_events") == []


@pytest.mark.parametrize("event_id", [UUID(int=0), UUID(int=(1 << 128) - 1), UUID(int=1 << 80), id_of_month(1999, 12)])
def test_an_event_with_an_odd_id_takes_effect_once_all_the_same(db: Database, event_id: UUID) -> None:
    delivery = delivery_of(event("odd"), event_id=event_id)
    for _ in range(2):
        ladder.take(db, HANDLER, note_all, [delivery])
    assert words(db) == ["odd"]


def test_the_effect_and_the_inbox_row_are_one_transaction(db: Database) -> None:
    """Neither is there when the other is not, whichever part fails."""
    (late,) = deliveries("late")
    ladder.take(db, HANDLER, lambda session, _: write(session, "late"), [late])
    assert words(db) == []
    assert fetch(db, "SELECT 1 FROM inbox") == []
    assert [row.reason for row in fetch(db, "SELECT reason FROM parked_events")] == ["handler.failed"]
