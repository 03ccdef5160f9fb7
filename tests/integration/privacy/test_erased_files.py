"""A workbook that names who was erased is emptied, entered or not: it is sealed with another key than the person's."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, time
from typing import Any
from uuid import UUID

import pytest

from services.volunteers import sealed
from services.volunteers.commands import erasure, imports
from services.volunteers.workbooks import HoursRow
from tests.support.imports import Office, id_number, name_of, open_office, workbook_of
from tests.support.services import KEYS, fetch, waits_for_a_lock
from tests.support.threads import Begun
from tests.support.waiting import wait_for
from xinhuo.chassis.db import database_now

_KEPT = "workbook IS NOT NULL OR preview IS NOT NULL OR outcomes IS NOT NULL OR file_name IS NOT NULL"


@pytest.fixture(scope="module")
def office(database: str) -> Iterator[Office]:
    made = open_office(database)
    yield made
    made.service.runtime.db.close()


def erase(office: Office, index: int) -> None:
    with office.service.runtime.db.transaction() as session:
        one = erasure.not_erased(session, [person_of(office, index)])
        assert len(one) == 1
        erasure.erase(session, one, database_now(session), "test")


def person_of(office: Office, index: int) -> UUID:
    number = sealed.id_number_index(KEYS, "01", id_number(index))
    [row] = fetch(office.service, "SELECT id FROM volunteers WHERE id_number_index = :number", number=number)
    found: UUID = row["id"]
    return found


def kept(office: Office, import_id: str) -> dict[str, Any]:
    [found] = fetch(office.service, f"SELECT state, {_KEPT} AS kept FROM imports WHERE id = :id", id=import_id)  # noqa: S608
    return found


def wrong(office: Office, index: int) -> HoursRow:
    """Return a row of somebody that is refused: a year before the activity."""
    return office.row(index, date(2019, 3, 5))


def test_a_file_that_was_never_entered_is_emptied_with_whom_it_names(office: Office) -> None:
    named, refused, other = ([office.row(1)], [wrong(office, 1), office.row(2)], [office.row(3)])
    files = [office.check(rows)["id"] for rows in (named, refused, other)]
    assert all(kept(office, one)["kept"] for one in files)
    erase(office, 1)
    assert [kept(office, one)["kept"] for one in files] == [False, False, True]


def test_a_file_that_a_worker_still_needs_is_emptied_when_it_is_through(office: Office) -> None:
    day = date(2020, 4, 6)
    rows = [office.row(4, day, time(9), time(10)), office.row(5, day, time(9), time(10))]
    one = office.check(rows)["id"]
    assert office.confirm(one).status_code == 202
    erase(office, 4)
    assert kept(office, one) == {"state": "confirmed", "kept": True}
    office.work()
    assert kept(office, one) == {"state": "done", "kept": False}
    assert office.shown(one)["refused"] == 1, "the person is unknown by then, the other's hours are entered"


def test_a_name_alone_is_nobodys(office: Office) -> None:
    """Who has the same name and another number is not who was erased."""
    row = replace(office.row(6), id_number=id_number(7), name=name_of(7))
    one = office.check([row])["id"]
    erase(office, 6)
    assert kept(office, one)["kept"]


def test_who_is_erased_while_a_file_that_names_him_is_checked_is_in_no_file(office: Office) -> None:
    """The erasure does not see the file yet, and the file is not kept before the erasure is through."""
    db, data = office.service.runtime.db, workbook_of([wrong(office, 8)])
    with db.transaction() as session:
        one = str(imports.check_import(session, KEYS, data, None, now=database_now(session)))
        erasing = Begun(lambda: erase(office, 8))
        wait_for(lambda: erasing.is_done() or waits_for_a_lock(office.service))
    erasing.result()
    assert not kept(office, one)["kept"]

    other = person_of(office, 9)
    data = workbook_of([wrong(office, 9)])
    with db.transaction() as session:
        erasure.erase(session, erasure.not_erased(session, [other]), database_now(session), "test")
        checking = Begun(lambda: office.upload(data))
        wait_for(lambda: checking.is_done() or waits_for_a_lock(office.service))
    assert not kept(office, checking.result().get_json()["id"])["kept"]
