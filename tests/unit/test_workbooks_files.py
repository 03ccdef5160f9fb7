"""Files that are no plain .xlsx workbook are refused by name; the template, and the user's own file given back."""

import io
import subprocess
import sys
import zipfile
from datetime import date, time, timedelta

import openpyxl
import pytest
from openpyxl.comments import Comment
from openpyxl.styles import PatternFill

from services.volunteers import domain, workbooks
from services.volunteers.domain import workbooks as errors
from services.volunteers.workbooks import HoursRow, Outcome, Outcomes, jail, marker, package, reader
from services.volunteers.workbooks.columns import COLUMNS
from services.volunteers.workbooks.results import Finding
from tests.support.xlsx import GOOD, HEADERS, TODAY, hours, repacked, row_with, saved
from xinhuo.chassis.errors import RuleError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
PLAIN = hours(GOOD)
RELATIONS = b'<?xml version="1.0"?><Relationships>%s</Relationships>'
OUTSIDE = b'<Relationship Id="r9" Type="http://x/%s" Target="http://x.invalid/a" TargetMode="External"/>'


def refused(data):
    """Return the code and the extras with which a file is refused."""
    with pytest.raises(RuleError) as caught:
        reader.read(data, TODAY)
    return caught.value.code, caught.value.extra


def archive(**members):
    """Return a zip with these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "code", "extra"),
    [
        (b"", "import.not_xlsx", {"content": "empty"}),
        ("姓名,身份证号\r\n赵安安,x\r\n".encode(), "import.not_xlsx", {"content": "text"}),
        ("姓名,身份证号\r\n赵安安,x\r\n".encode("gbk"), "import.not_xlsx", {"content": "text"}),
        (b"<html><table><tr><td>1</td></tr></table></html>", "import.not_xlsx", {"content": "html"}),
        (b"MZ\x90\0\x03\0\0\0", "import.not_xlsx", {"content": "unknown"}),
        (b"Rar!\x1a\x07\x01\0", "import.not_xlsx", {"content": "archive"}),
        (archive(**{"a.txt": "x"}), "import.not_xlsx", {"content": "archive"}),
        (OLE, "import.legacy_xls", {}),
        (b"\x09\x08\x10\0\0\x06\x05\0", "import.legacy_xls", {}),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "import.encrypted", {}),
        (PLAIN[: len(PLAIN) // 2], "import.unreadable", {}),
        (b"PK\x03\x04" + b"x" * 99, "import.unreadable", {}),
        (repacked(PLAIN, {"xl/vbaProject.bin": b"x"}), "import.macros", {}),
        (repacked(PLAIN, {"xl/macrosheets/sheet1.xml": b"<x/>"}), "import.macros", {}),
        (repacked(PLAIN, {"xl/externalLinks/externalLink1.xml": b"<x/>"}), "import.external_links", {}),
        (repacked(PLAIN, {"xl/connections.xml": b"<x/>"}), "import.external_links", {}),
        (repacked(PLAIN, {"xl/embeddings/a.bin": b"x"}), "import.external_links", {}),
        (repacked(PLAIN, {"xl/printerSettings/p.bin": OLE}), "import.external_links", {}),
        (repacked(PLAIN, {"xl/d/_rels/a.rels": RELATIONS % (OUTSIDE % b"image")}), "import.external_links", {}),
        (repacked(PLAIN, {"xl/media/a.zip": b"x"}), "import.zip_bomb", {"reason": "nested"}),
        (repacked(PLAIN, {"xl/media/a.png": archive(a="x")}), "import.zip_bomb", {"reason": "nested"}),
        (repacked(PLAIN, {"xl/a.xml": b" " * 3_000_000}), "import.zip_bomb", {"reason": "ratio"}),
        (repacked(PLAIN, {f"xl/{n}.txt": b"" for n in range(1001)}), "import.zip_bomb", {"reason": "entries"}),
        (repacked(PLAIN, {"../a.xml": b"<x/>"}), "import.zip_bomb", {"reason": "names"}),
        (repacked(PLAIN, {"/etc/a.xml": b"<x/>"}), "import.zip_bomb", {"reason": "names"}),
        (repacked(PLAIN, {"xl\\a.xml": b"<x/>"}), "import.zip_bomb", {"reason": "names"}),
        (repacked(PLAIN, {"XL/Workbook.xml": b"<x/>"}), "import.zip_bomb", {"reason": "names"}),
        (repacked(PLAIN, {"xl/a.xml": b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}), "import.unreadable", {}),
        (
            repacked(PLAIN, {"xl/a.xml": "<!DOCTYPE a []><a/>".encode("utf-16")}),
            "import.unreadable",
            {},
        ),
        (repacked(PLAIN, replace={"xl/workbook.xml": (b"sheetId", b"&lol; sheetId")}), "import.unreadable", {}),
    ],
)
def test_a_file_that_is_no_plain_workbook_is_refused_by_name(data, code, extra):
    assert refused(data) == (code, extra)


def test_a_hyperlink_in_a_cell_is_nothing_to_refuse():
    data = repacked(PLAIN, {"xl/worksheets/_rels/sheet9.xml.rels": RELATIONS % (OUTSIDE % b"hyperlink")})
    assert len(reader.read(data, TODAY).rows) == 1


def test_the_unpacked_size_is_limited(monkeypatch):
    monkeypatch.setattr(package, "MOST_UNPACKED", 5_000)
    assert refused(repacked(PLAIN, {"xl/a.txt": bytes(range(256)) * 20})) == ("import.zip_bomb", {"reason": "size"})


def test_a_size_that_lies_is_found_by_unpacking():
    data = repacked(PLAIN, {"xl/a.txt": b"0123456789" * 50})
    place = data.rindex(b"xl/a.txt") - 46
    lying = data[: place + 24] + (100).to_bytes(4, "little") + data[place + 28 :]
    assert refused(lying)[0] == "import.unreadable"


def test_one_row_more_than_a_file_may_have_is_refused(monkeypatch):
    monkeypatch.setattr(reader, "MOST_ROWS", 3)
    assert len(reader.read(hours(GOOD, GOOD, GOOD), TODAY).rows) == 3
    with pytest.raises(errors.TooManyRows) as caught:
        reader.read(hours(GOOD, GOOD, GOOD, GOOD), TODAY)
    assert (caught.value.status, caught.value.code) == (413, "import.too_many_rows")


# --- The process of its own


def test_the_child_reads_what_is_read_here():
    data = hours(GOOD, row_with(服务日期="x"))
    assert workbooks.read_workbook(data, today=TODAY) == reader.read(data, TODAY)


def test_the_child_s_refusal_is_raised_here_with_its_extras():
    with pytest.raises(errors.ColumnsWrong) as caught:
        workbooks.read_workbook(hours(GOOD, headers=HEADERS[:5]), today=TODAY)
    assert [item["column"] for item in caught.value.extra["columns"]] == ["开始时间", "结束时间"]


def test_a_child_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setitem(jail._MODULES, "reader", 0.01)
    with pytest.raises(errors.WorkbookTooComplex):
        workbooks.read_workbook(PLAIN, today=TODAY)


def test_a_child_that_takes_too_much_memory_is_ended(monkeypatch):
    run = subprocess.run
    source = (
        "from services.volunteers.workbooks import jail, reader; jail.MEMORY = 300 * 1024 * 1024\n"
        "jail.main(lambda data: bytes(400 * 1024 * 1024))"
    )
    monkeypatch.setattr(subprocess, "run", lambda args, **options: run([sys.executable, "-c", source], **options))
    with pytest.raises(errors.WorkbookTooComplex):
        workbooks.read_workbook(PLAIN, today=TODAY)


def test_a_child_that_fails_tells_class_and_line_but_nothing_of_the_file(monkeypatch, capsys):
    run = subprocess.run
    source = "from services.volunteers.workbooks import jail\ndef work(data): raise KeyError(data)\njail.main(work)"
    monkeypatch.setattr(subprocess, "run", lambda args, **options: run([sys.executable, "-c", source], **options))
    with pytest.raises(errors.WorkbookUnreadable):
        jail.run("reader", b"440700198001010005")
    told = capsys.readouterr()
    assert "440700198001010005" not in told.out + told.err


def test_the_child_inherits_no_secrets(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    assert not any("secret" in value for value in jail._environment().values())


def test_when_too_many_files_are_being_read_the_next_is_told_to_wait(monkeypatch):
    monkeypatch.setattr(jail, "_WAIT_SECONDS", 0)
    with jail._slot(), jail._slot(), pytest.raises(jail.WorkbooksBusy) as caught:
        workbooks.read_workbook(PLAIN, today=TODAY)
    assert caught.value.status == 503


# --- Writing


def test_the_template_has_all_columns_and_an_example_that_cannot_be_imported():
    data = workbooks.template(72)
    book = openpyxl.load_workbook(io.BytesIO(data))
    assert book.sheetnames == ["服务时数", "填写说明"]
    sheet = book["服务时数"]
    assert [cell.value.rstrip("*") for cell in sheet[1]] == [column.header for column in COLUMNS]
    assert sheet.column_dimensions["B"].number_format == "@"
    assert any("确认后 72 小时内可以整批撤销" in str(row[0]) for row in book["填写说明"].values)
    with pytest.raises(errors.NoRows):
        reader.read(data, TODAY)
    with pytest.raises(RuleError):
        domain.check_id_number(sheet["B2"].value, today=TODAY)


def test_a_filled_in_template_is_read_and_its_example_skipped():
    book = openpyxl.load_workbook(io.BytesIO(workbooks.template(72)))
    book["服务时数"].append(row_with())
    out = io.BytesIO()
    book.save(out)
    reading = reader.read(out.getvalue(), TODAY)
    assert [row.name for row in reading.rows] == ["赵安安"]
    assert [warned.code for warned in reading.warnings] == ["rows.example"]


def test_rows_written_are_rows_read(tmp_path):
    rows = [HoursRow("赵安安", GOOD[1], "", "HD-1", date(2020, 3, 5), time(9), time(11), 100, "备注")]
    workbooks.write_rows(tmp_path / "时数.xlsx", rows)
    found = reader.read((tmp_path / "时数.xlsx").read_bytes(), TODAY)
    assert [(row.name, row.activity, row.minutes) for row in found.rows] == [("赵安安", "HD-1", 100)]
    assert found.rows[0].ended_at - found.rows[0].started_at == timedelta(hours=2)


# --- The user's own file given back

MISTAKE = Finding(3, "E3", "cell.not_date", "日期无法识别。", "No date.")
OUTCOMES = Outcomes(
    "时数", 1, [Outcome(2, "entered", []), Outcome(3, "refused", [MISTAKE, MISTAKE]), Outcome(4, "existing", [])]
)
ROWS = (row_with(备注='=HYPERLINK("http://x.invalid","y")'), row_with(服务日期="+1", 备注="=x"), row_with(备注="@x"))


def given_back(data, outcomes=OUTCOMES):
    """Return the marked workbook's sheet."""
    return openpyxl.load_workbook(io.BytesIO(workbooks.mark_workbook(data, outcomes)))[outcomes.sheet]


@pytest.mark.parametrize("most_styled", [marker.MOST_STYLED_ROWS, 0])
def test_the_file_given_back_names_every_outcome_and_marks_mistaken_cells(most_styled, monkeypatch):
    monkeypatch.setattr(marker, "MOST_STYLED_ROWS", most_styled)
    marked = marker.mark(hours(*ROWS), OUTCOMES)
    sheet = openpyxl.load_workbook(io.BytesIO(marked))["时数"]
    assert [sheet.cell(row, 10).value for row in (1, 2, 3, 4)] == [
        "导入结果", "已导入", "未导入：日期无法识别。", "已存在",
    ]  # fmt: skip
    assert (sheet["E3"].fill.fgColor.rgb, sheet["E3"].comment.text) == ("FFFFC7CE", "日期无法识别。\n日期无法识别。")
    assert sheet["E2"].comment is None
    assert (sheet["A2"].value, sheet["E2"].value.date(), sheet["F2"].value) == ("赵安安", date(2020, 3, 5), time(9))


@pytest.mark.parametrize("most_styled", [marker.MOST_STYLED_ROWS, 0])
def test_nothing_in_the_file_given_back_is_a_formula(most_styled, monkeypatch):
    monkeypatch.setattr(marker, "MOST_STYLED_ROWS", most_styled)
    book = openpyxl.load_workbook(io.BytesIO(marker.mark(hours(*ROWS), OUTCOMES)))
    cells = [cell for row in book["时数"].iter_rows() for cell in row]
    assert [cell.coordinate for cell in cells if cell.data_type == "f"] == []
    assert {cell.value: cell.quotePrefix for cell in cells if cell.value in {"+1", "@x", "赵安安"}} == {
        "+1": True, "@x": True, "赵安安": False,
    }  # fmt: skip


def test_the_file_given_back_can_be_imported_again_and_keeps_its_result_column():
    again = workbooks.mark_workbook(hours(*ROWS), OUTCOMES)
    assert len(reader.read(again, TODAY).rows) == 2
    sheet = given_back(again, Outcomes("时数", 1, [Outcome(2, "undone", [])]))
    assert (sheet.max_column, sheet["J2"].value) == (10, "已撤销")


@pytest.mark.parametrize("header", ["导入结果", " 导入 结果 "])
@pytest.mark.parametrize("most_styled", [marker.MOST_STYLED_ROWS, 0])
def test_a_corrected_file_keeps_no_mark_and_no_result_of_the_check_before(most_styled, header, monkeypatch):
    monkeypatch.setattr(marker, "MOST_STYLED_ROWS", most_styled)
    book = openpyxl.load_workbook(io.BytesIO(marker.mark(hours(*ROWS), OUTCOMES)))
    sheet = book["时数"]
    sheet["E3"], sheet["J1"] = date(2020, 3, 5), header
    for cell in sheet[4][:9]:
        cell.value = None
    wrong = Finding(2, "G2", "cell.not_time", "时间无法识别。", "No time.")
    outcomes = Outcomes("时数", 1, [Outcome(2, "refused", [wrong]), Outcome(3, "valid", [])])
    monkeypatch.undo()
    again = openpyxl.load_workbook(io.BytesIO(marker.mark(saved(book), outcomes)))["时数"]
    marked = [cell.coordinate for row in again.iter_rows() for cell in row if cell.fill.fgColor.rgb == "FFFFC7CE"]
    comments = {cell.coordinate: cell.comment.text for row in again.iter_rows() for cell in row if cell.comment}
    assert (marked, comments.get("G2"), comments.get("E3")) == (["G2"], "时间无法识别。", None)
    assert [again.cell(row, 10).value for row in (1, 2, 3, 4)] == [
        "导入结果", "未导入：时间无法识别。", "检查通过，尚未导入", None,
    ]  # fmt: skip
    assert [cell.value for cell in again[1]].count("导入结果") == 1


def test_the_users_own_fills_and_comments_stay():
    def own(sheet):
        sheet["A2"].comment = Comment("本人已核对", "办公室")
        sheet["A2"].fill = PatternFill("solid", fgColor="FFFFFF00")
        sheet["B2"].fill = PatternFill("solid", fgColor="FFFFC7CE")

    sheet = given_back(hours(GOOD, change=own), Outcomes("时数", 1, [Outcome(2, "valid", [])]))
    assert (sheet["A2"].comment.text, sheet["A2"].fill.fgColor.rgb) == ("本人已核对", "FFFFFF00")
    assert sheet["B2"].fill.fgColor.rgb == "FFFFC7CE"


def test_the_result_column_does_not_cover_what_stands_beside_the_table():
    data = hours(GOOD, change=lambda sheet: sheet.cell(2, 10, "旁注"))
    sheet = given_back(data, Outcomes("时数", 1, [Outcome(2, "entered", [])]))
    assert (sheet["J2"].value, sheet["K1"].value, sheet["K2"].value) == ("旁注", "导入结果", "已导入")


def test_a_mistake_in_a_merged_range_is_marked_at_its_head():
    data = hours(GOOD, row_with(服务日期=None), change=lambda sheet: sheet.merge_cells("E2:E3"))
    sheet = given_back(data, Outcomes("时数", 1, [Outcome(3, "refused", [MISTAKE])]))
    assert sheet["E2"].comment.text == "日期无法识别。"
