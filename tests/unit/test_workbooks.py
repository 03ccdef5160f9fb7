"""Workbooks of hours as people really fill them in: odd headers, odd cells, odd sheets."""

import math
from datetime import date, datetime, time, timedelta

import pytest
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from services.volunteers.domain.workbooks import ColumnsWrong, HeaderMissing, NoRows
from services.volunteers.workbooks import cells
from services.volunteers.workbooks.columns import cell_name, column_of, letters
from services.volunteers.workbooks.reader import read
from tests.support.xlsx import GOOD, HEADERS, ID_NUMBER, TODAY, hours, repacked, row_with, saved
from xinhuo.chassis.errors import RuleError

DAY = date(2020, 3, 5)
SHEET = "xl/worksheets/sheet1.xml"


def code_of(call, *arguments, **options):
    """Return the code of the error that a call raises."""
    with pytest.raises(RuleError) as caught:
        call(*arguments, **options)
    return caught.value.code


# --- Cells


@pytest.mark.parametrize(
    "value",
    [
        DAY, datetime(2020, 3, 5), datetime(2020, 3, 5, 9, 30), 43895.0, 43895, 43895.375, 20200305.0,
        "2020-3-5", "2020-03-05", "2020/3/5", "2020.3.5", "2020年3月5日", "２０２０年３月５日", " 2020-03-05 ",
        "2020 - 3 - 5", "20200305", "43895", "2020-03-05 00:00:00", "'2020-03-05", "2020\u00a0/3/5",
    ],
)  # fmt: skip
def test_a_date_is_read_however_it_is_written(value):
    assert cells.as_date(value) == DAY


def test_serial_numbers_count_from_1904_on_old_macs():
    assert cells.as_date(42433.0, epoch_1904=True) == DAY
    assert cells.as_date("42433", epoch_1904=True) == DAY


@pytest.mark.parametrize(
    "value",
    ["2020-2-30", "2020-13-1", "5/3/2020", "3月5日", "昨天", "2020", 0.0, -5.0, 1e12, math.inf, math.nan, True,
     time(9), timedelta(days=1), "2020-03-05 09:00", "1899-12-31", "0001-01-01", "3000年1月1日", date(9999, 12, 31)],
)  # fmt: skip
def test_what_is_no_date_is_refused(value):
    assert code_of(cells.as_date, value) == "cell.not_date"


@pytest.mark.parametrize(
    ("value", "hours_", "minutes"),
    [
        (time(9), 9, 0), (datetime(2020, 3, 5, 9), 9, 0), (datetime(1899, 12, 31, 9), 9, 0), (0.375, 9, 0),
        (0.37499999999, 9, 0), (43895.375, 9, 0), (timedelta(hours=9), 9, 0), (1, 24, 0), (timedelta(hours=24), 24, 0),
        (0.0, 0, 0), ("9:00", 9, 0), ("09:00:00", 9, 0), ("9：00", 9, 0), ("９：００", 9, 0), ("9时", 9, 0),
        ("9点", 9, 0), ("9点半", 9, 30), ("9时30分", 9, 30), ("24:00", 24, 0), ("上午9:00", 9, 0), ("下午2:30", 14, 30),
        ("2:30 PM", 14, 30), ("12:00 am", 0, 0), ("中午12:00", 12, 0), ("下午14:30", 14, 30),
        ("2020-03-05 9:00", 9, 0), ("2020/3/5 9:00", 9, 0), (" 9:05 ", 9, 5),
    ],
)  # fmt: skip
def test_a_time_is_read_however_it_is_written(value, hours_, minutes):
    assert cells.as_clock(value, DAY) == timedelta(hours=hours_, minutes=minutes)


@pytest.mark.parametrize(
    "value",
    ["9", "9:", "25:00", "9:60", "24:01", "上午9:00 pm", "两点", "9.5", 9.0, 900.0, -0.5, math.nan, True, DAY,
     timedelta(hours=25), timedelta(hours=-1)],
)  # fmt: skip
def test_what_is_no_time_is_refused(value):
    assert code_of(cells.as_clock, value, DAY) == "cell.not_time"


@pytest.mark.parametrize("value", [datetime(2020, 3, 6, 1), 43896.04, "2020-03-06 1:00"])
def test_a_time_of_another_day_is_refused(value):
    assert code_of(cells.as_clock, value, DAY) == "cell.other_day"


@pytest.mark.parametrize(("starts", "ends"), [(22, 1), (9, 9), (24, 0)])
def test_service_past_midnight_wants_two_rows(starts, ends):
    with pytest.raises(RuleError, match="crosses_midnight") as caught:
        cells.service_span(DAY, timedelta(hours=starts), timedelta(hours=ends))
    assert "拆成两行" in caught.value.zh


def test_a_row_may_end_at_midnight():
    assert cells.service_span(DAY, timedelta(hours=22), timedelta(hours=24))[1] == datetime(2020, 3, 6)


@pytest.mark.parametrize("value", [120, 120.0, "120", "１２０", "120分钟", "120 分", "120.0"])
def test_minutes_are_read_however_they_are_written(value):
    assert cells.as_minutes(value) == 120


@pytest.mark.parametrize("value", [0, 1441, -5, 12.5, "两小时", "2小时", "12.5", True, math.inf, "", "999999", DAY])
def test_what_are_no_minutes_is_refused(value):
    assert code_of(cells.as_minutes, value) == "hours.invalid"


@pytest.mark.parametrize(
    "value",
    [ID_NUMBER, f" {ID_NUMBER} ", f"'{ID_NUMBER}", "４４０７００１９８００１０１０００５", "440700 19800101 0005"],
)
def test_an_identity_number_is_read_from_text(value):
    assert cells.as_id_number(value, TODAY) == ID_NUMBER


@pytest.mark.parametrize("value", [4.4070019800101e17, 440700198001010005, "4.407E+17", "4.40700E17"])
def test_an_identity_number_that_lost_its_digits_says_to_format_the_column_as_text(value):
    with pytest.raises(RuleError, match=r"id_number\.invalid") as caught:
        cells.as_id_number(value, TODAY)
    assert (caught.value.extra["reason"], "“文本”" in caught.value.zh) == ("lost_digits", True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.0, "12"), (12.5, "12.5"), ("  ｘ1 ", "x1"), ("‘x", "‘x"), ("’x", "x"), (True, "True"), (math.inf, "inf")],
)
def test_a_cell_reads_as_the_text_it_shows(value, text):
    assert cells.as_text(value) == text


def test_a_code_longer_than_any_is_refused():
    assert code_of(cells.as_code, "x" * 65) == "cell.too_long"


# --- Headers


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("姓名", "name"), ("姓 名*", "name"), ("＊姓名", "name"), ("志愿者姓名（必填）", "name"),
        ("身份证号码", "id_number"), ("身份证号 (文本格式)", "id_number"), ("身份证号（18位）", "id_number"),
        ("证件号码", "id_number"),
        ("志愿者编号", "volunteer"), ("活动ＩＤ", "activity"), ("服务日期:", "served_on"), ("开始\n时间", "starts"),
        ("签退时间", "ends"), ("时长(分钟)", "minutes"), ("服务时长（分钟）", "minutes"), ("服务分钟数", "minutes"),
        ("备注（选填）", "note"), ("服务时长（小时）", None), ("时长", None), ("学校", None), ("", None),
    ],
)  # fmt: skip
def test_a_header_is_known_by_its_variants(header, key):
    assert column_of(header) == key


def test_cells_are_named_as_spreadsheets_name_them():
    assert [letters(place) for place in (0, 25, 26, 701, 702, 16383)] == ["A", "Z", "AA", "ZZ", "AAA", "XFD"]
    assert cell_name(6, 2) == "C7"


def test_columns_may_stand_in_any_order_under_a_title():
    order = (8, 6, 5, 4, 3, 1, 0)
    above = [["2020年3月志愿服务时数表"], []]
    data = hours([GOOD[i] for i in order], headers=[HEADERS[i] for i in order], above=above)
    reading = read(data, TODAY)
    assert (reading.header_row, reading.total, len(reading.rows)) == (3, 1, 1)
    assert reading.rows[0].number == 4
    assert reading.columns["name"] == "G"


def test_a_header_in_the_tenth_row_is_found_and_one_in_the_eleventh_is_not():
    assert read(hours(GOOD, above=[["说明"]] * 9), TODAY).header_row == 10
    with pytest.raises(HeaderMissing):
        read(hours(GOOD, above=[["说明"]] * 10), TODAY)


def test_a_renamed_column_is_named_with_the_header_most_like_it():
    headers = list(HEADERS)
    headers[5] = "开始时刻"
    with pytest.raises(ColumnsWrong) as caught:
        read(hours(GOOD, headers=headers), TODAY)
    assert caught.value.extra["columns"] == [
        {"column": "开始时间", "problem": "missing", "cells": [], "nearest": "开始时刻", "nearest_cell": "F1"}
    ]
    assert "F1 的“开始时刻”" in caught.value.zh


def test_missing_and_doubled_columns_are_all_named_at_once():
    headers = [None, None, None, "活动编号", "服务日期", "开始时间", "结束时间", "活动编号", "备注"]
    with pytest.raises(ColumnsWrong) as caught:
        read(hours(GOOD, headers=headers), TODAY)
    found = [(item["column"], item["problem"], item["cells"]) for item in caught.value.extra["columns"]]
    assert found == [("活动编号", "duplicated", ["D1", "H1"]), ("姓名", "missing", []), ("身份证号", "missing", [])]


def test_a_sheet_without_our_headers_says_which_are_needed():
    with pytest.raises(HeaderMissing) as caught:
        read(hours(["a", "b"], headers=["学校", "姓名"]), TODAY)
    assert "活动编号" in caught.value.zh


def test_either_way_to_name_the_person_is_enough():
    without_id = [header for header in HEADERS if header != "身份证号"]
    data = hours(
        [v for h, v in zip(HEADERS, row_with(志愿者编号="V1"), strict=True) if h != "身份证号"], headers=without_id
    )
    assert read(data, TODAY).rows[0].volunteer == "V1"


# --- Rows


@pytest.mark.parametrize(
    ("change", "cell", "code"),
    [
        ({"姓名": None}, "A2", "cell.required"),
        ({"姓名": "赵"}, "A2", "name.invalid"),
        ({"姓名": "赵安安😀"}, "A2", "name.invalid"),
        ({"身份证号": None}, "B2", "cell.person_required"),
        ({"身份证号": "440700198001010004"}, "B2", "id_number.check_digit"),
        ({"身份证号": "440700800101000"}, "B2", "id_number.fifteen_digits"),
        ({"身份证号": 440700198001010005}, "B2", "id_number.invalid"),
        ({"活动编号": " "}, "D2", "cell.required"),
        ({"服务日期": "2020-02-30"}, "E2", "cell.not_date"),
        ({"开始时间": "早上"}, "F2", "cell.not_time"),
        ({"结束时间": time(8)}, "G2", "cell.crosses_midnight"),
        ({"结束时间": time(9)}, "G2", "cell.crosses_midnight"),
        ({"服务分钟": 12.5}, "H2", "hours.invalid"),
        ({"服务分钟": "两小时"}, "H2", "hours.invalid"),
        ({"活动编号": "=1+1"}, "D2", "cell.formula_not_calculated"),
        ({"身份证号": "=B1"}, "B2", "cell.formula_not_calculated"),
        ({"活动编号": "#N/A"}, "D2", "cell.error_value"),
    ],
)
def test_a_mistake_is_found_in_its_cell(change, cell, code):
    reading = read(hours(row_with(**change)), TODAY)
    assert [(finding.cell, finding.code) for finding in reading.findings] == [(cell, code)]
    assert (reading.total, reading.rows) == (1, [])


def test_all_mistakes_of_a_row_are_found_at_once():
    reading = read(hours(row_with(姓名=None, 服务日期="x", 服务分钟=0)), TODAY)
    assert [finding.cell for finding in reading.findings] == ["A2", "E2", "H2"]


def test_without_minutes_the_span_counts_and_with_them_they_do():
    reading = read(hours(GOOD, row_with(服务分钟=90)), TODAY)
    assert [row.minutes for row in reading.rows] == [120, 90]


def test_a_formula_counts_by_its_stored_result():
    data = hours(row_with(服务分钟="=60*2", 备注='=HYPERLINK("http://x.invalid","y")'))
    # What openpyxl writes has no results; Excel stores them beside the formula.
    calculated = repacked(data, replace={SHEET: (b"<f>60*2</f><v />", b"<f>60*2</f><v>120</v>")})
    reading = read(calculated, TODAY)
    assert (reading.findings, reading.rows[0].minutes) == ([], 120)
    assert "HYPERLINK" not in str(reading)


def test_dates_of_the_1904_system_are_read_as_shown():
    book = Workbook()
    book.epoch = CALENDAR_MAC_1904
    book.active.append(HEADERS)
    book.active.append(GOOD)
    book.active.append(row_with(服务日期=42433))
    reading = read(saved(book), TODAY)
    assert [row.started_at for row in reading.rows] == [datetime(2020, 3, 5, 9)] * 2


def test_the_first_visible_sheet_with_the_headers_is_read():
    book = Workbook()
    book.active.title = "封面"
    book.active.append(["2020年3月"])
    hidden = book.create_sheet("旧数据")
    hidden.append(HEADERS)
    hidden.append(row_with(姓名="钱安安"))
    hidden.sheet_state = "hidden"
    sheet = book.create_sheet("三月")
    sheet.append(HEADERS)
    sheet.append(GOOD)
    reading = read(saved(book), TODAY)
    assert (reading.sheet, [row.name for row in reading.rows]) == ("三月", ["赵安安"])
    assert [(warned.code, warned.places) for warned in reading.warnings] == [("sheets.ignored", ["封面"])]


def test_merged_cells_count_for_each_row_and_are_told():
    data = hours(
        GOOD, row_with(活动编号=None, 服务日期=None), row_with(活动编号=None, 服务日期=None),
        change=lambda sheet: [sheet.merge_cells(area) for area in ("D2:D4", "E2:E4", "A8:B8")],
    )  # fmt: skip
    reading = read(data, TODAY)
    assert (len(reading.rows), {row.activity for row in reading.rows}, reading.findings) == (3, {"HD-2020-0001"}, [])
    told = {warned.code: sorted(warned.places) for warned in reading.warnings}
    assert told["cells.merged"] == ["D2:D4", "E2:E4"]


def test_hidden_blank_and_example_rows_are_told():
    def change(sheet):
        sheet.row_dimensions[2].hidden = True
        sheet.append(list(GOOD))
        sheet["A9"].number_format = "@"

    data = hours(GOOD, [None], [" "], row_with(姓名="示例（请勿导入）", 身份证号="x"), change=change)
    reading = read(data, TODAY)
    assert (reading.total, len(reading.rows)) == (2, 2)
    told = {warned.code: (warned.count, warned.places) for warned in reading.warnings}
    assert told["rows.hidden"] == (1, ["2"])
    assert told["rows.blank"] == (2, ["3", "4"])
    assert told["rows.example"] == (1, ["5"])
    assert told["rows.trailing"][0] == 3


def test_columns_that_are_not_used_are_told():
    headers = (*HEADERS[:8], "服务时长（小时）")
    warned = read(hours((*GOOD[:8], 2), headers=headers), TODAY).warnings
    assert [(one.code, one.places) for one in warned] == [("columns.ignored", ["I: 服务时长（小时）"])]


def test_headers_with_nothing_below_are_no_import():
    with pytest.raises(NoRows):
        read(hours([None], [" "]), TODAY)


def test_a_far_away_cell_costs_no_memory():
    assert (
        code_of(read, hours(GOOD, change=lambda sheet: sheet.cell(1_000_000, 500, "x")), TODAY) == "import.too_complex"
    )
    styled = hours(GOOD, change=lambda sheet: setattr(sheet.cell(1_000_000, 500), "number_format", "0.00"))
    assert len(read(styled, TODAY).rows) == 1
