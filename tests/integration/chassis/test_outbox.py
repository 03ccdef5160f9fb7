"""An event and what made it true are kept together or lost together."""

from collections.abc import Callable
from contextlib import nullcontext
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.integration.chassis.services import deliveries, event, fetch, large_event, words, write
from tests.support.statements import noted
from xinhuo.chassis import outbox, trace
from xinhuo.chassis.db import Database
from xinhuo.contracts import codec
from xinhuo.contracts.codec import Envelope, Undecodable


class Stop(Exception):
    """Ends a transaction."""


def recorded(db: Database) -> list[str]:
    rows = fetch(db, "SELECT payload FROM outbox ORDER BY seq")
    return [codec.decode(bytes(row.payload)).data.category for row in rows]


def envelopes(db: Database) -> list[Envelope]:
    return [codec.decode(bytes(row.payload)) for row in fetch(db, "SELECT payload FROM outbox ORDER BY seq")]


Step = Callable[[Session], object]


def attempt(db: Database, *steps: Step) -> None:
    with db.transaction() as session:
        for step in steps:
            step(session)


def stop(_session: Session) -> None:
    raise Stop


def divide_by_zero(session: Session) -> None:
    session.execute(sa.text("SELECT 1 / 0"))


def note(word: str) -> Step:
    return lambda session: write(session, word)


def say(word: str) -> Step:
    return lambda session: outbox.record(session, event(word))


def savepoint(*steps: Step, fails: bool = False) -> Step:
    def run(session: Session) -> None:
        def inside() -> None:
            with session.begin_nested():
                for step in (*steps, stop) if fails else steps:
                    step(session)

        with pytest.raises(Stop) if fails else nullcontext():
            inside()

    return run


def rehearsed(*steps: Step) -> Step:
    def run(session: Session) -> None:
        with outbox.rehearsal(session):
            for step in steps:
                step(session)

    return run


def test_a_commit_keeps_the_change_and_its_event(db: Database) -> None:
    with db.transaction() as session:
        write(session, "kept")
        outbox.record(session, event("kept"))
    assert (words(db), recorded(db)) == (["kept"], ["kept"])


def test_a_rollback_loses_the_change_and_its_event(db: Database) -> None:
    with pytest.raises(Stop):
        attempt(db, note("lost"), say("lost"), stop)
    assert (words(db), recorded(db)) == ([], [])


def test_a_commit_that_the_database_refuses_loses_the_event_too(db: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        attempt(db, note("late"), say("lost"))
    assert (words(db), recorded(db)) == ([], [])


def test_a_session_goes_on_after_a_rollback_without_the_events_of_before(db: Database) -> None:
    with db.transaction() as session:
        outbox.record(session, event("lost"))
        session.rollback()
        outbox.record(session, event("kept"))
    assert recorded(db) == ["kept"]


def test_nobody_sees_an_event_before_the_commit(db: Database, other_db: Database) -> None:
    with db.transaction() as session:
        outbox.record_all(session, [event()] * 1000)
        assert fetch(other_db, "SELECT 1 FROM outbox") == []
    assert len(fetch(other_db, "SELECT 1 FROM outbox")) == 1000


@pytest.mark.parametrize(
    ("steps", "kept"),
    [
        ([savepoint(say("inside"))], {"inside"}),
        ([savepoint(say("inside"), fails=True)], set()),
        ([say("before"), savepoint(say("inside"), fails=True)], {"before"}),
        ([say("before"), savepoint(say("inside"))], {"before", "inside"}),
        ([savepoint(say("inside"), fails=True), say("after")], {"after"}),
        ([say("before"), savepoint(fails=True), say("after")], {"before", "after"}),
        ([say("before"), savepoint(savepoint(say("inner")), fails=True)], {"before"}),
        ([say("before"), savepoint(say("outer"), savepoint(say("inner"), fails=True))], {"before", "outer"}),
        ([say("before"), savepoint(say("outer"), savepoint(say("inner")), fails=True), say("after")],
         {"before", "after"}),
        ([say("before"), rehearsed(say("inside")), say("after")], {"before", "after"}),
        ([say("before"), rehearsed(savepoint(say("inside"))), say("after")], {"before", "after"}),
        ([say("before"), rehearsed(savepoint(say("inside"), fails=True))], {"before"}),
        ([say("before"), savepoint(rehearsed(say("inside")), say("between"))], {"before", "between"}),
    ],
)  # fmt: skip
def test_events_live_and_die_with_the_savepoint_they_were_recorded_in(
    db: Database, steps: list[Step], kept: set[str]
) -> None:
    attempt(db, *steps)
    assert set(recorded(db)) == kept
    assert len(recorded(db)) == len(kept), "each once"


def test_a_flush_that_fails_in_a_savepoint_leaves_the_events_of_before(db: Database) -> None:
    with db.transaction() as session:
        outbox.record(session, event("before"))
        with pytest.raises(sa.exc.DataError):
            savepoint(say("inside"), divide_by_zero)(session)
    assert recorded(db) == ["before"]


def test_a_rehearsal_shows_its_result_and_leaves_nothing(db: Database) -> None:
    with db.transaction() as session:
        with outbox.rehearsal(session):
            write(session, "tried")
            outbox.record(session, event("tried"))
            assert session.scalar(sa.text("SELECT count(*) FROM notes")) == 1
        assert session.scalar(sa.text("SELECT count(*) FROM notes")) == 0
    assert (words(db), recorded(db)) == ([], [])


def test_a_rehearsal_that_fails_lets_the_transaction_go_on(db: Database) -> None:
    with db.transaction() as session:
        with pytest.raises(sa.exc.DataError):
            rehearsed(say("inside"), divide_by_zero)(session)
        write(session, "after")
        outbox.record(session, event("after"))
    assert (words(db), recorded(db)) == (["after"], ["after"])


@pytest.mark.parametrize("size", [65_536, 1_000_000])
def test_an_event_over_64_kib_is_refused_and_its_transaction_has_no_effect(db: Database, size: int) -> None:
    with pytest.raises(Undecodable, match=r"event\.too_large"):
        attempt(db, note("lost"), say("lost"), lambda session: outbox.record(session, large_event(size)))
    assert (words(db), recorded(db)) == ([], [])


def test_of_several_events_none_is_recorded_when_one_is_too_large(db: Database) -> None:
    """Whoever catches the error and commits must not announce one half of a piece of work."""
    with db.transaction() as session:
        outbox.record(session, event("before"))
        with pytest.raises(Undecodable):
            outbox.record_all(session, [event("first"), large_event(70_000), event("last")])
    assert recorded(db) == ["before"]


def test_whatever_can_be_recorded_can_be_made_public(db: Database) -> None:
    """The largest event there is: its public form says so in more bytes, and must not be what is refused."""
    with db.transaction() as session:
        low, high = 30_000, 40_000
        while low < high - 1:
            size = (low + high) // 2
            try:
                outbox.record(session, large_event(size))
                low = size
            except Undecodable:
                high = size
    largest = max(envelopes(db), key=lambda envelope: len(envelope.data.unit_code))
    assert len(largest.data.unit_code) == low
    assert len(codec.encode_public(largest)) <= codec.MAX_EVENT_BYTES


@pytest.mark.parametrize(("events", "inserts"), [(0, 0), (1, 1), (2, 1), (999, 1)])
def test_a_commit_writes_all_its_events_with_one_statement(db: Database, events: int, inserts: int) -> None:
    with noted(db.engine) as statements, db.transaction() as session:
        for _ in range(events):
            outbox.record(session, event())
        assert statements.texts == []
    assert len(statements.with_text("INSERT INTO outbox")) == inserts
    assert len(recorded(db)) == events


def test_a_long_transaction_writes_in_parts_so_that_it_does_not_hold_them_all(db: Database) -> None:
    with noted(db.engine) as statements, db.transaction() as session:
        for part in range(5):
            outbox.record_all(session, [event()] * 500)
            assert len(statements.with_text("INSERT INTO outbox")) == (part + 1) // 2
    assert len(statements.with_text("INSERT INTO outbox")) == 3
    assert len(recorded(db)) == 2500


def test_the_columns_are_those_of_debeziums_outbox_router(db: Database) -> None:
    recording = event("ok")
    with db.transaction() as session:
        event_id = outbox.record(session, recording)
    (row,) = fetch(db, "SELECT * FROM outbox")
    assert (row.id, row.aggregatetype, row.aggregateid, row.type) == (
        event_id, "volunteers", str(recording.entry_id), "volunteers.hours_logged.v1",
    )  # fmt: skip
    assert row.public is True
    assert (row.published_at, row.position, row.public_published_at) == (None, None, None)
    envelope = codec.decode(bytes(row.payload))
    assert (envelope.id, envelope.data, envelope.subject) == (event_id, recording, str(recording.entry_id))


def test_events_have_ids_that_sort_by_time_and_are_stored_in_the_order_they_were_recorded(db: Database) -> None:
    with db.transaction() as session:
        ids: list[UUID] = []
        for number in range(200):
            ids += outbox.record_all(session, [event(f"w{number}"), event(f"v{number}")])
    assert [row.id for row in fetch(db, "SELECT id FROM outbox ORDER BY seq")] == ids
    assert ids == sorted(ids)
    assert {event_id.version for event_id in ids} == {7}


def test_an_event_names_the_request_that_caused_it(db: Database) -> None:
    with trace.traced("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), db.transaction() as session:
        outbox.record_all(session, [event(), event()])
    first, second = envelopes(db)
    assert first.traceparent == second.traceparent
    assert first.traceparent is not None
    _, trace_id, span, _ = first.traceparent.split("-")
    assert trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert span != "b7ad6b7169203331"
    assert (first.correlationid, first.causationid) == (None, None)


def test_an_event_names_the_event_that_caused_it_and_the_first_of_the_chain(db: Database) -> None:
    with trace.traced(None), db.transaction() as session:
        outbox.record(session, event("first"))
    for caused in ("second", "third"):
        with trace.traced(None), db.transaction() as session:
            outbox.record(session, event(caused), caused_by=envelopes(db)[-1])
    first, second, third = envelopes(db)
    assert [second.causationid, third.causationid] == [str(first.id), str(second.id)]
    assert [second.correlationid, third.correlationid] == [str(first.id)] * 2
    assert len({(each.traceparent or "").split("-")[1] for each in (first, second, third)}) == 1
    assert len({(each.traceparent or "").split("-")[2] for each in (first, second, third)}) == 3


def test_an_event_without_any_trace_begins_one(db: Database) -> None:
    (cause,) = deliveries("cause")
    assert cause.envelope.traceparent is None
    with db.transaction() as session:
        outbox.record(session, event(), caused_by=cause.envelope)
    (made,) = envelopes(db)
    assert trace.child_of(made.traceparent).split("-")[1] == (made.traceparent or "").split("-")[1]


def test_recording_wakes_the_relay_of_its_own_service_at_commit_and_not_before(
    db: Database, other_db: Database
) -> None:
    with other_db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("LISTEN xinhuo_outbox_volunteers"))
        driver = connection.connection.driver_connection
        assert driver is not None
        with db.transaction() as session:
            outbox.record_all(session, [event()] * 1000)
            assert list(driver.notifies(timeout=0)) == []
        assert [each.channel for each in driver.notifies(timeout=5, stop_after=1)] == ["xinhuo_outbox_volunteers"]
        with pytest.raises(Stop):
            attempt(db, lambda session: outbox.record_all(session, [event()] * 1000), stop)
        assert list(driver.notifies(timeout=0)) == []


def test_an_id_cannot_be_in_the_outbox_twice(db: Database) -> None:
    with db.transaction() as session:
        event_id = outbox.record(session, event())
    copy = "INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, public) SELECT {}, aggregatetype,"
    copy += " aggregateid, type, payload, public FROM outbox WHERE id = :id"
    fetch_none = sa.text(copy.format(":id"))
    with pytest.raises(sa.exc.IntegrityError), db.transaction() as session:
        session.execute(fetch_none, {"id": event_id})
    with db.transaction() as session:
        session.execute(sa.text(copy.format(":new")), {"id": event_id, "new": uuid4()})
    assert len(recorded(db)) == 2
