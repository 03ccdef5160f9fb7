"""Checking a workbook: every row is tried for real, nothing is entered, mistakes are told by cell."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, time, timedelta

import openpyxl
import pytest
import sqlalchemy as sa

from services.volunteers.imports_service import FILE_LIMIT, XLSX
from services.volunteers.workbooks import HoursRow, workbook_of
from tests.support.imports import (
    ACTIVITY,
    Office,
    id_number,
    name_of,
    open_office,
    with_mistakes,
)
from tests.support.services import fetch
from tests.support.xlsx import hours, repacked, row_with

MOST_PROBLEMS = 100


@pytest.fixture(scope="module")
def whole_office(database: str) -> Iterator[Office]:
    """An office with twelve verified volunteers."""
    opened = open_office(database)
    yield opened
    opened.service.runtime.db.close()


@pytest.fixture
def office(whole_office: Office) -> Office:
    """The same office without hours and imports."""
    whole_office.empty()
    return whole_office


def test_the_template_is_given_as_a_file_to_save(office):
    answer = office.client.get("/v1/imports/template.xlsx")
    assert (answer.status_code, answer.content_type) == (200, XLSX)
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert openpyxl.load_workbook(io.BytesIO(answer.get_data())).sheetnames[0] == "服务时数"


def test_every_mistake_is_told_by_its_cell_and_nothing_is_entered(office):
    shown = office.check(with_mistakes(office))
    assert (shown["state"], shown["rows"], shown["valid"], shown["invalid"]) == ("checked", 10, 6, 4)
    assert [(error["cell"], error["row"], error["code"]) for error in shown["errors"]] == [
        ("B7", 7, "id_number.check_digit"),
        ("A8", 8, "import.name_mismatch"),
        ("D9", 9, "activity.unknown"),
        ("F10", 10, "hours.overlap"),
    ]
    assert {error["sheet"] for error in shown["errors"]} == {"服务时数"}
    assert "第 2 行" in shown["errors"][3]["detail"]
    assert shown["counts"] == {error["code"]: 1 for error in shown["errors"]}
    assert (shown["problems"], shown["existing"], shown["file_name"]) == (4, 1, "3月时数.xlsx")
    assert (office.entries(), office.number("SELECT count(*) FROM outbox")) == (0, 0)
    assert office.number("SELECT count(*) FROM service_spans") == 0


def test_the_answer_says_where_the_import_is(office):
    answer = office.upload(workbook_of([office.row()]))
    assert answer.headers["Location"] == f"/v1/imports/{answer.get_json()['id']}"
    assert office.client.get(answer.headers["Location"]).get_json() == answer.get_json()


@pytest.mark.parametrize(
    ("change", "cell", "code"),
    [
        ({"id_number": id_number(99)}, "B2", "volunteer.unknown"),
        ({"id_number": 4.40700198001010e17}, "B2", "id_number.invalid"),
        ({"id_number": "", "volunteer": "V00000000000"}, "C2", "volunteer.unknown"),
        ({"id_number": ""}, "B2", "cell.person_required"),
        ({"name": name_of(3)}, "A2", "import.name_mismatch"),
        ({"activity": "HD-1"}, "D2", "activity.unknown"),
        ({"served_on": date(2019, 12, 30)}, "E2", "hours.outside_activity"),
        ({"served_on": date(2020, 12, 30), "minutes": 121}, "H2", "hours.invalid"),
        ({"ends": time(8)}, "G2", "cell.crosses_midnight"),
        ({"served_on": "2020-02-30"}, "E2", "cell.not_date"),
    ],
)
def test_a_rule_is_told_in_the_cell_that_breaks_it(office, change, cell, code):
    shown = office.check([replace(office.row(0), **change)])
    assert [(error["cell"], error["code"]) for error in shown["errors"]] == [(cell, code)]
    assert (shown["valid"], shown["invalid"]) == (0, 1)


def test_a_person_may_be_named_by_number_and_both_must_agree(office):
    numbers = fetch(office.service, "SELECT volunteer_no FROM volunteers ORDER BY registered_at, id")
    by_number = replace(office.row(0), id_number="", volunteer=numbers[0]["volunteer_no"].lower())
    other = replace(office.row(1), volunteer=numbers[0]["volunteer_no"])
    shown = office.check([by_number, other])
    assert [(error["cell"], error["code"]) for error in shown["errors"]] == [("C3", "import.person_mismatch")]


def test_hours_in_the_ledger_stand_in_the_way_or_count_as_there_already(office):
    office.enter([office.row(0)])
    shown = office.check([office.row(0), office.row(0, starts=time(10), ends=time(12))])
    assert (shown["existing"], shown["invalid"]) == (1, 1)
    assert shown["errors"][0]["code"] == "hours.overlap"
    assert str(fetch(office.service, "SELECT id FROM ledger_entries")[0]["id"]) in shown["errors"][0]["detail"]
    assert f"{office.row(0).served_on} 09:00–11:00" in shown["errors"][0]["detail"]


def test_a_name_may_be_spaced_out_to_make_the_columns_even(office):
    spaced = "\u3000".join(office.row(0).name)
    assert office.check([replace(office.row(0), name=spaced)])["valid"] == 1


def test_only_verified_volunteers_can_be_entered(office):
    with office.service.runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE volunteers SET state = 'suspended' WHERE unit_code = 'U1'"))
    shown = office.check([office.row(0)])
    with office.service.runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE volunteers SET state = 'verified' WHERE unit_code = 'U1'"))
    assert [(error["cell"], error["code"]) for error in shown["errors"]] == [("B2", "volunteer.not_verified")]


def test_a_hundred_mistakes_are_shown_and_all_are_counted(office):
    shown = office.check([replace(office.row(0), activity=f"X-{n}") for n in range(130)])
    assert (len(shown["errors"]), shown["problems"]) == (MOST_PROBLEMS, 130)
    assert shown["counts"] == {"activity.unknown": 130}


def test_warnings_are_told(office):
    data = hours(row_with(), change=lambda sheet: setattr(sheet.row_dimensions[2], "hidden", True))
    shown = office.upload(data).get_json()
    assert [(one["code"], one["count"], one["places"]) for one in shown["warnings"]] == [("rows.hidden", 1, ["2"])]


def test_what_is_stored_shows_nobody(office):
    rows = with_mistakes(office)
    office.check(rows)
    (stored,) = fetch(office.service, "SELECT imports::text AS text, workbook, preview, outcomes FROM imports")
    kept = str(stored).encode()
    for secret in (rows[0].id_number, rows[0].name, "3月时数", "最后一位"):
        assert str(secret).encode() not in kept
    assert all(bytes(stored[name]).startswith(b"a1.") for name in ("workbook", "preview", "outcomes"))


# --- Refusals


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "import.not_xlsx"),
        (b"a,b\n1,2\n", 422, "import.not_xlsx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, 422, "import.legacy_xls"),
        (repacked(hours(row_with()), {"xl/vbaProject.bin": b"x"}), 422, "import.macros"),
        (hours(row_with(), headers=["姓名", "身份证号"]), 422, "import.columns"),
        (hours(row_with(), headers=["a"]), 422, "import.no_header"),
        (hours(), 422, "import.no_rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_leaves_nothing(office, data, status, code):
    answer = office.upload(data)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert office.number("SELECT count(*) FROM imports") == 0


def test_a_file_too_large_or_of_another_type_is_refused_before_it_is_read(office):
    large = office.client.post("/v1/imports", data=b"x" * (FILE_LIMIT + 1), content_type=XLSX)
    assert (large.status_code, large.get_json()["code"]) == (413, "body.too_large")
    other = office.client.post("/v1/imports", data=b"x", content_type="text/csv")
    assert other.status_code == 415


def test_a_file_of_many_more_rows_than_allowed_is_refused(office):
    # The edge itself, 100,000 and 100,001, is tried where the limit can be set lower.
    rows = b"".join(b'<row r="%d"><c r="A%d"><v>1</v></c></row>' % (n, n) for n in range(2, 100_020))
    data = repacked(hours(), replace={"xl/worksheets/sheet1.xml": (b"</sheetData>", rows + b"</sheetData>")})
    answer = office.upload(data)
    assert (answer.status_code, answer.get_json()["code"]) == (413, "import.too_many_rows")


@pytest.mark.parametrize("path", ["", ":confirm", ":undo", "/result.xlsx"])
def test_an_import_that_is_not_there_is_not_found(office, path):
    url = f"/v1/imports/0198c0de-0000-7000-8000-000000000000{path}"
    answer = (
        office.client.post(url, json={"mode": "all"})
        if path.startswith(":c")
        else (office.client.post(url) if path.startswith(":") else office.client.get(url))
    )
    assert (answer.status_code, answer.get_json()["code"]) == (404, "import.not_found")


def test_imports_are_listed_newest_first_by_pages(office):
    ids = [office.check([office.row(0, starts=time(hour), ends=time(hour + 1))])["id"] for hour in range(3)]
    first = office.client.get("/v1/imports?limit=2").get_json()
    rest = office.client.get(f"/v1/imports?limit=2&after={first['after']}").get_json()
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert "errors" not in first["items"][0]
    assert office.client.get("/v1/imports?state=done").get_json()["items"] == []
    assert office.client.get("/v1/imports?state=lost").status_code == 400


def test_the_same_key_gets_the_same_answer_again(office):
    data = workbook_of([office.row()])
    first = office.upload(data, **{"Idempotency-Key": "k-1"})
    again = office.upload(data, **{"Idempotency-Key": "k-1"})
    assert first.get_json() == again.get_json()
    assert office.number("SELECT count(*) FROM imports") == 1


def test_a_row_of_the_sample_file_is_whole(office):
    shown = office.check(
        HoursRow(name_of(n), id_number(n), "", ACTIVITY, date(2020, 3, 5) + timedelta(days=n), "9：00", "11时")
        for n in range(5)
    )
    assert (shown["valid"], shown["errors"]) == (5, [])
