"""The system under test: databases migrated, topology declared, people registered, processes started."""

import socket
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.volunteers.commands.people import register_volunteer, verify_volunteer
from services.volunteers.workbooks import HoursRow, workbook_of
from xinhuo.chassis import config, migrations
from xinhuo.chassis.adapters import amqp_topology
from xinhuo.chassis.identity.bearer import Bearer, KeyBearer
from xinhuo.chassis.ids import new_id
from xinhuo.chassis.key_file import create_key_file

from .. import build, installing
from ..sample.people import make_people
from .fleet import CommandOf, Fleet, Member, environment_for
from .load import Person, Scene

#: Two workers of the busiest service: one relays, one stands by; both consume.
PROCESSES = (
    ("volunteers", "api", ""),
    ("volunteers", "worker", "-1"),
    ("volunteers", "worker", "-2"),
    ("awards", "worker", ""),
    ("notify", "worker", ""),
    ("notify", "api", ""),
    ("portal", "api", ""),
)
#: Above all units: for it, hours are logged.
OFFICE = "TS"
UNITS, TEAMS, CATEGORIES = 12, 16, 5


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def real_command(service: str, role: str, port: int) -> list[str]:
    """Return the command that starts a process as ``xinhuo serve`` does."""
    return [sys.executable, "-m", "xinhuo.cli.process", service, "--role", role, "--port", str(port)]


class System:
    """Everything that one run needs, on a database and a virtual host of its own."""

    def __init__(self, amqp_uri: str, database_url: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = config.load({"AMQP_URI": amqp_uri, "DATABASE_URL": database_url}, data=folder)
        self._folder = folder
        self.ports: dict[str, int] = {}

    def prepare(self, people: int) -> Scene:
        """Migrate, declare, and register the people; return who they are."""
        create_key_file(build.key_path(self._settings))
        for name in config.SERVICES:
            db = build.database(name, self._settings)
            migrations.upgrade(db, build.versions_of(name))
            db.close()
        self._operator = installing.key_of_role(self._settings, "prove", "unit_operator", unit=OFFICE)
        self._auditor = installing.key_of_role(self._settings, "prove auditor", "auditor")
        assert self._settings.amqp_uri is not None  # noqa: S101  (given above; for the type checker)
        amqp_topology.declare(self._settings.amqp_uri, build.full_topology())
        return Scene(self._register(people), _workbook)

    def fleet(self, amqp_uri: str, database_url: str, command_of: CommandOf = real_command) -> Fleet:
        """Return the processes, not yet started, on the given way to broker and database."""
        members: list[Member] = []
        for service, role, suffix in PROCESSES:
            port = free_port()
            self.ports[f"{service}-{role}"] = port
            members.append(Member(f"{service}-{role}{suffix}", command_of(service, role, port), port))
        environment = environment_for(
            {
                "AMQP_URI": amqp_uri,
                "DATABASE_URL": database_url,
                "XINHUO_DATA": str(self._folder),
                "XINHUO_LOG_LEVEL": "warning",
                "XINHUO_PROVE": "1",
                "XINHUO_PORTAL_URL": self._portal,
            }
        )
        return Fleet(members, environment, self._folder)

    @property
    def operator(self) -> Bearer:
        """Who logs hours, imports and reverses."""
        return KeyBearer(self._portal, self._operator)

    @property
    def auditor(self) -> Bearer:
        """Who sees everything afterwards."""
        return KeyBearer(self._portal, self._auditor)

    @property
    def _portal(self) -> str:
        return f"http://127.0.0.1:{self.ports['portal-api']}"

    @property
    def addresses(self) -> dict[str, str]:
        """The base URLs of the services that answer requests."""
        return {name: f"http://127.0.0.1:{self.ports[f'{name}-api']}" for name in ("volunteers", "notify")}

    def _register(self, count: int) -> list[Person]:
        db = build.database("volunteers", self._settings)
        keys = build.keys_of(self._settings)
        teams = [(f"TS-YX-{number:02d}", f"TS-XX-{number % UNITS:02d}") for number in range(TEAMS)]
        try:
            with db.transaction() as session:
                _insert_units_and_teams(session, teams)
                activities = _insert_activities(session, teams)
                invented = make_people(teams)[0][:count]
                now = datetime.now(UTC)
                people = []
                for index, person in enumerate(invented):
                    form = {
                        "name": person.name, "id_type": "01", "id_number": person.id_number, "phone": person.phone,
                        "unit_code": person.unit_code, "guardian_consent": None,
                    }  # fmt: skip
                    volunteer_id = register_volunteer(session, keys, form, now=now)
                    verify_volunteer(session, volunteer_id, now=now)
                    activity_id, number = activities[index % TEAMS]
                    people.append(Person(str(volunteer_id), person.name, person.id_number, activity_id, number))
                return people
        finally:
            db.close()


def _insert_units_and_teams(session: Any, teams: Sequence[tuple[str, str]]) -> None:
    session.execute(
        sa.text(
            "INSERT INTO known_units SELECT code, 'primary', :office, 1 FROM unnest(CAST(:codes AS text[])) AS code"
        ),
        {"codes": sorted({unit for _, unit in teams}), "office": OFFICE},
    )
    session.execute(
        sa.text(
            "INSERT INTO teams SELECT code, code, unit, now()"
            " FROM unnest(CAST(:codes AS text[]), CAST(:units AS text[])) AS new (code, unit)"
        ),
        {"codes": [code for code, _ in teams], "units": [unit for _, unit in teams]},
    )


def _insert_activities(session: Any, teams: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    made = []
    for index, (code, unit) in enumerate(teams):
        activity_id, number = new_id(), f"HD-2016-{index + 1:04d}"
        session.execute(
            sa.text(
                "INSERT INTO activities (id, number, title, team_code, unit_code, category, starts_at, ends_at, place,"
                " created_at) VALUES (:id, :number, :number, :team, :unit, :category, '2016-01-01', '2026-01-01', '-',"
                " now())"
            ),
            {"id": activity_id, "number": number, "team": code, "unit": unit, "category": f"c{index % CATEGORIES}"},
        )
        made.append((str(activity_id), number))
    return made


def _workbook(rows: Sequence[tuple[Person, datetime, datetime]]) -> bytes:
    return workbook_of(
        HoursRow(
            person.name, person.id_number, "", person.activity_number,
            date(start.year, start.month, start.day), start.time(), end.time(),
        )
        for person, start, end in rows
    )  # fmt: skip
