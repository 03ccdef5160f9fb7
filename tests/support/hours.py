"""Volunteers, teams and activities for tests; invented people with valid check digits."""

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from werkzeug.test import Client

from services.volunteers.commands import activities as activity_commands
from services.volunteers.commands import people, teams
from services.volunteers.models import Served
from services.volunteers.service import Volunteers
from tests.support.services import deliver, delivery_of
from xinhuo.contracts.notices import UnitRegistered

_serial = itertools.count(1)

#: A moment after everything that the tests log.
NOW = datetime(2026, 6, 1, 4, 0, tzinfo=UTC)


#: The unit above all that the tests let the service hear of.
OFFICE = "U-0"


def local(text: str) -> datetime:
    """Return an instant written as office time: 2026-03-05 09:00."""
    return datetime.fromisoformat(f"{text}:00+08:00")


def id_number(born: date = date(1990, 1, 1)) -> str:
    """Return an identity number that nobody else in this run has."""
    body = f"440781{born:%Y%m%d}{next(_serial) % 1000:03d}"
    # GB 11643-1999, by its definition: the weight of a place is 2 to its power, modulo 11.
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(body))
    return body + "10X98765432"[total % 11]


def person(unit_code: str, **fields: Any) -> dict[str, Any]:
    """Return what registers an invented person."""
    number = next(_serial)
    # The day of birth moves on after every thousand people, so that numbers stay apart.
    born = date(1980, 1, 1) + timedelta(days=number // 900)
    return {
        "name": "测试员甲",
        "id_number": id_number(born),
        "phone": f"1420001{number % 10000:04d}",
        "unit_code": unit_code,
        **fields,
    }


def know_units(service: Volunteers, *codes: str) -> None:
    """Let the service hear of these units."""
    events = [UnitRegistered(unit_code=code, kind="middle_school", parent_code=OFFICE) for code in codes]
    deliver(service, "follow_units", [delivery_of(event) for event in events])


class World:
    """One unit with one team and one activity that lasts all of 2026, made anew for each test."""

    def __init__(self, service: Volunteers) -> None:
        serial = next(_serial)
        self.service = service
        self.unit_code = f"U-{serial}"
        self.team_code = f"T-{serial}"
        know_units(service, self.unit_code)
        with service.runtime.db.transaction() as session:
            form = {"code": self.team_code, "name": "测试队", "unit_code": self.unit_code}
            teams.create_team(session, form, now=NOW)
        self.activity_id = self.add_activity()

    def add_activity(self, **fields: Any) -> UUID:
        """Register another activity of the team."""
        form = {
            "title": "清洁家园",
            "team_code": self.team_code,
            "category": "community",
            "starts_at": local("2025-12-01 00:00"),
            "ends_at": local("2026-12-31 00:00"),
            "place": "社区广场",
            **fields,
        }
        with self.service.runtime.db.transaction() as session:
            return activity_commands.create_activity(session, form, now=NOW)

    def add_volunteers(self, count: int, *, verified: bool = True) -> list[UUID]:
        """Register people of the unit."""
        with self.service.runtime.db.transaction() as session:
            made = [
                people.register_volunteer(
                    session, self.service.runtime.keys, {"id_type": "01", **person(self.unit_code)}, now=NOW
                )
                for _ in range(count)
            ]
            if verified:
                for volunteer_id in made:
                    people.verify_volunteer(session, volunteer_id, now=NOW)
        return made

    def served(
        self,
        volunteer_id: UUID,
        start: str,
        end: str,
        minutes: int | None = None,
        *,
        activity_id: UUID | None = None,
    ) -> Served:
        """Return time served at the activity, given as office time."""
        return Served(volunteer_id, activity_id or self.activity_id, local(start), local(end), minutes)

    def body(
        self, volunteer_id: UUID, start: str, end: str, minutes: int | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Return the same as a body of POST /v1/hours."""
        body: dict[str, Any] = {
            "volunteer_id": str(volunteer_id),
            "activity_id": str(self.activity_id),
            "started_at": local(start).isoformat(),
            "ended_at": local(end).isoformat(),
            **fields,
        }
        return body if minutes is None else {**body, "minutes": minutes}


def log(client: Client, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
    """Post one body of hours, check the status and return the answer."""
    answer = client.post("/v1/hours", json=body)
    assert answer.status_code == status, answer.get_data(as_text=True)
    found = answer.json
    assert isinstance(found, dict)
    return found
