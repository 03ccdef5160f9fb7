"""55-67: files that are no plain workbook of hours, sent to the import; a refused one leaves no import."""

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, time

import pytest

from services.volunteers.imports_service import FILE_LIMIT, XLSX
from services.volunteers.workbooks import workbook_of
from tests.integration.bad_inputs.problems import check_problem
from tests.integration.bad_inputs.scene import Tables
from tests.support.imports import Office, disposition, id_number, name_of, open_office
from tests.support.xlsx import GOOD, HEADERS, hours, repacked, row_with

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
PLAIN = hours(GOOD)
CSV = "姓名,身份证号\r\n赵安安,440700198001010005\r\n"
PARTS_LINK = b'<?xml version="1.0"?><Relationships><Relationship Id="r9" Type="http://x/image" Target="file:///etc/passwd" TargetMode="External"/></Relationships>'  # noqa: E501
#: Whose data are in the files.
HIDDEN = ["赵安安", "440700198001010005", "/etc/passwd"]


def archive(**members: bytes | str) -> bytes:
    """Return a zip with these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()


@dataclass(frozen=True)
class Case:
    """One file and the answer that it gets."""

    number: int
    what: str
    data: Callable[[], bytes]
    status: int
    code: str
    says: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.number:02} {self.what}"


def fixed(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def bomb() -> bytes:
    return repacked(PLAIN, {"xl/media/a.xml": b" " * 30_000_000})


CASES = [
    Case(55, "a zip bomb", bomb, 422, "import.zip_bomb", ('"reason":"ratio"',)),
    Case(55, "a zip in it", fixed(repacked(PLAIN, {"xl/media/a.zip": b"x"})), 422, "import.zip_bomb", ("nested",)),
    Case(
        55, "a zip in it under another name", fixed(repacked(PLAIN, {"xl/media/a.png": archive(a="x")})), 422,
        "import.zip_bomb", ("nested",),
    ),
    Case(
        55, "1001 entries", fixed(repacked(PLAIN, {f"xl/{n}.txt": b"" for n in range(1001)})), 422, "import.zip_bomb",
        ("entries",),
    ),
    Case(55, "an entry beside the folder", fixed(repacked(PLAIN, {"../a.xml": b"<x/>"})), 422, "import.zip_bomb"),
    Case(55, "an entity of XML", fixed(
        repacked(PLAIN, {"xl/a.xml": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'})
    ), 422, "import.unreadable"),
    Case(56, "a password", fixed(OLE + "EncryptedPackage".encode("utf-16-le")), 422, "import.encrypted", (".xlsx",)),
    Case(56, "a legacy .xls", fixed(OLE), 422, "import.legacy_xls", ("save it as .xlsx", "另存为 .xlsx")),
    Case(57, "macros", fixed(repacked(PLAIN, {"xl/vbaProject.bin": b"x"})), 422, "import.macros"),
    Case(
        57, "a link to another file", fixed(repacked(PLAIN, {"xl/externalLinks/externalLink1.xml": b"<x/>"})), 422,
        "import.external_links",
    ),
    Case(57, "a picture from outside", fixed(
        repacked(PLAIN, {"xl/worksheets/_rels/sheet9.xml.rels": PARTS_LINK})
    ), 422, "import.external_links"),
    Case(
        58, "a column missing", fixed(hours(GOOD[:3] + GOOD[4:], headers=HEADERS[:3] + HEADERS[4:])), 422,
        "import.columns", ("活动编号",),
    ),
    Case(
        58, "a column renamed", fixed(hours(GOOD, headers=[{"活动编号": "活动编码"}.get(h, h) for h in HEADERS])), 422,
        "import.columns", ("活动编号", "活动编码", "D1"),
    ),
    Case(
        58, "a column twice", fixed(hours((*GOOD, "HD-1"), headers=(*HEADERS, "活动编号"))), 422, "import.columns",
        ("duplicated", "J1"),
    ),
    Case(58, "no headers", fixed(hours(("a", "b"), headers=("x", "y"))), 422, "import.no_header", ("活动编号",)),
    Case(58, "nothing below the headers", fixed(hours()), 422, "import.no_rows"),
    Case(65, "a file over 20 MiB", fixed(b"PK\x03\x04" + b"x" * FILE_LIMIT), 413, "body.too_large"),
    Case(66, "a CSV in GBK", fixed(CSV.encode("gbk")), 422, "import.not_xlsx", ('"content":"text"',)),
    Case(66, "a CSV in UTF-8", fixed(CSV.encode()), 422, "import.not_xlsx", ('"content":"text"',)),
    Case(66, "a web page", fixed(b"<html><table><tr><td>1</td></tr></table>"), 422, "import.not_xlsx", ("html",)),
    Case(66, "a program", fixed(b"MZ\x90\0\x03\0\0\0"), 422, "import.not_xlsx"),
    Case(66, "nothing", fixed(b""), 422, "import.not_xlsx"),
    Case(66, "half a workbook", fixed(PLAIN[: len(PLAIN) // 2]), 422, "import.unreadable"),
]  # fmt: skip

NUMBERS = {case.number for case in CASES} | {59, 61, 64, 67}


@pytest.fixture(scope="module")
def office(database: str) -> Iterator[Office]:
    """An office with some verified volunteers."""
    opened = open_office(database)
    yield opened
    opened.service.runtime.db.close()


@pytest.fixture(scope="module")
def tables(database: str) -> Iterator[Tables]:
    """What is in its tables."""
    opened = Tables(database)
    yield opened
    opened.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_file_that_is_no_plain_workbook_is_refused_and_leaves_nothing(
    office: Office, tables: Tables, written: io.StringIO, case: Case
) -> None:
    with tables.unchanged():
        answer = office.upload(case.data())
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=case.status, code=case.code, says=case.says, hidden=HIDDEN,
    )  # fmt: skip
    assert not any(value in written.getvalue() for value in HIDDEN)


@pytest.mark.parametrize(
    ("number", "what", "row", "cell", "code", "says"),
    [
        (59, "a wrong cell", {"服务日期": "2020-02-30"}, "E2", "cell.not_date", "日期"),
        (61, "digits lost by Excel", {"身份证号": 4.40700198001010e17}, "B2", "id_number.invalid", "文本"),
        (61, "digits lost, as a text", {"身份证号": "4.407E+17"}, "B2", "id_number.invalid", "文本"),
        (67, "a formula that was never calculated", {"服务日期": "=TODAY()"}, "E2", "cell.formula_not_calculated", ""),
    ],
)
def test_a_wrong_row_is_told_by_its_cell_and_cannot_be_entered(
    office: Office, tables: Tables, written: io.StringIO,
    number: int, what: str, row: dict[str, object], cell: str, code: str, says: str,
) -> None:  # fmt: skip
    with tables.unchanged("volunteers.imports", "volunteers.audit_log", "volunteers.audit_head"):
        answer = office.upload(hours(row_with(**row)))
    assert (answer.status_code, answer.content_type) == (201, "application/json; charset=utf-8"), (number, what)
    checked = answer.get_json()
    (error,) = [error for error in checked["errors"] if error["code"] == code]
    assert error["cell"] == cell
    assert says in error["detail"]
    with tables.unchanged():
        confirmed = office.confirm(checked["id"])
    check_problem(
        confirmed.status_code, confirmed.headers["Content-Type"], confirmed.get_data(as_text=True),
        expected=409, code="import.nothing_valid",
    )  # fmt: skip
    assert not any(value in written.getvalue() for value in HIDDEN)


def test_64_the_same_file_twice_is_refused_with_the_first_import(office: Office, tables: Tables) -> None:
    row = office.row(1, date(2020, 5, 5), time(9), time(10))
    first = office.enter([row])
    with tables.unchanged():
        answer = office.upload(workbook_of([row]))
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True),
        expected=409, code="import.seen_before", says=(first["id"], f"/v1/imports/{first['id']}"),
        hidden=[name_of(1), id_number(1)],
    )  # fmt: skip


def called(name: str) -> dict[str, str]:
    return {"Content-Disposition": disposition(name)}


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        ("/v1/imports", {"content_type": "text/csv", "data": b"x"}, 415, "body.wrong_type"),
        ("/v1/imports", {"content_type": "multipart/form-data; boundary=x", "data": b"--x--"}, 415, "body.wrong_type"),
        ("/v1/imports", {"content_type": XLSX, "data": PLAIN, "headers": called("x" * 201)}, 400, "body.file_name"),
        ("/v1/imports", {"content_type": XLSX, "data": PLAIN, "headers": called("a\0b")}, 400, "body.file_name"),
        ("/v1/imports?filename=a", {"content_type": XLSX, "data": PLAIN}, 400, "query.invalid"),
    ],
)
def test_a_file_sent_the_wrong_way_is_refused(
    office: Office, tables: Tables, path: str, options: dict[str, object], status: int, code: str
) -> None:
    with tables.unchanged():
        answer = office.client.post(path, **options)  # type: ignore[arg-type]
    check_problem(
        answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True), expected=status, code=code
    )


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "C:\\a\\b.xlsx", 'a"; filename="b', "=cmd|' /C calc'!A0"])
def test_a_file_name_is_text_and_no_place(office: Office, name: str) -> None:
    rows = [office.row(2, date(2020, 6, 1 + abs(hash(name)) % 27), time(9), time(10))]
    answer = office.client.post("/v1/imports", headers=called(name), data=workbook_of(rows), content_type=XLSX)
    assert answer.status_code == 201, answer.text
    shown = answer.get_json()
    assert shown["file_name"] == name
    result = office.client.get(f"/v1/imports/{shown['id']}/result.xlsx")
    disposition = result.headers["Content-Disposition"]
    assert result.status_code == 200
    assert disposition.count("filename=") == 1
    assert disposition.isascii()
    assert ".." not in disposition or "%2F" in disposition
