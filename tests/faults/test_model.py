"""Whatever is logged, reversed, delivered, repeated and shuffled: the system ends where a simple model of it ends.

Runs on real PostgreSQL without a broker: events are taken from the outboxes and handed to the handlers as a broker
might, in any order and several times. XINHUO_TEST_MODEL=500x50 asks for 500 runs of 50 steps.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from services.awards.service import Awards
from services.notify.service import Notify
from services.volunteers.commands import hours
from services.volunteers.models import Entered, Existing, Reversed, Served
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World
from tests.support.services import deliver, fetch, make_service, retry_parked
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.service import Service
from xinhuo.contracts import codec

RUNS, STEPS = (int(number) for number in os.environ.get("XINHUO_TEST_MODEL", "12x30").split("x"))
STAR_MINUTES = tuple(number * 60 for number in (100, 300, 600, 1000, 1500))
HOURS = ("volunteers.hours_logged.v1", "volunteers.hours_reversed.v1")
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=-8)
PEOPLE = 2

#: Set by the test below: hypothesis makes the machines itself.
services: dict[str, Service] = {}


class Office(RuleBasedStateMachine):
    """Two people, whose days are logged and taken back, while events arrive as they like."""

    @initialize()
    def open(self) -> None:
        volunteers = services["volunteers"]
        assert isinstance(volunteers, Volunteers)
        self.service = volunteers
        self.world = World(volunteers)
        self.people = self.world.add_volunteers(PEOPLE)
        self.since = {name: self.last(name) for name in ("volunteers", "awards")}
        self.in_force: dict[tuple[int, int], tuple[UUID, int]] = {}
        self.entries: dict[UUID, int] = {}
        self.reversed: set[UUID] = set()

    @rule(person=st.integers(0, PEOPLE - 1), day=st.integers(0, 14), length=st.sampled_from([60, 600, 1200]))
    def log(self, person: int, day: int, length: int) -> None:
        start = FIRST_DAY + timedelta(days=day)
        served = Served(self.people[person], self.world.activity_id, start, start + timedelta(minutes=length))
        with self.service.runtime.db.transaction() as session:
            [outcome] = hours.log_hours(session, [served], now=NOW)
        known = self.in_force.get((person, day))
        if known is None:
            assert isinstance(outcome, Entered)
            self.in_force[person, day] = (outcome.entry.id, length)
            self.entries[outcome.entry.id] = person
        else:
            assert isinstance(outcome, Existing) == (known[1] == length)
            assert not isinstance(outcome, Entered)

    @rule(luck=st.integers(0, 1000))
    def reverse(self, luck: int) -> None:
        if not self.entries:
            return
        entry = sorted(self.entries)[luck % len(self.entries)]
        with self.service.runtime.db.transaction() as session:
            [outcome] = hours.reverse_entries(session, [entry], "wrong_time", NOW)
        assert isinstance(outcome, Reversed) == (entry not in self.reversed)
        self.reversed.add(entry)
        self.in_force = {key: kept for key, kept in self.in_force.items() if kept[0] != entry}

    @rule(luck=st.integers(0, 2**32), share=st.floats(0.1, 1.0), times=st.integers(1, 3))
    def deliver_some(self, luck: int, share: float, times: int) -> None:
        """Some of the events there ever were, perhaps again, in any order, to each handler by itself."""
        chance = random.Random(luck)
        for handler in ("keep_statistics", "add_to_tally", "acknowledge_hours", "acknowledge_star"):
            events = self.events_for(handler)
            some = [event for event in events if chance.random() < share for _ in range(times)]
            chance.shuffle(some)
            deliver(self.home_of(handler), handler, some)

    @rule()
    def try_parked_again(self) -> None:
        retry_parked(services["awards"])

    def teardown(self) -> None:
        if not hasattr(self, "people"):
            return
        for _ in range(2):  # the second time, everything is a repetition
            for handler in ("keep_statistics", "add_to_tally", "acknowledge_hours", "acknowledge_star"):
                deliver(self.home_of(handler), handler, self.events_for(handler))
            retry_parked(services["awards"])
        for person, volunteer in enumerate(self.people):
            self.check(person, volunteer)
        assert fetch(services["awards"], "SELECT 1 FROM parked_events") == []
        for service in services.values():
            # A reversal that waited for its entry three times in vain is one; delivered again, it had its effect.
            assert fetch(service, "SELECT * FROM dead_letters WHERE reason <> 'event.too_early'") == []

    # --- What it compares ---------------------------------------------------------------------------------

    def check(self, person: int, volunteer: UUID) -> None:
        minutes = sum(length for (who, _), (_, length) in self.in_force.items() if who == person)
        counted = sum(who == person for who, _ in self.in_force)
        mine = {"id": volunteer}
        [ledger] = fetch(
            self.service, "SELECT coalesce(sum(minutes), 0) AS n FROM ledger_entries WHERE volunteer_id = :id", **mine
        )
        [months] = fetch(
            self.service,
            "SELECT coalesce(sum(minutes), 0) AS n, coalesce(sum(entries), 0) AS entries FROM volunteer_months"
            " WHERE volunteer_id = :id",
            **mine,
        )
        tallies = fetch(services["awards"], "SELECT minutes FROM tallies WHERE volunteer_id = :id", **mine)
        stars = fetch(
            services["awards"],
            "SELECT star, withdrawn_at IS NULL AS held FROM stars WHERE volunteer_id = :id",
            **mine,
        )
        messages = fetch(
            services["notify"], "SELECT occasion, subject_id FROM messages WHERE volunteer_id = :id", **mine
        )
        assert int(ledger["n"]) == minutes
        assert (int(months["n"]), int(months["entries"])) == (minutes, counted)
        assert sum(tally["minutes"] for tally in tallies) == minutes
        held = {star["star"] for star in stars if star["held"]}
        assert held == {number for number, bound in enumerate(STAR_MINUTES, 1) if minutes >= bound}
        thanked = Counter(message["occasion"] for message in messages)
        assert thanked["hours_logged"] == sum(who == person for who in self.entries.values())
        assert thanked["star_earned"] == len(stars)

    def home_of(self, handler: str) -> Service:
        name = {"keep_statistics": "volunteers", "add_to_tally": "awards"}.get(handler, "notify")
        return services[name]

    def events_for(self, handler: str) -> list[Delivery]:
        wanted = {"acknowledge_hours": HOURS[:1], "acknowledge_star": ("awards.star_earned.v1",)}.get(handler, HOURS)
        publisher = wanted[0].partition(".")[0]
        rows = fetch(
            services[publisher],
            "SELECT payload FROM outbox WHERE seq > :since AND type = ANY(:types) ORDER BY seq",
            since=self.since[publisher],
            types=list(wanted),
        )
        return [Delivery(bytes(row["payload"]), codec.decode(bytes(row["payload"]))) for row in rows]

    @staticmethod
    def last(name: str) -> int:
        [row] = fetch(services[name], "SELECT coalesce(max(seq), 0) AS seq FROM outbox")
        return int(row["seq"])


@pytest.fixture
def running(database: str) -> Iterator[None]:
    for kind in (Volunteers, Awards, Notify):
        services[kind.name] = make_service(kind, database)
    yield
    for service in services.values():
        service.runtime.db.close()
    services.clear()


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("running")
def test_any_order_of_any_deliveries_ends_where_the_model_ends() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(
        max_examples=RUNS, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks, database=None
    )

    run_state_machine_as_test(Office, settings=profile)  # type: ignore[no-untyped-call]

    assert services["volunteers"].runtime.db.is_up()
