"""The same job in plain nameko, tutorial style: commit, then dispatch; ``@event_handler`` with its defaults."""

import json
import os

import sqlalchemy as sa
from nameko.events import EventDispatcher, event_handler
from nameko.extensions import DependencyProvider
from nameko.web.handlers import http


class Database(DependencyProvider):
    """Gives each worker a pooled connection's transaction."""

    def setup(self):
        pool = min(int(os.environ["BASELINE_WORKERS"]), 40)  # four processes share PostgreSQL's 200 connections
        self.engine = sa.create_engine(os.environ["BASELINE_DATABASE_URL"], pool_size=pool, max_overflow=0)
        self.engine.connect().close()  # else workers that start together race through SQLAlchemy's first connect

    def get_dependency(self, worker_ctx):
        return self.engine


class Volunteers:
    """Takes records over HTTP."""

    name = "volunteers"
    db = Database()
    dispatch = EventDispatcher()

    @http("POST", "/hours")
    def log_hours(self, request):
        record = json.loads(request.get_data(as_text=True))
        with self.db.begin() as connection:
            record["id"] = connection.execute(
                sa.text(
                    "INSERT INTO hours (volunteer_id, unit_code, team_code, category, month, started_at, minutes)"
                    " VALUES (:volunteer_id, :unit_code, :team_code, :category, :month, :started_at, :minutes)"
                    " RETURNING id"
                ),
                record,
            ).scalar_one()
        self.dispatch("hours_logged", record)
        return 201, json.dumps(record)


class Statistics:
    """Keeps the totals."""

    name = "statistics"
    db = Database()

    @event_handler("volunteers", "hours_logged")
    def count(self, record):
        with self.db.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO statistics VALUES (:month, :unit_code, :team_code, :category, :minutes, 1)"
                    " ON CONFLICT (month, unit_code, team_code, category) DO UPDATE"
                    " SET minutes = statistics.minutes + excluded.minutes, entries = statistics.entries + 1"
                ),
                record,
            )


class Awards:
    """Keeps each person's tally and star."""

    name = "awards"
    db = Database()

    @event_handler("volunteers", "hours_logged")
    def tally(self, record):
        with self.db.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO tallies VALUES (:volunteer_id, :minutes, 0) ON CONFLICT (volunteer_id) DO UPDATE"
                    " SET minutes = tallies.minutes + excluded.minutes,"
                    " star = ((tallies.minutes + excluded.minutes) >= 6000)::integer"
                ),
                record,
            )


class Notify:
    """Acknowledges each record."""

    name = "notify"
    db = Database()

    @event_handler("volunteers", "hours_logged")
    def acknowledge(self, record):
        record["text"] = f"已记录 {record['minutes']} 分钟"
        with self.db.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO acknowledgements (volunteer_id, hours_id, text) VALUES (:volunteer_id, :id, :text)"
                ),
                record,
            )
