"""Confirming, entering and undoing an import: all or nothing, once, and as the check said."""

from collections.abc import Iterator
from datetime import date, time, timedelta

import openpyxl
import pytest
import sqlalchemy as sa

from services.volunteers.commands import imports as commands
from services.volunteers.domain.imports import RowsRefused
from services.volunteers.workbooks import workbook_of
from tests.support.imports import Office, open_office, with_mistakes
from tests.support.services import fetch, recorded
from tests.support.threads import at_once
from xinhuo.chassis.jobs import run_if_due


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


class Killed(BaseException):
    """What a worker meets in the middle of its work."""


def set_back(office: Office, hours: int) -> None:
    """Let all imports be confirmed so many hours earlier."""
    with office.service.runtime.db.transaction() as session:
        session.execute(
            sa.text("UPDATE imports SET confirmed_at = confirmed_at - make_interval(hours => :hours)"),
            {"hours": hours},
        )


# --- Confirm and enter


def test_valid_rows_are_entered_and_each_row_is_told_what_became_of_it(office):
    shown = office.enter(with_mistakes(office))
    assert (shown["state"], shown["entered"], shown["existing"], shown["refused"]) == ("done", 5, 1, 4)
    assert shown["progress"]["done"] == shown["progress"]["total"]
    assert (office.entries(), office.minutes()) == (5, 600)
    assert {row["source"] for row in fetch(office.service, "SELECT source FROM ledger_entries")} == {"import"}
    assert {str(row["import_id"]) for row in fetch(office.service, "SELECT import_id FROM ledger_entries")} == {
        shown["id"]
    }
    logged = recorded(office.service, "volunteers.hours_logged.v1")
    assert sum(envelope.data.minutes for envelope in logged) == 600


def test_the_check_and_the_entry_agree_on_every_row(office):
    import_id = office.check(with_mistakes(office))["id"]
    before = office.shown(import_id)
    office.confirm(import_id)
    office.work()
    after = office.shown(import_id)
    assert after["errors"] == before["errors"]
    assert [after[name] for name in ("valid", "invalid", "existing", "counts")] == [
        before[name] for name in ("valid", "invalid", "existing", "counts")
    ]
    assert after["entered"] == before["valid"] - before["existing"]


def test_all_wants_a_file_without_mistakes(office):
    import_id = office.check(with_mistakes(office))["id"]
    answer = office.confirm(import_id, "all")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "import.rows_refused")
    assert office.enter([office.row(0), office.row(1)], "all")["entered"] == 2


def test_all_enters_nothing_when_a_row_became_wrong_since_the_check(office):
    import_id = office.check([office.row(0), office.row(1)])["id"]
    office.confirm(import_id, "all")
    other = office.check([office.row(1, starts=time(10), ends=time(12))])["id"]
    with office.service.runtime.db.transaction() as session:
        # The other one is entered first: it was confirmed earlier.
        session.execute(sa.text("UPDATE imports SET confirmed_at = confirmed_at + interval '1 hour'"))
    office.confirm(other)
    office.work()
    assert office.shown(other)["state"] == "done"
    office.work()
    shown = office.shown(import_id)
    assert (shown["state"], shown["failure"], shown["entered"]) == ("failed", RowsRefused.code, None)
    assert (shown["invalid"], shown["errors"][0]["cell"]) == (1, "F3")
    assert (office.minutes(), len(recorded(office.service))) == (120, 1)
    assert office.confirm(import_id, "all").status_code == 409
    assert office.confirm(import_id, "valid_rows").status_code == 202
    office.work()
    assert (office.shown(import_id)["state"], office.minutes()) == ("done", 240)


def test_a_file_without_a_sound_row_has_nothing_to_confirm(office):
    import_id = office.check(with_mistakes(office)[5:8])["id"]
    assert office.confirm(import_id).get_json()["code"] == "import.nothing_valid"


def test_confirming_again_changes_nothing_and_another_mode_is_refused(office):
    import_id = office.check([office.row(0)])["id"]
    assert office.confirm(import_id, "all").status_code == 202
    again = office.confirm(import_id, "all")
    assert (again.status_code, again.get_json()["state"]) == (202, "confirmed")
    other = office.confirm(import_id, "valid_rows")
    assert (other.status_code, other.get_json()["code"]) == (409, "import.wrong_state")
    office.work()
    assert office.confirm(import_id, "all").get_json()["state"] == "done"
    office.work()
    assert office.entries() == 1


def test_confirming_from_two_places_takes_effect_once(office):
    data = workbook_of([office.row(0), office.row(1)])
    ids = [office.upload(data).get_json()["id"] for _ in range(2)]
    statuses = at_once([lambda one=one: office.confirm(one).status_code for one in ids * 2])
    # Two checks of one file: one of them is confirmed, twice over; the other is told that it was seen before.
    assert sorted(statuses) == [202, 202, 409, 409]
    at_once([office.work, office.work])
    assert (office.entries(), len(recorded(office.service))) == (2, 2)


def test_a_worker_killed_in_the_middle_leaves_nothing_and_the_next_run_does_it_all(office, monkeypatch):
    rows = [office.row(n % 12, date(2020, 1, 2) + timedelta(days=n // 12)) for n in range(30)]
    import_id = office.check(rows)["id"]
    office.confirm(import_id)
    monkeypatch.setattr("services.volunteers.commands.import_rows.SLICE", 10)
    seen: list[tuple[int, int]] = []
    whole = commands._reporter

    def dying(db, wanted):
        report = whole(db, wanted)

        def advance(done: int, total: int) -> None:
            report(done, total)
            seen.append((office.shown(import_id)["progress"]["done"], office.entries()))
            if len(seen) == 2:
                raise Killed

        return advance

    monkeypatch.setattr(commands, "_reporter", dying)
    with pytest.raises(Killed):
        office.work()
    # Others saw how far it was, and nothing of what it had done.
    assert seen == [(10, 0), (20, 0)]
    assert (office.entries(), len(recorded(office.service)), office.shown(import_id)["state"]) == (0, 0, "confirmed")
    monkeypatch.setattr(commands, "_reporter", whole)
    office.work()
    assert (office.shown(import_id)["state"], office.entries(), len(recorded(office.service))) == ("done", 30, 30)


def test_an_import_that_fails_again_and_again_is_given_up_until_it_is_confirmed_again(office, monkeypatch):
    import_id = office.check([office.row(0)])["id"]
    office.confirm(import_id)

    def failing(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(commands, "_reporter", failing)
    for _ in range(commands.MOST_ATTEMPTS):
        with pytest.raises(RuntimeError):
            office.work()
    office.work()
    shown = office.shown(import_id)
    assert (shown["state"], shown["failure"], office.entries()) == ("failed", "import.gave_up", 0)
    monkeypatch.undo()
    assert office.confirm(import_id).get_json()["failure"] is None
    office.work()
    assert (office.shown(import_id)["state"], office.entries()) == ("done", 1)


def test_the_job_runs_as_the_worker_runs_it(office):
    import_id = office.check([office.row(0)])["id"]
    office.confirm(import_id)
    ran = run_if_due(
        office.service.runtime.db,
        "run_confirmed_imports",
        timedelta(seconds=1),
        office.service.run_confirmed_imports,
    )
    assert (ran, office.shown(import_id)["state"]) == (True, "done")


# --- The same file


def test_the_same_file_is_refused_naming_the_first_import(office):
    first = office.enter([office.row(0)])
    answer = office.upload(workbook_of([office.row(0)]))
    problem = answer.get_json()
    assert (answer.status_code, problem["code"], problem["other"]) == (409, "import.seen_before", first["id"])
    assert problem["link"] == f"/v1/imports/{first['id']}"
    assert first["confirmed_at"].removesuffix("Z") in problem["confirmed_at"]
    assert office.client.get(problem["link"]).get_json()["id"] == first["id"]


def test_a_file_that_was_only_checked_can_be_checked_again(office):
    data = workbook_of([office.row(0)])
    assert office.upload(data).get_json()["id"] != office.upload(data).get_json()["id"]


# --- Undo


def test_undoing_takes_every_entry_back_and_the_file_can_be_imported_again(office):
    rows = with_mistakes(office)
    import_id = office.enter(rows)["id"]
    answer = office.undo(import_id)
    assert (answer.status_code, answer.get_json()["state"]) == (202, "undoing")
    assert office.undo(import_id).status_code == 202
    office.work()
    assert (office.shown(import_id)["state"], office.minutes(), office.entries()) == ("undone", 0, 10)
    assert len(recorded(office.service, "volunteers.hours_reversed.v1")) == 5
    assert {row["reason_code"] for row in fetch(office.service, "SELECT reason_code FROM ledger_entries")} == {
        None,
        "import_undone",
    }
    office.work()
    assert office.entries() == 10
    assert (office.enter(rows)["entered"], office.minutes()) == (5, 600)


def test_entries_reversed_singly_before_are_left_as_they_are(office):
    import_id = office.enter([office.row(0), office.row(1)])["id"]
    entry = fetch(office.service, "SELECT id FROM ledger_entries LIMIT 1")[0]["id"]
    assert office.client.post(f"/v1/hours/{entry}:reverse", json={"reason_code": "wrong_time"}).status_code == 201
    office.undo(import_id)
    office.work()
    assert (office.shown(import_id)["state"], office.minutes(), office.entries()) == ("undone", 0, 4)


def test_an_undoing_killed_in_the_middle_leaves_the_import_as_it_was(office, monkeypatch):
    import_id = office.enter([office.row(0), office.row(1)])["id"]
    office.undo(import_id)

    def dying(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(commands.outbox, "write_pending", dying)
    with pytest.raises(Killed):
        office.work()
    monkeypatch.undo()
    assert (office.minutes(), office.shown(import_id)["state"]) == (240, "undoing")
    office.work()
    assert (office.minutes(), office.shown(import_id)["state"]) == (0, "undone")


def test_after_the_window_an_import_cannot_be_undone(office):
    shown = office.enter([office.row(0)])
    assert shown["undo_until"] > shown["confirmed_at"]
    set_back(office, 73)
    answer = office.undo(shown["id"])
    assert (answer.status_code, answer.get_json()["code"]) == (409, "import.undo_window_closed")
    assert "closed_at" in answer.get_json()
    assert office.minutes() == 120


def test_what_is_not_entered_cannot_be_undone(office):
    import_id = office.check([office.row(0)])["id"]
    answer = office.undo(import_id).get_json()
    assert answer["code"] == "import.wrong_state"
    assert "尚未确认" in answer["detail"]
    assert "无需撤销" in answer["detail"]


# --- The user's own file


def results(book: openpyxl.Workbook) -> list[str]:
    """Return what the column 导入结果 says, header included."""
    sheet = book["服务时数"]
    place = [cell.value for cell in sheet[1]].index("导入结果") + 1
    return [sheet.cell(row, place).value for row in range(1, sheet.max_row + 1)]


def test_the_file_given_back_says_what_became_of_each_row(office):
    import_id = office.check(with_mistakes(office))["id"]
    checked = results(office.result(import_id))
    assert checked[:2] == ["导入结果", "检查通过，尚未导入"]
    office.confirm(import_id)
    office.work()
    book = office.result(import_id)
    done = results(book)
    assert done[1:6] == ["已导入"] * 5
    assert done[10] == "已存在"
    assert done[6].startswith("未导入：身份证号码校验不通过")
    assert "最后一位应为" in book["服务时数"]["B7"].comment.text
    assert book["服务时数"]["D9"].fill.fgColor.rgb == "FFFFC7CE"
    office.undo(import_id)
    office.work()
    assert results(office.result(import_id))[1:6] == ["已撤销"] * 5


def test_the_file_given_back_keeps_the_users_name(office):
    import_id = office.check([office.row(0)])["id"]
    answer = office.client.get(f"/v1/imports/{import_id}/result.xlsx")
    assert (
        "3%E6%9C%88%E6%97%B6%E6%95%B0-%E5%AF%BC%E5%85%A5%E7%BB%93%E6%9E%9C.xlsx"
        in answer.headers["Content-Disposition"]
    )


def test_an_expired_file_is_removed_with_its_findings_and_the_counts_stay(office):
    import_id = office.enter(with_mistakes(office))["id"]
    checked = office.check([office.row(3, starts=time(20), ends=time(21))])["id"]
    with office.service.runtime.db.transaction() as session:
        session.execute(sa.text("UPDATE imports SET checked_at = now() - interval '31 days'"))
    with office.service.runtime.db.transaction() as session:
        office.service.remove_what_is_due(session)
    shown = office.shown(import_id)
    assert (shown["errors"], shown["file_name"], shown["result"], shown["entered"]) == ([], None, None, 5)
    stored = fetch(office.service, "SELECT workbook, preview, outcomes, file_name FROM imports")
    assert {value for row in stored for value in row.values()} == {None}
    gone = office.client.get(f"/v1/imports/{import_id}/result.xlsx")
    assert (gone.status_code, gone.get_json()["code"]) == (409, "import.expired")
    assert office.confirm(checked).get_json()["code"] == "import.expired"
