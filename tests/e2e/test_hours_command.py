"""`xinhuo hours`, from the template to an import that was taken back and made again."""

import json
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from tests.support.campaign import PATIENCE, Campaign
from tests.support.installation import Ended, xinhuo
from tests.support.waiting import wait_for

GOOD_MINUTES = 120 + 90


class Clerk:
    """Somebody at a terminal, with a folder of workbooks."""

    def __init__(self, campaign: Campaign, folder: Path) -> None:
        self.campaign, self.folder = campaign, folder
        self.file = folder / "三月 时数.xlsx"

    def hours(self, *arguments: str | Path) -> Ended:
        """Run a command of `xinhuo hours` in the folder."""
        one = self.campaign.installation
        settings = {"XINHUO_API_KEY": one.key_of("clerk"), "XINHUO_PORTAL_URL": one.url("portal")}
        return xinhuo("hours", *arguments, "--url", one.url("volunteers"), settings=settings, cwd=self.folder)

    def json(self, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        """Run it with --json; nothing but one object may be on standard output."""
        ended = self.hours(*arguments, "--json")
        assert ended.code == code, f"{ended.code}: {ended.stdout}{ended.stderr}"
        (line,) = ended.stdout.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    def fill_in(self, *days: int, wrong_activity: bool = False) -> None:
        """Fill in the template: one row for each day, and one that is wrong if wanted."""
        book = load_workbook(self.folder / "时数导入模板.xlsx")
        sheet = book.worksheets[0]
        # A star behind a title says that the column must be filled in.
        columns = {str(cell.value).rstrip("*"): cell.column for cell in sheet[1]}
        number = self.campaign.activity["number"]
        rows = [(day, number, time(9), time(11) if day % 2 else time(10, 30)) for day in days]
        if wrong_activity:
            rows.append((29, "HD-1999-0001", time(9), time(10)))
        # Below the header the template has an example, which the import skips.
        for line, (day, activity, starts, ends) in enumerate(rows, 3):
            values = {
                "姓名": "测试员甲", "志愿者编号": self.campaign.volunteer["volunteer_no"], "活动编号": activity,
                "服务日期": date(2021, 3, day), "开始时间": starts, "结束时间": ends,
            }  # fmt: skip
            for title, value in values.items():
                sheet.cell(line, columns[title], value)
        book.save(self.file)
        book.close()

    def minutes(self) -> int:
        """Return what the statistics say."""
        return int(self.campaign.statistics()["minutes"])


@pytest.fixture
def clerk(campaign: Campaign, tmp_path: Path) -> Clerk:
    found = Clerk(campaign, tmp_path)
    ended = found.hours("template")
    assert ended.code == 0, ended.stderr
    assert "已保存" in ended.stdout
    return found


def test_a_workbook_is_checked_entered_once_taken_back_and_entered_again(clerk: Clerk) -> None:
    clerk.fill_in(7, 8)

    checked = clerk.json("import", clerk.file, "--dry-run")
    assert (checked["rows"], checked["valid"], checked["invalid"], checked["dry_run"]) == (2, 2, 0, True)
    assert clerk.minutes() == 0

    entered = clerk.json("import", clerk.file, "--yes")
    assert (entered["state"], entered["entered"]) == ("done", 2)
    wait_for(lambda: clerk.minutes() == GOOD_MINUTES, PATIENCE, "the statistics to have the import")
    result = load_workbook(entered["result_file"])
    assert "导入结果" in [cell.value for row in result.worksheets[0].iter_rows(max_row=10) for cell in row]
    result.close()

    again = clerk.json("import", clerk.file, "--yes", code=5)
    assert again["error"]["code"] == "import.seen_before"
    assert again["error"]["other"] == entered["id"]
    spoken = clerk.hours("import", clerk.file, "--yes")
    assert spoken.code == 5
    assert entered["id"] in spoken.stderr or "三月 时数.xlsx" in spoken.stderr

    planned = clerk.json("undo", entered["id"], "--dry-run")
    assert (planned["state"], planned["dry_run"]) == ("done", True)
    assert clerk.minutes() == GOOD_MINUTES
    assert clerk.json("undo", entered["id"], "--yes")["state"] == "undone"
    wait_for(lambda: clerk.minutes() == 0, PATIENCE, "the statistics to be without it")

    second = clerk.json("import", clerk.file, "--yes")
    assert second["id"] != entered["id"]
    wait_for(lambda: clerk.minutes() == GOOD_MINUTES, PATIENCE, "the statistics to have it again")
    listed = {one["id"]: one["state"] for one in clerk.json("imports")["imports"]}
    assert (listed[entered["id"]], listed[second["id"]]) == ("undone", "done")
    assert clerk.json("show", second["id"])["entered"] == 2


def test_a_row_that_is_wrong_holds_back_all_or_is_left_out_and_marked(clerk: Clerk) -> None:
    clerk.fill_in(7, 8, wrong_activity=True)

    nothing = clerk.json("import", clerk.file, "--yes", code=1)
    assert (nothing["state"], nothing["invalid"]) == ("checked", 1)
    assert nothing["counts"] == {"activity.unknown": 1}
    assert clerk.minutes() == 0

    shown = clerk.hours("import", clerk.file, "--mode", "valid_rows", "--yes")

    assert shown.code == 1, shown.stderr
    for text in ("行数 3", "可导入 2", "有问题 1", "活动不存在", "已入账 2 条", "xinhuo hours undo", "结果-2.xlsx"):
        assert text in shown.stdout
    wait_for(lambda: clerk.minutes() == GOOD_MINUTES, PATIENCE, "the statistics to have the valid rows")
    marked = load_workbook(clerk.folder / "三月 时数-导入结果-2.xlsx")
    cells = [str(cell.value) for row in marked.worksheets[0].iter_rows() for cell in row if cell.value]
    marked.close()
    assert any("活动" in cell and "HD-1999-0001" not in cell and "不存在" in cell for cell in cells), cells


@pytest.mark.parametrize("loaded", ["embedded"], indirect=True)
def test_nobody_there_to_answer_enters_nothing(clerk: Clerk) -> None:
    clerk.fill_in(7)

    unasked = clerk.hours("import", clerk.file)
    as_json = clerk.hours("import", clerk.file, "--json")

    assert unasked.code == 6
    assert "没有入账" in unasked.stderr
    assert as_json.code == 2
    assert as_json.stdout == ""
    assert clerk.minutes() == 0


@pytest.mark.parametrize("loaded", ["embedded"], indirect=True)
def test_what_cannot_be_done_is_said_with_an_exit_code(clerk: Clerk) -> None:
    (clerk.folder / "名单.xlsx").write_bytes(b"PK no workbook")
    missing = "01a20052-62b6-730c-90b6-77c47e8627a1"

    no_workbook = clerk.hours("import", "名单.xlsx", "--yes")
    no_file = clerk.hours("import", "没有.xlsx", "--yes")
    no_import = clerk.json("show", missing, code=1)
    no_id = clerk.hours("show", "三月")
    nobody = xinhuo("hours", "imports", "--url", "http://127.0.0.1:9")

    assert (no_workbook.code, no_file.code, no_id.code, nobody.code) == (1, 2, 2, 3)
    assert "xlsx" in no_workbook.stderr
    assert no_import["error"]["code"] == "import.not_found"
    assert "--url" in nobody.stderr
    assert "Traceback" not in no_workbook.stderr + no_file.stderr + nobody.stderr
