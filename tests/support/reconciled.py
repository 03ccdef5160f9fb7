"""Three services that agree on a small campaign, for tests that plant a difference between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from services.awards.service import Awards
from services.notify.service import Notify
from services.volunteers.commands.hours import log_hours, reverse_entries
from services.volunteers.models import Entered
from services.volunteers.service import Volunteers
from tests.support.hours import NOW, World
from tests.support.services import deliver, make_service, recorded
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.reconcile.books import DatabaseSource
from xinhuo.chassis.reconcile.results import Result
from xinhuo.chassis.service import Service
from xinhuo.contracts import codec

NO_PATIENCE = timedelta(0)


@dataclass
class Three:
    """The services whose tables are compared."""

    volunteers: Volunteers
    awards: Awards
    notify: Notify

    def results(self, patience: timedelta = NO_PATIENCE) -> dict[str, Result]:
        """Make every comparison and return the results by name."""
        sources = {
            service.name: DatabaseSource(service.runtime.db, getattr(service, "books", {}))
            for service in (self.volunteers, self.awards)
        }
        made: list[Result] = []
        for service in (self.volunteers, self.awards, self.notify):
            made += service.compare_tables(patience)
            made += service.compare_copies(sources, patience)
        return {result.comparison: result for result in made}

    def wrong(self, patience: timedelta = NO_PATIENCE) -> dict[str, Result]:
        """Return the results that found a difference."""
        return {name: result for name, result in self.results(patience).items() if not result.equal}

    def run(self, service: str, *statements: str, **parameters: Any) -> None:
        """Change tables as somebody with a superuser's rights could."""
        owner: Service = getattr(self, service)
        with owner.runtime.db.as_owner() as session:
            session.execute(sa.text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                session.execute(sa.text(statement), parameters)

    def publish(self, service: str) -> None:
        """Say of every event that it was published."""
        self.run(service, "UPDATE outbox SET published_at = clock_timestamp() WHERE published_at IS NULL")

    def log(self, people: int = 3, days: int = 5) -> World:
        """Enter whole days for some people, enough for a star, and take one day of each back."""
        world = World(self.volunteers)
        served = [
            world.served(person, f"2026-03-{day:02d} 00:00", f"2026-03-{day + 1:02d} 00:00", 1440)
            for person in world.add_volunteers(people)
            for day in range(1, days + 1)
        ]
        with self.volunteers.runtime.db.transaction() as session:
            outcomes = log_hours(session, served, now=NOW)
        entries = [outcome.entry.id for outcome in outcomes if isinstance(outcome, Entered)]
        assert len(entries) == people * days
        with self.volunteers.runtime.db.transaction() as session:
            reverse_entries(session, entries[:: days * 2], "wrong_time", NOW)
        return world

    def deliver_everything(self) -> None:
        """Let every event have every effect."""
        hours = [one for one in deliveries(self.volunteers) if "hours" in one.envelope.type]
        deliver(self.volunteers, "keep_statistics", hours)
        deliver(self.awards, "add_to_tally", hours)
        logged = [one for one in hours if one.envelope.type.endswith("hours_logged.v1")]
        deliver(self.notify, "acknowledge_hours", logged)
        stars = [one for one in deliveries(self.awards) if "star_earned" in one.envelope.type]
        deliver(self.notify, "acknowledge_star", stars)
        self.publish("volunteers")
        self.publish("awards")


def deliveries(service: Service) -> list[Delivery]:
    """Return what a service recorded as it comes from the broker."""
    return [Delivery(codec.encode(envelope), envelope) for envelope in recorded(service)]


@contextmanager
def three_services(database_url: str) -> Iterator[Three]:
    """Give the services on a migrated database."""
    three = Three(*(make_service(each, database_url) for each in (Volunteers, Awards, Notify)))  # type: ignore[arg-type]
    yield three
    for service in (three.volunteers, three.awards, three.notify):
        service.runtime.db.close()
