"""What `xinhuo hours` does to a clerk's files, and what it says, with a service that only plays its part."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.support.stub import Planned, Stub
from xinhuo.chassis.wire import BrokerUnavailable
from xinhuo.cli import saving
from xinhuo.cli.main import app, explained

ID = "01a20052-62b6-730c-90b6-77c47e8627a1"
CHECKED = {
    "id": ID, "state": "checked", "file_name": "时数.xlsx", "rows": 2, "valid": 2, "invalid": 0, "existing": 0,
    "entered": None, "counts": {}, "errors": [], "progress": None, "undo_until": None, "undone_at": None,
}  # fmt: skip
DONE = {**CHECKED, "state": "done", "entered": 2, "undo_until": "2021-03-09T10:00:00Z"}
UNDONE = {**DONE, "state": "undone", "undone_at": "2021-03-08T02:30:00Z"}


class Clerk:
    """Calls `xinhuo hours` in a folder with one workbook."""

    def __init__(self, stub: Stub, folder: Path) -> None:
        self.stub, self.folder = stub, folder
        self.file = folder / "时数.xlsx"
        self.file.write_bytes(b"mine")

    def hours(self, *arguments: str | Path, planned: tuple[Any, ...] = (), answer: str = "") -> Result:
        """Run a command against the planned answers, with an answer to its questions."""
        self.stub.planned[:] = [one if isinstance(one, tuple) else _found(one) for one in planned]
        words = ["hours", *map(str, arguments), "--url", self.stub.url]
        return CliRunner().invoke(app, words, input=answer, prog_name="xinhuo")


def _found(body: Any) -> Planned:
    return (200, {}, body)


@pytest.fixture
def clerk(stub: Stub, tmp_path: Path) -> Clerk:
    return Clerk(stub, tmp_path)


def test_the_marked_file_takes_a_name_that_is_free(tmp_path: Path) -> None:
    file = tmp_path / "三月.xlsx"
    names = []
    for _ in range(3):
        names.append(saving.free_name_beside(file))
        names[-1].touch()

    assert [one.name for one in names] == ["三月-导入结果.xlsx", "三月-导入结果-2.xlsx", "三月-导入结果-3.xlsx"]
    assert saving.free_name_beside(names[0]).name == "三月-导入结果-4.xlsx"
    assert saving.free_name_beside(names[2]).name == "三月-导入结果-4.xlsx"
    assert saving.free_name_beside(tmp_path / "四月-导入结果.xlsx").name == "四月-导入结果-2.xlsx"


@pytest.mark.parametrize("command", [("template",), ("result", ID)])
def test_a_file_that_exists_is_overwritten_only_by_force(clerk: Clerk, command: tuple[str, ...]) -> None:
    refused = clerk.hours(*command, clerk.file)

    assert refused.exit_code == 2
    assert "文件已存在" in refused.stderr
    assert "--force" in refused.stderr
    assert clerk.stub.seen == []
    assert clerk.file.read_bytes() == b"mine"

    forced = clerk.hours(*command, clerk.file, "--force", planned=({"new": 1},))

    assert forced.exit_code == 0
    assert json.loads(clerk.file.read_bytes()) == {"new": 1}


def test_a_marked_file_never_replaces_the_imported_one_nor_another(clerk: Clerk) -> None:
    other = clerk.folder / "other.xlsx"
    other.write_bytes(b"other")

    onto_itself = clerk.hours("import", clerk.file, "--yes", "--force", "--result", clerk.file)
    onto_other = clerk.hours("import", clerk.file, "--yes", "--result", other)

    assert (onto_itself.exit_code, onto_other.exit_code) == (2, 2)
    assert "被导入的文件" in onto_itself.stderr
    assert "--force" in onto_other.stderr
    assert (clerk.file.read_bytes(), other.read_bytes()) == (b"mine", b"other")
    assert clerk.stub.seen == []


def test_the_same_workbook_imported_again_leaves_the_marked_file_of_before(clerk: Clerk) -> None:
    before = clerk.folder / "时数-导入结果.xlsx"
    before.write_bytes(b"being corrected")

    ended = clerk.hours("import", clerk.file, "--yes", planned=(CHECKED, {}, DONE, {"marked": 1}))

    assert ended.exit_code == 0, ended.stderr
    assert before.read_bytes() == b"being corrected"
    assert "时数-导入结果-2.xlsx" in ended.stdout
    assert json.loads((clerk.folder / "时数-导入结果-2.xlsx").read_bytes()) == {"marked": 1}


@pytest.mark.parametrize("place", ["no-folder/out.xlsx", "长" * 100 + ".xlsx"])
def test_a_place_where_nothing_can_be_saved_is_known_before_anything_is_sent(clerk: Clerk, place: str) -> None:
    target = clerk.folder / place

    ended = clerk.hours("import", clerk.file, "--yes", "--result", target)

    assert ended.exit_code == 2
    assert f"不能在此存放文件：{target}" in ended.stderr
    assert ".part" not in ended.stderr
    assert clerk.stub.seen == []


def test_what_was_entered_is_told_before_that_the_marked_file_was_not_saved(
    clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device", "/somewhere/.out.xlsx.part")

    monkeypatch.setattr("xinhuo.cli.imports.save_result", full)
    target = clerk.folder / "out.xlsx"

    ended = clerk.hours("import", clerk.file, "--yes", "--result", target, planned=(CHECKED, {}, DONE))

    assert ended.exit_code == 1
    assert "已入账 2 条" in ended.stdout
    assert f"xinhuo hours undo {ID}" in ended.stdout
    assert f"{target}: No space left on device" in ended.stderr
    assert ".part" not in ended.stderr
    assert f"xinhuo hours result {ID}" in ended.stderr


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_who_says_no_or_only_checks_is_told_how_to_get_the_marked_file(clerk: Clerk, answer: str) -> None:
    said_no = clerk.hours("import", clerk.file, planned=(CHECKED,), answer=answer)
    partly = clerk.hours("import", clerk.file, planned=({**CHECKED, "valid": 1, "invalid": 1},), answer=answer)
    only_checked = clerk.hours("import", clerk.file, "--dry-run", planned=(CHECKED,))

    assert (said_no.exit_code, partly.exit_code, only_checked.exit_code) == (6, 6, 0)
    for said in (said_no.stderr, partly.stderr, only_checked.stdout):
        assert f"xinhuo hours result {ID} " in said
        assert "时数-导入结果.xlsx" in said
        assert f"--url http://127.0.0.1:{clerk.stub.server_port}" in said


@pytest.mark.parametrize("flag", ["--yes", "--dry-run"])
def test_an_import_that_was_undone_is_not_undone_again(clerk: Clerk, flag: str) -> None:
    ended = clerk.hours("undo", ID, flag, planned=(UNDONE,))

    assert ended.exit_code == 0
    assert "已于 2021-03-08 10:30 撤销，冲正 0 条" in ended.stdout
    assert "将冲正" not in ended.stdout
    assert [method for method, *_ in clerk.stub.seen] == ["GET"]


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_who_does_not_want_to_undo_is_told_that_nothing_was_undone(clerk: Clerk, answer: str) -> None:
    ended = clerk.hours("undo", ID, planned=(DONE,), answer=answer)

    assert ended.exit_code == 6
    assert "已取消，没有撤销" in ended.stderr
    assert "没有入账" not in ended.stderr
    assert [method for method, *_ in clerk.stub.seen] == ["GET"]


@pytest.mark.parametrize("command", [("show", "1"), ("undo", "三月"), ("result", "1", "out.xlsx")])
def test_an_id_that_is_none_is_explained(clerk: Clerk, command: tuple[str, ...]) -> None:
    ended = clerk.hours(*command)

    assert ended.exit_code == 2
    assert "编号是 UUID" in ended.stderr
    assert "hours imports" in " ".join(ended.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [("AccessRefused", 2, "密码"), ("NotAllowed", 2, "AMQP_URI"), ("ConnectionRefusedError", 3, "连接不上")],
)
def test_a_broker_that_refuses_the_login_is_not_told_as_away(
    capsys: pytest.CaptureFixture[str], text: str, code: int, says: str
) -> None:
    import typer

    with pytest.raises(typer.Exit) as ended, explained():
        raise BrokerUnavailable(text)

    assert ended.value.exit_code == code
    assert says in capsys.readouterr().err


CLAIM = {
    "id": ID, "state": "claimed", "started_at": "2026-03-05T01:00:00Z", "ended_at": "2026-03-05T03:00:00Z",
    "minutes": 120, "volunteer_id": "v-1", "claimed_as": "volunteer", "claimed_by": "a-1",
    "evidence": "签到表[3]页", "entry_id": None,
}  # fmt: skip
APPROVED = {**CLAIM, "state": "approved", "entry_id": "e-1"}


def test_claims_that_wait_are_listed_with_what_shows_them(clerk: Clerk) -> None:
    page = {"items": [CLAIM], "after": None}
    shown = clerk.hours("claims", planned=(page,))
    as_json = clerk.hours("claims", "--state", "refused", "--json", planned=({"items": [], "after": None},))
    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    for text in (ID, "2026-03-05 09:00", "120 分钟", "a-1", "签到表[3]页"):
        assert text in shown.stdout
    assert json.loads(as_json.stdout) == {"claims": []}
    assert [path for _, path, _ in clerk.stub.seen] == ["/v1/claims?state=claimed", "/v1/claims?state=refused"]


def test_a_claim_is_shown_and_asked_about_before_it_is_approved(clerk: Clerk) -> None:
    done = clerk.hours("approve", ID, planned=(CLAIM, APPROVED), answer="y\n")
    refused = clerk.hours("approve", ID, planned=(CLAIM,), answer="n\n")
    dry = clerk.hours("approve", ID, "--dry-run", "--json", planned=(CLAIM,))
    unasked = clerk.hours("approve", ID, "--json")
    as_json = clerk.hours("approve", ID, "--yes", "--json", planned=(CLAIM, APPROVED))
    assert [one.exit_code for one in (done, refused, dry, unasked, as_json)] == [0, 6, 0, 2, 0]
    assert "e-1" in done.stdout
    assert (json.loads(dry.stdout)["state"], json.loads(as_json.stdout)["state"]) == ("claimed", "approved")
    asked = [method for method, _, _ in clerk.stub.seen]
    assert asked == ["GET", "POST", "GET", "GET", "GET", "POST"]


def test_who_may_not_approve_a_claim_is_told_why(clerk: Clerk) -> None:
    problem = {"status": 409, "code": "claim.own", "title": "t", "detail": "不能审批自己申报的时数", "detail_en": "own"}
    ended = clerk.hours("approve", ID, "--yes", planned=(CLAIM, (409, {}, problem)))
    assert ended.exit_code == 1
    assert "不能审批自己申报的时数" in ended.stderr
    wrong = clerk.hours("approve", "三月")
    assert (wrong.exit_code, "hours claims" in wrong.stderr) == (2, True)
