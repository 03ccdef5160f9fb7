"""A small service for these tests, the events it takes, and what it and the broker hold afterwards."""

import os
import signal
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.support.identity import for_everybody
from xinhuo.chassis import migrations, outbox
from xinhuo.chassis.db import Database
from xinhuo.chassis.errors import PermanentEventError
from xinhuo.chassis.identity.rights import PUBLIC_RIGHT
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.markers import http, subscribe
from xinhuo.chassis.service import Service
from xinhuo.chassis.web import schema
from xinhuo.contracts import codec
from xinhuo.contracts.volunteers import HoursLogged

VERSIONS = Path(__file__).parent / "migrations"
SOME_ID = UUID("01890000-0000-7000-8000-000000000000")


class BadCategory(PermanentEventError):
    """The category can never be counted."""

    code = "tally.bad_category"
    title = "类别不可计"


class Sale(schema.Schema):
    """What `POST /v1/events` takes."""

    category = schema.Code(required=True)
    count = schema.Integer(load_default=1)


@for_everybody
class Tally(Service):
    """Counts categories; some categories do other things to it."""

    name = "tally"

    @http("POST", "/v1/events", right=PUBLIC_RIGHT, accepts=Sale, status=201)
    def record(self, session: Session, body: dict[str, Any]) -> None:
        """Record events."""
        for _ in range(body["count"]):
            outbox.record(session, event(body["category"]))

    @http("POST", "/v1/boom", right=PUBLIC_RIGHT, accepts=Sale)
    def boom(self, session: Session, body: dict[str, Any]) -> None:
        """Ask the database for a table that it has not got."""
        session.execute(sa.text("SELECT secret FROM persons WHERE phone = '0'"))

    @subscribe(HoursLogged)
    def count(self, session: Session, envelopes: list[codec.Envelope]) -> None:
        """Note each event, and do what its category says."""
        for envelope in envelopes:
            category = envelope.data.category
            if category == "raise":
                raise RuntimeError("no")
            if category == "never":
                raise BadCategory("never")
            if category == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if category == "compute":
                print("computing", flush=True)
                until = time.monotonic() + 3.5
                while time.monotonic() < until:
                    pass
            if category == "slow":
                print("began", flush=True)
                session.execute(sa.text("SELECT pg_sleep(1.5)"))
            session.execute(
                sa.text("INSERT INTO seen (category, note) VALUES (:category, :note)"),
                {"category": category, "note": str(envelope.id)},
            )


def database(url: str) -> Database:
    """Return the service's database."""
    return Database("postgresql+psycopg" + url[url.index(":") :], Tally.name, application="traps")


def migrated(url: str) -> Database:
    """Return the service's database with its tables made."""
    db = database(url)
    migrations.upgrade(db, VERSIONS)
    return db


def event(category: str) -> HoursLogged:
    """Return an event of a category."""
    return HoursLogged(
        entry_id=new_id(), volunteer_id=SOME_ID, team_code="T1", unit_code="U1", activity_id=SOME_ID,
        category=category, served_on=date(2020, 3, 5), minutes=60,
    )  # fmt: skip


def body_of(category: str) -> bytes:
    """Return an event of a category as it is on the wire."""
    sold = event(category)
    return codec.encode(
        codec.Envelope(
            id=new_id(), time=datetime.now(UTC), data=sold, source=codec.source_of(sold.publisher),
            subject=sold.subject,
        )
    )  # fmt: skip


def fetch(db: Database, statement: str, **parameters: Any) -> list[Any]:
    """Return the rows of a statement."""
    with db.transaction() as session:
        return list(session.execute(sa.text(statement), parameters).all())


def seen(db: Database) -> dict[str, int]:
    """Return how many events of each category had their effect."""
    return {row.category: row.count for row in fetch(db, "SELECT category, count(*) FROM seen GROUP BY 1")}


def clear(db: Database) -> None:
    """Forget everything that happened."""
    with db.as_owner() as connection:
        connection.execute(
            sa.text(
                "TRUNCATE seen, outbox, inbox, parked_events, dead_letters, dead_letter_actions, jobs, idempotency_keys"
            )
        )
