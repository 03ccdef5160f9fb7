"""What every service has: its runtime, and the housekeeping that keeps the chassis tables in shape."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from . import logs, partitions
from .audit_routes import AuditRoutes
from .config import Settings
from .db import Database, database_now
from .desk.routes import DeadLetterRoutes
from .identity.bearer import Bearer, NoBearer
from .identity.tokens import Verifier, no_keys
from .markers import job
from .metrics import Figure
from .retention.rules import Line, Retention, lines_of
from .retention.work import OF_EVERY_SERVICE, Removal, remove_due, report
from .security import Keys

log = logs.get("service")


@dataclass
class Runtime:
    """What a running service needs from outside: settings, database, keys, what checks tokens, and its own token."""

    settings: Settings
    db: Database
    keys: Keys
    verifier: Verifier = field(default_factory=lambda: Verifier(no_keys))
    bearer: Bearer = field(default_factory=NoBearer)
    retention: Retention = ()
    expected_revision: str = ""
    """The revision of the tables that this program was written for; empty when nobody is to be told."""


class Service(DeadLetterRoutes, AuditRoutes):
    """Base of a service: subclasses set ``name`` and mark their methods; an adapter sets ``runtime``."""

    name: ClassVar[str]
    removals: ClassVar[tuple[Removal, ...]] = ()
    """How what is due in the service's own tables is found and removed."""
    runtime: Runtime

    def refresh_gauges(self, session: Session) -> None:
        """Set gauges of the service's own from its database; called every few seconds in each worker."""

    def figures(self, session: Session) -> Iterable[Figure]:
        """Return what the service's tables say of the campaign; called every minute or less often, in one worker.

        Figures are removed from the metrics when they are no longer returned.
        """
        del session
        return ()

    def key_fits(self, session: Session) -> bool:
        """Tell whether what the service has encrypted was encrypted with this process's master key."""
        return True

    @job(every=timedelta(days=1), offset=timedelta(hours=19))  # three in the morning in China
    def remove_what_is_due(self, session: Session) -> None:
        """Remove what was kept as long as the rules of retention say, and report it."""
        removals = (*OF_EVERY_SERVICE, *self.removals)
        remove_due(self.runtime.db, self.retention_lines(session), removals, self._zone, session)

    def due(self, session: Session) -> list[tuple[Line, int | None]]:
        """Return each line of retention with how many rows it would remove now; None where none go by it."""
        now, months = database_now(session), self.runtime.settings.keep_events_months
        ways = {(removal.table, removal.rule): removal for removal in (*OF_EVERY_SERVICE, *self.removals)}
        begins = {what.table: (what, first) for what, first in partitions.KEPT_BY_MONTHS}
        found: list[tuple[Line, int | None]] = []
        for line in self.retention_lines(session):
            count = None
            if line.period is not None:
                limit = line.period.before(now, self._zone)
                count = ways[line.table, line.rule].count(session, limit, self._zone)
            elif line.keep == "event_months" and months:
                what, first = begins[line.table]
                count = partitions.rows_before(session, what, first(now.date(), months))
            found.append((line, count))
        return found

    def retention_lines(self, session: Session) -> Sequence[Line]:
        """Return the lines of the rules of retention that hold today for this service's tables."""
        return lines_of(self.runtime.retention, self.name, self._today(session))

    def _today(self, session: Session) -> date:
        return database_now(session).astimezone(self._zone).date()

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.runtime.settings.time_zone)

    @job(every=timedelta(days=1))
    def make_partitions(self, session: Session) -> None:
        """Create the partitions of outbox and inbox of the months to come."""
        today = database_now(session).date()
        for what in (partitions.OUTBOX, partitions.INBOX):
            partitions.ensure(session, what, today)

    @job(every=timedelta(hours=1))
    def drop_old_partitions(self, session: Session) -> None:
        """Drop what is older than the months of events that the office keeps; by itself, nothing is."""
        if not (months := self.runtime.settings.keep_events_months):
            return
        now = database_now(session)
        lines = {line.table: line for line in self.retention_lines(session)}
        for what, begins in partitions.KEPT_BY_MONTHS:
            before = begins(now.date(), months)
            going = partitions.rows_that_go(session, what, before)
            if names := partitions.expire(session, what, before):
                log.info("old_partitions_dropped", partitions=names)
            if going and what.table in lines:
                report(session, lines[what.table], going, now, self._zone)
