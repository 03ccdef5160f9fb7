"""Nothing is taken for an event of the future because somebody here has a wrong time in mind."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.chassis.services import Desk, deliveries, fetch, words
from xinhuo.chassis import clock
from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.topology import routing_key
from xinhuo.chassis.wire import Incoming
from xinhuo.chassis.worker import Worker
from xinhuo.contracts import codec

SLOW = timedelta(minutes=-10)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database told is long out of date: its clock was set, or this machine slept."""
    monkeypatch.setattr(clock, "_offset", None)
    clock.learn(datetime.now(UTC) + SLOW, clock.steady())


def messages(*bodies: bytes) -> list[Incoming]:
    kind = "volunteers.hours_logged.v1"
    single = [Incoming(body, codec.CONTENT_TYPE, "utf-8", kind, "m", routing_key(kind)) for body in bodies]
    whole = b"[" + b",".join(bodies) + b"]"
    return [*single, Incoming(whole, codec.BATCH_CONTENT_TYPE, "utf-8", kind, "b", routing_key(kind))]


@pytest.mark.usefixtures("slow")
def test_before_an_event_is_condemned_for_its_time_the_database_is_asked(db: Database, desk: Desk) -> None:
    bodies = [delivery.body for delivery in deliveries("a", "b")]

    verdicts = Worker(desk).receive("count", messages(*bodies))

    assert verdicts == [None, None, None]
    assert sorted(words(db)) == ["a", "b"]
    assert fetch(db, "SELECT 1 FROM dead_letters") == []
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.usefixtures("slow")
def test_a_worker_asks_every_few_seconds(db: Database, desk: Desk) -> None:
    Worker(desk)._refresh_gauges()

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.usefixtures("slow")
def test_each_answer_of_the_database_is_remembered(db: Database) -> None:
    with db.transaction() as session:
        database_now(session)

    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
