"""Xinhuo's side: the real services with all their rules on, as separate processes, and an exact check of effects."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from tests.support.processes import free_port
from tests.support.waiting import wait_for
from xinhuo.chassis import config, migrations
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.security import create_key_file, load_keys
from xinhuo.cli import build

from .records import Figures, Load, make_load, send, wait_for_effects

PROCESSES = (("volunteers", "worker"), ("awards", "worker"), ("notify", "worker"), ("volunteers", "api"))
_UNPUBLISHED = sa.text("SELECT count(*) FROM volunteers.outbox WHERE public AND public_published_at IS NULL")
UNITS, TEAMS, CATEGORIES = 40, 25, 8
_EFFECTS = sa.text(
    "SELECT (SELECT count(*) FROM volunteers.ledger_entries),"
    " (SELECT coalesce(sum(entries), 0) FROM volunteers.statistics_cells),"
    " (SELECT coalesce(sum(minutes), 0) FROM volunteers.statistics_cells),"
    " (SELECT coalesce(sum(minutes), 0) FROM awards.tallies),"
    " (SELECT count(*) FROM notify.messages)"
)


class System:
    """The services that do the job, on one broker and one database, with people and activities to log hours for."""

    def __init__(self, amqp_uri: str, database_url: str, folder: Path, volunteers: int) -> None:
        self._settings = config.load({"AMQP_URI": amqp_uri, "DATABASE_URL": database_url}, data=folder)
        self._engine = sa.create_engine(database_url)
        self._folder = folder
        self._people = [new_id() for _ in range(volunteers)]
        self._activities = [new_id() for _ in range(TEAMS)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._sent_slots = 0
        self._port = 0

    def __enter__(self) -> "System":
        """Migrate, declare, register and start; wait until every process is ready."""
        self._folder.mkdir()
        create_key_file(build.key_path(self._settings))
        for name in config.SERVICES:
            migrations.upgrade(build.database(name, self._settings), build.versions_of(name))
        assert self._settings.amqp_uri is not None
        amqp_topology.declare(self._settings.amqp_uri, build.full_topology())
        self._register()
        ports = [self._start(name, role) for name, role in PROCESSES]
        self._port = ports[-1]
        for (name, role), port in zip(PROCESSES, ports, strict=True):
            wait_for(lambda port=port: _is_ready(port), 30, f"{name} {role} to be ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)
        self._engine.dispose()

    def run_round(self, count: int) -> Figures:
        """Send records, one a POST, and wait for every effect; raises AssertionError when one is wrong."""
        load = make_load(count, len(self._people), first_slot=self._sent_slots)
        self._sent_slots += -(-count // len(self._people))
        before = self._effects()
        sent = send(self._port, "/v1/hours", self._bodies(load), load.connections)
        gain = (count, count, load.minutes, load.minutes, count)
        expected = tuple(have + more for have, more in zip(before, gain, strict=True))
        figures = wait_for_effects(sent, self._effects, expected)
        # The public copies are a lane of their own: its lag stands beside, and none of its work is left for others.
        waited_from = time.monotonic()
        wait_for(lambda: not self._unpublished(), 60, "the public copies to be published")
        lag = time.monotonic() - waited_from
        return Figures(count / figures.total_seconds, figures.request_seconds, figures.total_seconds, lag)

    def _unpublished(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(_UNPUBLISHED).scalar_one())

    def _effects(self) -> tuple[int, ...]:
        with self._engine.connect() as connection:
            return tuple(int(value) for value in connection.execute(_EFFECTS).one())

    def _bodies(self, load: Load) -> list[bytes]:
        return [
            json.dumps(
                {
                    "volunteer_id": str(self._people[record.volunteer]),
                    "activity_id": str(self._activities[record.volunteer % TEAMS]),
                    "started_at": record.started_at,
                    "ended_at": record.ended_at,
                    "minutes": record.minutes,
                }
            ).encode()
            for record in load.records
        ]

    def _register(self) -> None:
        """Enter units, teams, activities and verified people; their personal columns hold no person."""
        keys = load_keys(build.key_path(self._settings))
        with self._engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL search_path = volunteers, public"))
            connection.execute(
                sa.text("INSERT INTO known_units SELECT 'U' || n, 'other', NULL, 1 FROM generate_series(0, :n) AS n"),
                {"n": UNITS - 1},
            )
            connection.execute(
                sa.text("INSERT INTO teams SELECT 'T' || n, 'T', 'U' || n, now() FROM generate_series(0, :n) AS n"),
                {"n": TEAMS - 1},
            )
            _insert_activities(connection, self._activities)
            connection.execute(
                sa.text(
                    "INSERT INTO volunteers SELECT id, 'V' || n, 'verified', 'U' || (n % :units), '01', :name, 'a1.',"
                    " 'a1.', NULL, int8send(n), int8send(n), now(), now()"
                    " FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS new (id, n)"
                ),
                {"ids": self._people, "units": UNITS, "name": keys.encrypt("某", "volunteers.name")},
            )

    def _start(self, name: str, role: str) -> int:
        port = free_port()
        environment = {
            **os.environ,
            "AMQP_URI": self._settings.amqp_uri or "",
            "DATABASE_URL": self._settings.database_url or "",
            "XINHUO_DATA": str(self._folder),
            "XINHUO_LOG_LEVEL": "warning",
        }
        command: list[Any] = [sys.executable, "-m", "xinhuo.cli.process", name, "--role", role, "--port", str(port)]
        with (self._folder / f"{name}-{role}.log").open("wb") as output:
            self._processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        return port


def _insert_activities(connection: sa.Connection, activities: list[UUID]) -> None:
    connection.execute(
        sa.text(
            "INSERT INTO activities SELECT id, 'HD-2026-' || n, 'T', 'T' || (n - 1), 'U' || (n - 1),"
            " 'c' || (n % :categories), NULL, NULL, '2026-01-01', '2026-12-31', 'P', now()"
            " FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS new (id, n)"
        ),
        {"ids": activities, "categories": CATEGORIES},
    )


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
