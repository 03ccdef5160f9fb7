"""The same job in plain nameko, tutorial style: commit, then dispatch; ``@event_handler`` with its defaults.

Nothing is done to make it worse. Each handler also notes which record it counted, so that what is lost and what
is counted twice can be told apart.
"""

import json
import os
from typing import Any

import sqlalchemy as sa
from nameko.events import EventDispatcher, event_handler
from nameko.extensions import DependencyProvider
from nameko.web.handlers import http

_COUNTED = sa.text("INSERT INTO counted (effect, hours_id) VALUES (:effect, :id)")


class Database(DependencyProvider):  # type: ignore[misc,unused-ignore]
    """Gives each worker the engine of its process."""

    def setup(self) -> None:
        """Make the engine."""
        self.engine = sa.create_engine(os.environ["PLAIN_DATABASE_URL"], pool_size=10, max_overflow=0)

    def get_dependency(self, _worker_ctx: Any) -> sa.Engine:
        """Return the engine."""
        return self.engine


class Volunteers:
    """Takes records over HTTP."""

    name = "volunteers"
    db = Database()
    dispatch = EventDispatcher()

    @http("POST", "/hours")  # type: ignore[untyped-decorator]
    def log_hours(self, request: Any) -> tuple[int, str]:
        """Write a record, then tell the others."""
        record = json.loads(request.get_data(as_text=True))
        with self.db.begin() as connection:
            record["id"] = connection.execute(
                sa.text(
                    "INSERT INTO hours (volunteer_id, started_at) VALUES (:volunteer_id, :started_at) RETURNING id"
                ),
                record,
            ).scalar_one()
        self.dispatch("hours_logged", record)
        return 201, json.dumps(record)


class Statistics:
    """Keeps the totals."""

    name = "statistics"
    db = Database()

    @event_handler("volunteers", "hours_logged")  # type: ignore[untyped-decorator]
    def count(self, record: dict[str, Any]) -> None:
        """Count one record."""
        with self.db.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO statistics VALUES (:unit_code, 1) ON CONFLICT (unit_code)"
                    " DO UPDATE SET entries = statistics.entries + 1"
                ),
                record,
            )
            connection.execute(_COUNTED, {"effect": "statistics", "id": record["id"]})


class Awards:
    """Keeps each person's tally."""

    name = "awards"
    db = Database()

    @event_handler("volunteers", "hours_logged")  # type: ignore[untyped-decorator]
    def tally(self, record: dict[str, Any]) -> None:
        """Add one record."""
        with self.db.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO tallies VALUES (:volunteer_id, :minutes) ON CONFLICT (volunteer_id)"
                    " DO UPDATE SET minutes = tallies.minutes + excluded.minutes"
                ),
                record,
            )
            connection.execute(_COUNTED, {"effect": "tally", "id": record["id"]})


class Notify:
    """Acknowledges each record."""

    name = "notify"
    db = Database()

    @event_handler("volunteers", "hours_logged")  # type: ignore[untyped-decorator]
    def acknowledge(self, record: dict[str, Any]) -> None:
        """Write one acknowledgement."""
        with self.db.begin() as connection:
            connection.execute(_COUNTED, {"effect": "acknowledgement", "id": record["id"]})
