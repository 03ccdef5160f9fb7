"""What the bad inputs are tried on: all services on one database with a little of everything in it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from werkzeug.test import Client, TestResponse

from services.awards.service import Awards
from services.notices.service import Notices
from services.notify.service import Notify
from services.volunteers.service import Volunteers
from tests.support.hours import World, id_number, person
from tests.support.notices import PHRASE_NUMBER_6, draft, issue, register_units
from tests.support.services import client_of, deliver, delivery_of, make_service, recorded
from xinhuo.contracts.notices import NoticeIssued

SCHEMAS = ["notices", "volunteers", "awards", "notify"]

YEARS_AGO_13 = datetime.now(UTC).date() - timedelta(days=13 * 365)
State = dict[str, tuple[int, str | None]]


class Tables:
    """Reads what is in every table of every service, so that a test can say that nothing changed."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)
        names = self._connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2",
            [SCHEMAS],
        ).fetchall()
        assert {schema for schema, _ in names} == set(SCHEMAS)
        assert sum(name == "outbox" for _, name in names) == len(SCHEMAS)
        parts = [
            sql.SQL("SELECT {}, count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t").format(
                f"{schema}.{name}", sql.Identifier(schema, name)
            )
            for schema, name in names
        ]
        self._everything = sql.SQL(" UNION ALL ").join(parts)

    def state(self) -> State:
        """Return the number of rows of every table, and a hash of what they hold."""
        return {name: (rows, hashed) for name, rows, hashed in self._connection.execute(self._everything).fetchall()}

    @contextmanager
    def unchanged(self, *but: str) -> Iterator[None]:
        """Check that what happens in the block leaves no trace in any table but the named ones."""
        before = self.state()
        yield
        after = self.state()
        changed = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
        assert {name: rows for name, rows in changed.items() if name not in but} == {}

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@dataclass
class Scene:
    """The services, a client of each, and what there is to get wrong."""

    services: dict[str, Any]
    clients: dict[str, Client]
    tables: Tables
    world: World
    volunteer: UUID
    pending: UUID
    child: UUID
    busy: UUID
    entry: UUID
    notice: UUID

    def hours(self, **changes: Any) -> dict[str, Any]:
        """Return service time without a mistake, with some fields changed."""
        return {**self.world.body(self.volunteer, "2026-03-05 09:00", "2026-03-05 11:00"), **changes}

    def send(self, service: str, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        """Send a request; a body that is no bytes goes as JSON."""
        if body is None or isinstance(body, bytes):
            options.setdefault("content_type", "application/json" if body is not None else None)
            return self.clients[service].open(path, method=method, data=body, **options)
        return self.clients[service].open(path, method=method, data=json.dumps(body).encode(),
                                          content_type="application/json", **options)  # fmt: skip

    def close(self) -> None:
        """Close every connection."""
        self.tables.close()
        for service in self.services.values():
            service.runtime.db.close()


def open_scene(database_url: str) -> Scene:
    """Fill a migrated database: units and an issued notice, a team, volunteers, an entry of two hours."""
    services = {
        kind.name: make_service(kind, database_url)
        for kind in (Notices, Volunteers, Awards, Notify)  # type: ignore[type-abstract]
    }
    clients = {name: client_of(service) for name, service in services.items()}
    register_units(clients["notices"])
    notice = answer_of(draft(clients["notices"]), 201)["id"]
    answer_of(issue(clients["notices"], notice), 200)
    (issued,) = recorded(services["notices"], NoticeIssued.topic)
    volunteers = services["volunteers"]
    deliver(volunteers, "open_categories", [delivery_of(issued.data)])
    world = World(volunteers)
    volunteer, busy = world.add_volunteers(2)
    (pending,) = world.add_volunteers(1, verified=False)
    child = person(world.unit_code, id_number=id_number(YEARS_AGO_13))
    waits = UUID(answer_of(clients["volunteers"].post("/v1/volunteers", json=child), 201)["id"])
    scene = Scene(
        services, clients, Tables(database_url), world, volunteer, pending, waits, busy, busy, UUID(notice)
    )  # fmt: skip
    logged = scene.send(
        "volunteers", "POST", "/v1/hours", world.body(busy, "2026-03-05 00:00", "2026-03-05 23:30", 1400)
    )
    scene.entry = UUID(answer_of(logged, 201)["id"])
    return scene


def answer_of(answer: TestResponse, status: int) -> Mapping[str, Any]:
    """Check the status and return the JSON."""
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json, dict)
    return answer.json


__all__ = ["PHRASE_NUMBER_6", "Scene", "Tables", "answer_of", "open_scene"]
