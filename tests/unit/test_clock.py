"""The database's clock is told from its last answer, whatever happens to the machine's own."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from xinhuo.chassis import clock
from xinhuo.chassis.ids import new_id

THERE = datetime(2026, 3, 5, 8, tzinfo=UTC)
LITTLE = timedelta(seconds=5)


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_offset", None)


def instant_in(made: UUID) -> datetime:
    return datetime.fromtimestamp((made.int >> 80) / 1000, UTC)


def test_until_the_database_has_answered_the_own_clock_serves() -> None:
    assert abs(clock.now() - datetime.now(UTC)) < LITTLE
    assert clock.own_is_right()


@pytest.mark.parametrize("away", [timedelta(days=-3), timedelta(hours=1), timedelta(0)])
def test_what_the_database_told_is_the_time(away: timedelta) -> None:
    clock.learn(datetime.now(UTC) + away, clock.steady())

    assert abs(clock.now() - datetime.now(UTC) - away) < LITTLE
    assert clock.own_is_right() is (away == timedelta(0))


def test_a_jump_of_the_own_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock.learn(THERE, clock.steady())
    monkeypatch.setattr(time, "time", lambda: 0.0)

    assert abs(clock.now() - THERE) < LITTLE


def test_an_answer_that_took_long_is_not_believed() -> None:
    clock.learn(THERE, clock.steady())
    clock.learn(THERE - timedelta(hours=1), clock.steady() - 60)

    assert abs(clock.now() - THERE) < LITTLE


def test_ids_are_dated_by_it_and_in_order_while_the_own_clock_is_right() -> None:
    clock.learn(THERE, clock.steady())
    assert abs(instant_in(new_id()) - THERE) < LITTLE

    clock.learn(datetime.now(UTC), clock.steady())
    made = [new_id() for _ in range(1000)]
    assert made == sorted(made)
    assert abs(instant_in(made[0]) - datetime.now(UTC)) < LITTLE
