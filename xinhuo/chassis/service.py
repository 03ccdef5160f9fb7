"""What every service has: its runtime, and the housekeeping that keeps the chassis tables in shape."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from . import tables
from .config import Settings
from .db import Database, database_now
from .desk.routes import DeadLetterRoutes
from .markers import job
from .security import Keys

#: How long the answer to an Idempotency-Key is kept; at least a day is promised.
KEEP_ANSWERS = timedelta(hours=48)


@dataclass
class Runtime:
    """What a running service needs from outside: its settings, database and keys."""

    settings: Settings
    db: Database
    keys: Keys


class Service(DeadLetterRoutes):
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
    def make_inbox_partitions(self, session: Session) -> None:
        """Create the inbox partitions of the months to come."""
        tables.ensure_inbox_partitions(session, database_now(session).date())
