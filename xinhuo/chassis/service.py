"""What every service has: its runtime, and the housekeeping that keeps the chassis tables in shape."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from . import logs, partitions
from .audit_routes import AuditRoutes
from .config import Settings
from .db import Database, database_now
from .desk.routes import DeadLetterRoutes
from .identity.bearer import Bearer, NoBearer
from .identity.tokens import Verifier, no_keys
from .markers import job
from .security import Keys

log = logs.get("service")

#: How long the answer to an Idempotency-Key is kept; at least a day is promised.
KEEP_ANSWERS = timedelta(hours=48)


@dataclass
class Runtime:
    """What a running service needs from outside: settings, database, keys, what checks tokens, and its own token."""

    settings: Settings
    db: Database
    keys: Keys
    verifier: Verifier = field(default_factory=lambda: Verifier(no_keys))
    bearer: Bearer = field(default_factory=NoBearer)


class Service(DeadLetterRoutes, AuditRoutes):
    """Base of a service: subclasses set ``name`` and mark their methods; an adapter sets ``runtime``."""

    name: ClassVar[str]
    runtime: Runtime

    def refresh_gauges(self, session: Session) -> None:
        """Set gauges of the service's own from its database; called every few seconds in each worker."""

    def key_fits(self, session: Session) -> bool:
        """Tell whether what the service has encrypted was encrypted with this process's master key."""
        return True

    @job(every=timedelta(hours=1))
    def forget_old_answers(self, session: Session) -> None:
        """Remove stored answers to idempotency keys that are older than promised."""
        session.execute(
            sa.text("DELETE FROM idempotency_keys WHERE created_at < now() - CAST(:keep AS interval)"),
            {"keep": KEEP_ANSWERS},
        )

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
        today = database_now(session).date()
        for what, begins in (
            (partitions.OUTBOX, partitions.outbox_begins),
            (partitions.INBOX, partitions.inbox_begins),
        ):
            if names := partitions.expire(session, what, begins(today, months)):
                log.info("old_partitions_dropped", partitions=names)
