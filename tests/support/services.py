"""One service on a database, without broker and server: requests by a test client, events by the ladder."""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from werkzeug.test import Client

from tests.support.identity import let_in
from xinhuo.chassis import ladder, parked
from xinhuo.chassis.config import Settings, load
from xinhuo.chassis.db import Database, rows
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.ladder import Delivery
from xinhuo.chassis.markers import Subscription, marked
from xinhuo.chassis.security import Keys
from xinhuo.chassis.service import Runtime, Service
from xinhuo.chassis.topology import queue_name
from xinhuo.chassis.web.app import HttpApp
from xinhuo.cli.build import retention
from xinhuo.contracts import codec
from xinhuo.contracts.base import Event

S = TypeVar("S", bound=Service)

_MASTER = bytes(range(32))
KEYS = Keys(_MASTER)


def make_service(service_class: type[S], database_url: str) -> S:
    """Return a service with a runtime of its own on a migrated database; close ``runtime.db`` at the end."""
    # How often strangers may ask is tested by itself; here hundreds of them ask within a second.
    settings: Settings = load({"DATABASE_URL": database_url, "XINHUO_RATE_OF_STRANGERS": "0"})
    service = service_class()
    database = Database(settings.database_url_of(service_class.name), service_class.name)
    service.runtime = Runtime(settings, database, KEYS, retention=retention())
    return service


def write_keys(path: Path) -> None:
    """Write these keys' file, for a process that serves what was entered in this one."""
    path.write_text(base64.b64encode(_MASTER).decode())
    path.chmod(0o600)


def client_of(service: Service) -> Client:
    """Return a client that sends requests to a service in this process, and may do everything."""
    return Client(HttpApp(service, enter=let_in))


def make_app(service_class: type[Service], database_url: str) -> Client:
    """Return a client of a new service on a migrated database."""
    return client_of(make_service(service_class, database_url))


def delivery_of(event: Event, *, event_id: UUID | None = None) -> Delivery:
    """Return an event as it comes from the broker."""
    envelope = codec.Envelope(
        id=event_id or new_id(),
        time=datetime.now(UTC),
        data=event,
        source=codec.source_of(event.publisher),
        subject=event.subject,
    )
    body = codec.encode(envelope)
    return Delivery(body, codec.decode(body))


def deliver(service: Service, method: str, deliveries: Iterable[Delivery]) -> None:
    """Give one batch of events to a subscription, as a worker does."""
    handler = queue_name(service.name, method)
    ladder.take(service.runtime.db, handler, getattr(service, method), list(deliveries))


def retry_parked(service: Service) -> int:
    """Make every parked event due and try it again, as a worker does when the time has come."""
    with service.runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE parked_events SET next_attempt_at = clock_timestamp()"))
    handlers = {
        queue_name(service.name, method): getattr(service, method) for method in marked(type(service), Subscription)
    }
    return parked.retry_parked(service.runtime.db, handlers)


def recorded(service: Service, topic: str | None = None) -> list[codec.Envelope]:
    """Return the events in a service's outbox in the order they were recorded."""
    with service.runtime.db.transaction() as session:
        payloads = session.scalars(sa.text("SELECT payload FROM outbox ORDER BY seq")).all()
    envelopes = [codec.decode(bytes(payload)) for payload in payloads]
    return [envelope for envelope in envelopes if topic in (None, envelope.type)]


def fetch(service: Service, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of a SELECT on a service's database."""
    with service.runtime.db.transaction() as session:
        return rows(session.execute(sa.text(statement), parameters))


def waits_for_a_lock(service: Service) -> bool:
    """Tell whether somebody waits for a lock of PostgreSQL in a service's database."""
    waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with service.runtime.db.as_owner() as connection:  # the service's role is not shown what others wait for
        return bool(connection.execute(sa.text(waits)).all())


def empty_tables(service: Service, names: Sequence[str]) -> None:
    """Empty the named tables of a service, and the chassis tables that hold events."""
    chassis = ("outbox", "inbox", "parked_events", "dead_letters", "dead_letter_actions")
    with service.runtime.db.as_owner() as connection:
        connection.execute(sa.text(f"TRUNCATE {', '.join((*names, *chassis))} RESTART IDENTITY"))
