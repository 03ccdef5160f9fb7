"""People, activities and workbooks of hours for tests; all of them invented."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from io import BytesIO
from typing import Any
from urllib.parse import quote

import openpyxl
import sqlalchemy as sa
from werkzeug.test import Client, TestResponse

from services.volunteers.commands.people import register_volunteer, verify_volunteer
from services.volunteers.imports_service import XLSX
from services.volunteers.service import Volunteers
from services.volunteers.workbooks import HoursRow, workbook_of
from tests.support.services import KEYS, client_of, make_service

SURNAMES, GIVEN = "赵钱孙李周吴郑王冯陈", "安宁康平和顺文武双全"
ACTIVITY = "HD-2020-0001"
DAY = date(2020, 3, 5)


def id_number(index: int) -> str:
    """Return a valid identity number of nobody, a different one for each index below 10,000."""
    body = f"440700{1980 + index // 1000:04d}0101{index % 1000:03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


def name_of(index: int) -> str:
    """Return an invented name."""
    return SURNAMES[index // 10 % 10] + GIVEN[index % 10] + GIVEN[index // 100 % 10]


def disposition(name: str) -> str:
    """Return the header by which a file is called so."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


@dataclass
class Office:
    """A service with one team, one activity over 2020 and some verified volunteers, and a client of it."""

    service: Volunteers
    client: Client

    def row(self, index: int = 0, day: date = DAY, starts: time = time(9), ends: time = time(11)) -> HoursRow:
        """Return a row without a mistake."""
        return HoursRow(name_of(index), id_number(index), "", ACTIVITY, day, starts, ends)

    def upload(self, data: bytes, **headers: str) -> TestResponse:
        """Send a workbook to be checked."""
        named = {"Content-Disposition": disposition("3月时数.xlsx"), **headers}
        return self.client.post("/v1/imports", data=data, content_type=XLSX, headers=named)

    def check(self, rows: Iterable[HoursRow]) -> dict[str, Any]:
        """Check rows as a workbook and return the import."""
        answer = self.upload(workbook_of(rows))
        assert answer.status_code == 201, answer.text
        shown: dict[str, Any] = answer.get_json()
        return shown

    def confirm(self, import_id: str, mode: str = "valid_rows") -> TestResponse:
        """Confirm an import."""
        return self.client.post(f"/v1/imports/{import_id}:confirm", json={"mode": mode})

    def undo(self, import_id: str) -> TestResponse:
        """Ask for an import to be undone."""
        return self.client.post(f"/v1/imports/{import_id}:undo")

    def work(self) -> None:
        """Do what a worker does each second, once."""
        for job in (self.service.run_confirmed_imports, self.service.run_requested_undos):
            with self.service.runtime.db.transaction() as session:
                job(session)

    def shown(self, import_id: str) -> dict[str, Any]:
        """Return an import as GET shows it."""
        answer = self.client.get(f"/v1/imports/{import_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.get_json()
        return found

    def enter(self, rows: Sequence[HoursRow], mode: str = "valid_rows") -> dict[str, Any]:
        """Check, confirm and enter rows; return the import."""
        import_id = self.check(rows)["id"]
        assert self.confirm(import_id, mode).status_code == 202
        self.work()
        return self.shown(import_id)

    def result(self, import_id: str) -> openpyxl.Workbook:
        """Return the user's own file as it comes back."""
        answer = self.client.get(f"/v1/imports/{import_id}/result.xlsx")
        assert answer.status_code == 200, answer.text
        return openpyxl.load_workbook(BytesIO(answer.get_data()))

    def number(self, statement: str, **parameters: Any) -> int:
        """Return the one number that a SELECT gives."""
        with self.service.runtime.db.transaction() as session:
            return int(session.scalar(sa.text(statement), parameters) or 0)

    def minutes(self) -> int:
        """Return the minutes in the ledger."""
        return self.number("SELECT sum(minutes) FROM ledger_entries")

    def entries(self) -> int:
        """Return how many entries and reversals the ledger has."""
        return self.number("SELECT count(*) FROM ledger_entries")

    def empty(self) -> None:
        """Remove hours, imports and events; people and activities stay."""
        with self.service.runtime.db.as_owner() as session:
            kept = ("ledger_entries", "hour_claims", "reversal_requests")
            for table in kept:
                session.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            session.execute(
                sa.text(f"TRUNCATE import_progress, imports, service_spans, outbox, jobs, {', '.join(kept)}")
            )
            for table in kept:
                session.execute(sa.text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def open_office(database_url: str, people: int = 12) -> Office:
    """Return an office on a migrated database."""
    service = make_service(Volunteers, database_url)
    now = datetime.now(UTC)
    with service.runtime.db.transaction() as session:
        session.execute(sa.text("INSERT INTO known_units (code, kind, revision) VALUES ('U1', 'middle_school', 1)"))
        session.execute(
            sa.text("INSERT INTO teams (code, name, unit_code, created_at) VALUES ('T1', '一队', 'U1', now())")
        )
        session.execute(
            sa.text(
                "INSERT INTO activities (id, number, title, team_code, unit_code, category, starts_at, ends_at, place,"
                " created_at) VALUES (gen_random_uuid(), :number, '敬老', 'T1', 'U1', 'care', '2020-01-01',"
                " '2020-12-31', '社区', now())"
            ),
            {"number": ACTIVITY},
        )
        for index in range(people):
            form = {
                "name": name_of(index),
                "id_type": "01",
                "id_number": id_number(index),
                "phone": f"139{index:08d}",
                "unit_code": "U1",
            }
            verify_volunteer(session, register_volunteer(session, KEYS, form, now=now), now=now)
    return Office(service, client_of(service))


def with_mistakes(office: Office) -> list[HoursRow]:
    """Return ten rows, four of them with a mistake each of another kind, and one that repeats another."""
    good = [office.row(index) for index in range(5)]
    wrong_digit = id_number(6)[:17] + ("7" if id_number(6)[17] != "7" else "3")
    return [
        *good,
        replace(office.row(6), id_number=wrong_digit),
        replace(office.row(7), name="赵无极"),
        replace(office.row(8), activity="HD-2020-9999"),
        replace(office.row(0), starts=time(10), ends=time(12)),
        good[1],
    ]
