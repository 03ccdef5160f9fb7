"""Many write about the same people at once, on PostgreSQL: nothing counts twice and nobody waits in a circle."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

import pytest

from services.volunteers.commands.hours import lock_volunteers, log_hours, reverse_entries
from services.volunteers.models import Entered, Existing, Reversed, Served
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World
from tests.support.services import client_of, fetch, make_service
from tests.support.threads import at_once
from xinhuo.chassis.errors import RuleError

T = TypeVar("T")


@pytest.fixture(scope="module")
def service(database: str) -> Iterator[Volunteers]:
    service = make_service(Volunteers, database)
    yield service
    service.runtime.db.close()


@pytest.fixture
def world(service: Volunteers) -> World:
    return World(service)


def enter(service: Volunteers, items: Sequence[Served]) -> list[Entered | Existing | RuleError]:
    with service.runtime.db.transaction() as session:
        return log_hours(session, items, now=NOW)


def ledger(service: Volunteers, world: World) -> tuple[int, int, int]:
    """Return minutes and rows of the unit in the ledger, and minutes in force by its spans."""
    [row] = fetch(
        service,
        "SELECT sum(minutes)::int AS minutes, count(*)::int AS rows FROM ledger_entries WHERE unit_code = :unit",
        unit=world.unit_code,
    )
    [spans] = fetch(
        service,
        "SELECT coalesce(sum(s.minutes), 0)::int AS minutes FROM service_spans s"
        " JOIN ledger_entries e ON e.id = s.entry_id WHERE e.unit_code = :unit",
        unit=world.unit_code,
    )
    return row["minutes"], row["rows"], spans["minutes"]


def test_the_same_batches_from_many_threads_in_any_order_enter_each_item_once(
    service: Volunteers, world: World
) -> None:
    people = world.add_volunteers(40)
    items = [
        world.served(one, f"2026-04-{day:02d} 09:00", f"2026-04-{day:02d} 10:00")
        for one in people
        for day in range(1, 6)
    ]

    def work(seed: int) -> Callable[[], int]:
        mixed = items.copy()
        random.Random(seed).shuffle(mixed)

        def run() -> int:
            entered = 0
            for start in range(0, len(mixed), 50):
                outcomes = enter(service, mixed[start : start + 50])
                assert not [outcome for outcome in outcomes if isinstance(outcome, RuleError)]
                entered += sum(isinstance(outcome, Entered) for outcome in outcomes)
            return entered

        return run

    assert sum(at_once([work(seed) for seed in range(4)])) == len(items)
    assert ledger(service, world) == (60 * len(items), len(items), 60 * len(items))


def test_of_rivals_that_overlap_exactly_one_wins(service: Volunteers, world: World) -> None:
    people = world.add_volunteers(20)

    def work(shift: int) -> Callable[[], int]:
        ordered = people if shift % 2 else people[::-1]
        items = [world.served(one, f"2026-04-01 09:{shift:02d}", f"2026-04-01 11:{shift:02d}") for one in ordered]
        return lambda: sum(isinstance(outcome, Entered) for outcome in enter(service, items))

    assert sum(at_once([work(shift) for shift in range(4)])) == len(people)
    assert ledger(service, world) == (120 * 20, 20, 120 * 20)


def test_a_day_is_never_filled_beyond_its_limit(service: Volunteers, world: World) -> None:
    [one] = world.add_volunteers(1)
    # Six spans of four hours that start on one day fit; the seventh, which starts on it too, does not.
    spans = [(f"2026-04-01 {hour:02d}:00", f"2026-04-01 {hour + 3:02d}:59") for hour in range(0, 24, 4)]
    spans.append(("2026-04-01 23:59", "2026-04-02 02:00"))

    def work(start: str, end: str) -> Callable[[], int]:
        return lambda: sum(isinstance(outcome, Entered) for outcome in enter(service, [world.served(one, start, end)]))

    assert sum(at_once([work(start, end) for start, end in spans])) == 6
    minutes, _, in_force = ledger(service, world)
    assert minutes == in_force
    assert minutes <= 1440


def test_an_entry_is_reversed_once_while_others_log(service: Volunteers, world: World) -> None:
    people = world.add_volunteers(30)
    items = [world.served(one, "2026-04-01 09:00", "2026-04-01 10:00") for one in people]
    ids = [outcome.entry.id for outcome in enter(service, items) if isinstance(outcome, Entered)]

    def undo(order: list[UUID]) -> Callable[[], int]:
        def run() -> int:
            with service.runtime.db.transaction() as session:
                outcomes = reverse_entries(session, order, "duplicate", NOW)
                return sum(isinstance(outcome, Reversed) for outcome in outcomes)

        return run

    def more() -> int:
        later = [world.served(one, "2026-04-02 09:00", "2026-04-02 10:00") for one in people[::-1]]
        return -sum(isinstance(outcome, Entered) for outcome in enter(service, later))

    assert at_once([undo(ids), undo(ids[::-1]), more])[2] == -30
    assert ledger(service, world) == (60 * 30, 90, 60 * 30)


def test_two_long_transactions_that_hold_their_people_first_do_not_wait_in_a_circle(
    service: Volunteers, world: World
) -> None:
    people = world.add_volunteers(60)

    def work(order: list[UUID], day: int) -> Callable[[], int]:
        def run() -> int:
            entered = 0
            with service.runtime.db.transaction() as session:
                lock_volunteers(session, order)
                for start in range(0, len(order), 10):
                    part = [
                        world.served(one, f"2026-04-{day:02d} 09:00", f"2026-04-{day:02d} 10:00")
                        for one in order[start : start + 10]
                    ]
                    outcomes = log_hours(session, part, now=NOW)
                    entered += sum(isinstance(outcome, Entered) for outcome in outcomes)
            return entered

        return run

    assert at_once([work(people, 1), work(people[::-1], 2)]) == [60, 60]
    assert ledger(service, world) == (60 * 120, 120, 60 * 120)


def test_single_posts_that_arrive_together_each_get_their_own_answer(service: Volunteers, world: World) -> None:
    client = client_of(service)
    people = world.add_volunteers(8)
    good = [world.body(one, "2026-04-01 09:00", "2026-04-01 10:00") for one in people]
    bad = [body | {"minutes": 61} for body in good]

    def post(body: dict[str, object]) -> Callable[[], int]:
        return lambda: client.post("/v1/hours", json=body).status_code

    statuses = at_once([post(body) for body in [*good, *bad, *good]])
    assert sorted(statuses[:8] + statuses[16:]) == [200] * 8 + [201] * 8
    assert statuses[8:16] == [422] * 8
    assert ledger(service, world) == (60 * 8, 8, 60 * 8)
