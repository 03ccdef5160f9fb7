"""The rules of service time, activities and imports, as tables of cases with the edges first."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from services.volunteers import domain
from services.volunteers.domain import Confirm, DayLimit, ImportState, UndoWindow

CN = timezone(timedelta(hours=8))
NOW = datetime(2026, 3, 5, 18, 0, tzinfo=CN)
START = datetime(2026, 3, 5, 9, 0, tzinfo=CN)
LIMIT = DayLimit(1440, 480, "某办法第七条")


def check(minutes=120, start=START, end=START + timedelta(hours=2), *, now=NOW, activity=None):
    return domain.check_hours(start, end, minutes, now=now, activity=activity)


# --- Minutes


@pytest.mark.parametrize("minutes", [1, 119, 120])
def test_minutes_up_to_the_span_are_taken(minutes):
    served = check(minutes)
    assert served == domain.ServiceTime(
        datetime(2026, 3, 5, 1, tzinfo=UTC), datetime(2026, 3, 5, 3, tzinfo=UTC), minutes, date(2026, 3, 5)
    )
    assert served.started_at.tzinfo is UTC


@pytest.mark.parametrize("minutes", [0, -1, 1441, 12.5, 12.0, "120", "两小时", None, True])
def test_minutes_that_are_no_whole_number_of_a_day_are_refused(minutes):
    with pytest.raises(domain.InvalidHours) as caught:
        check(minutes, end=START + timedelta(days=2), now=NOW + timedelta(days=9))
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("hours.invalid", 422, "/minutes")
    assert "第七条" in str(error.clause)


def test_a_whole_day_is_the_most_one_entry_holds():
    assert check(1440, end=START + timedelta(days=1), now=NOW + timedelta(days=9)).minutes == 1440


@pytest.mark.parametrize(
    ("minutes", "end"),
    [
        (121, START + timedelta(hours=2)),
        (120, START + timedelta(hours=2, seconds=-1)),
        (1, START + timedelta(seconds=59)),
    ],
)
def test_minutes_beyond_the_span_are_refused_with_the_span(minutes, end):
    with pytest.raises(domain.InvalidHours) as caught:
        check(minutes, end=end)
    assert caught.value.extra["span"] == minutes - 1


# --- Start, end, day


@pytest.mark.parametrize("end", [START, START - timedelta(seconds=1), START - timedelta(days=365)])
def test_service_that_does_not_end_after_its_start_is_refused(end):
    with pytest.raises(domain.EndsBeforeStart) as caught:
        check(end=end)
    assert (caught.value.code, caught.value.pointer) == ("hours.ends_before_start", "/ended_at")


def test_service_may_end_now_and_not_a_second_later():
    assert check(end=NOW, minutes=1).ended_at == NOW
    with pytest.raises(domain.ServedInFuture) as caught:
        check(end=NOW + timedelta(seconds=1), minutes=1)
    assert (caught.value.code, caught.value.status) == ("hours.in_future", 422)


def test_a_time_without_a_zone_is_office_time():
    served = check(start=datetime(2026, 3, 5, 9), end=datetime(2026, 3, 5, 11), now=datetime(2026, 3, 5, 11))
    assert served.started_at == START
    with pytest.raises(domain.ServedInFuture):
        check(start=datetime(2026, 3, 5, 9), end=datetime(2026, 3, 5, 11), now=datetime(2026, 3, 5, 10, 59))


@pytest.mark.parametrize(
    ("start", "served_on"),
    [
        (datetime(2026, 3, 3, 23, 59, 59, tzinfo=CN), date(2026, 3, 3)),
        (datetime(2026, 3, 4, 0, 0, tzinfo=CN), date(2026, 3, 4)),
        (datetime(2026, 3, 3, 15, 59, 59, tzinfo=UTC), date(2026, 3, 3)),
        (datetime(2026, 3, 3, 16, 0, tzinfo=UTC), date(2026, 3, 4)),
        (datetime(2026, 3, 4, 0, 0), date(2026, 3, 4)),
    ],
)
def test_service_belongs_to_the_office_day_of_its_start(start, served_on):
    assert check(start=start, end=start + timedelta(hours=2)).served_on == served_on


# --- Within the activity

OPENS = START
CLOSES = START + timedelta(hours=3)


@pytest.mark.parametrize(("start", "end"), [(OPENS, CLOSES), (OPENS, OPENS + timedelta(hours=2))])
def test_service_up_to_both_ends_of_the_activity_is_taken(start, end):
    assert check(start=start, end=end, activity=(OPENS, CLOSES)).minutes == 120


@pytest.mark.parametrize(
    ("start", "end", "pointer"),
    [
        (OPENS - timedelta(seconds=1), CLOSES, "/started_at"),
        (OPENS, CLOSES + timedelta(seconds=1), "/ended_at"),
        (CLOSES, CLOSES + timedelta(hours=2), "/ended_at"),
        (OPENS - timedelta(hours=3), OPENS - timedelta(hours=1), "/started_at"),
    ],
)
def test_service_outside_the_activity_is_refused(start, end, pointer):
    with pytest.raises(domain.OutsideActivity) as caught:
        check(start=start, end=end, activity=(OPENS.replace(tzinfo=None), CLOSES))
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("hours.outside_activity", 422, pointer)
    assert "2026-03-05 09:00" in error.zh
    assert "新建时间相符的活动" in error.zh


@pytest.mark.parametrize(
    ("day", "held"),
    [(date(2026, 3, 4), False), (date(2026, 3, 5), True), (date(2026, 3, 6), False), (date(2025, 3, 5), False)],
)
def test_a_day_of_which_no_time_lies_within_the_activity_is_told_from_others(day, held):
    midnight = OPENS.replace(hour=0) + timedelta(days=1)
    with pytest.raises(domain.OutsideActivity) as caught:
        check(start=OPENS - timedelta(hours=3), end=OPENS, activity=(OPENS, midnight))
    assert caught.value.may_hold(day) is held


# --- The day


@pytest.mark.parametrize(
    ("before", "minutes", "attention"),
    [(0, 480, False), (0, 481, True), (420, 60, False), (420, 61, True), (1439, 1, True), (0, 1440, True)],
)
def test_a_day_over_eight_hours_is_shown_to_reviewers(before, minutes, attention):
    assert domain.check_day_limit(before, minutes, served_on=date(2026, 3, 5), limit=LIMIT) is attention


@pytest.mark.parametrize(("before", "minutes", "left"), [(1, 1440, 1439), (1439, 2, 1), (1440, 1, 0), (1500, 1, 0)])
def test_more_than_the_day_has_left_is_refused_with_what_is_left(before, minutes, left):
    with pytest.raises(domain.DayLimitExceeded) as caught:
        domain.check_day_limit(before, minutes, served_on=date(2026, 3, 5), limit=LIMIT)
    error = caught.value
    assert (error.code, error.status, error.clause) == ("hours.day_limit", 422, "某办法第七条")
    assert error.extra == {"limit": 1440, "recorded": before, "left": left}
    assert f"{left}分钟" in error.zh


@pytest.mark.parametrize(("minutes", "attention"), [(1441, 480), (480, 481), (480, 0), (0, 0)])
def test_a_day_limit_that_contradicts_itself_is_refused(minutes, attention):
    with pytest.raises(ValueError, match="attention_over"):
        DayLimit.of({"minutes": minutes, "attention_over": attention})


# --- Reversals


def test_an_entry_can_be_reversed():
    assert domain.check_reversal(is_reversal=False, reversed_by=None) is None


def test_an_entry_can_be_reversed_only_once():
    with pytest.raises(domain.EntryAlreadyReversed) as caught:
        domain.check_reversal(is_reversal=False, reversed_by="0198-9")
    error = caught.value
    assert (error.code, error.status, error.extra) == ("entry.already_reversed", 409, {"other": "0198-9"})


def test_a_reversal_cannot_be_reversed():
    with pytest.raises(domain.ReversalIsFinal) as caught:
        domain.check_reversal(is_reversal=True, reversed_by=None)
    assert (caught.value.code, caught.value.status) == ("entry.is_reversal", 409)


# --- Activities


def test_an_activity_ends_after_it_starts():
    assert domain.check_activity_time(OPENS.replace(tzinfo=None), CLOSES) == (OPENS, CLOSES)
    for ends_at in (OPENS, OPENS - timedelta(seconds=1)):
        with pytest.raises(domain.InvalidActivityTime) as caught:
            domain.check_activity_time(OPENS, ends_at)
        assert caught.value.code == "activity.ends_before_start"


def test_a_category_of_the_notice_is_taken_and_another_refused_with_the_list():
    assert domain.check_category("care", {"care", "reading"}, number="台教办〔2020〕6号") == "care"
    with pytest.raises(domain.CategoryNotInNotice) as caught:
        domain.check_category("fishing", {"reading", "care"}, number="台教办〔2020〕6号")
    error = caught.value
    assert (error.code, error.status, error.pointer) == ("category.not_in_notice", 422, "/category")
    assert error.extra == {"allowed": ["care", "reading"]}
    assert "care、reading" in error.zh


# --- Imports

WINDOW = UndoWindow.of({"hours": 72}, "某规定")


@pytest.mark.parametrize(
    ("confirm", "valid", "refused"),
    [(Confirm.ALL, 5, 0), (Confirm.VALID_ROWS, 5, 0), (Confirm.VALID_ROWS, 1, 4)],
)
@pytest.mark.parametrize("state", [ImportState.CHECKED, ImportState.FAILED])
def test_a_checked_import_can_be_confirmed(state, confirm, valid, refused):
    assert domain.check_confirm(state, confirm, valid=valid, refused=refused) is None


@pytest.mark.parametrize(
    ("state", "confirm", "valid", "refused", "code"),
    [
        (ImportState.CHECKED, Confirm.ALL, 5, 1, "import.rows_refused"),
        (ImportState.CHECKED, Confirm.ALL, 0, 0, "import.nothing_valid"),
        (ImportState.CHECKED, Confirm.VALID_ROWS, 0, 9, "import.nothing_valid"),
        (ImportState.CONFIRMED, Confirm.ALL, 5, 0, "import.wrong_state"),
        (ImportState.DONE, Confirm.ALL, 5, 0, "import.wrong_state"),
        (ImportState.UNDOING, Confirm.ALL, 5, 0, "import.wrong_state"),
        (ImportState.UNDONE, Confirm.ALL, 5, 0, "import.wrong_state"),
    ],
)
def test_another_import_cannot_be_confirmed(state, confirm, valid, refused, code):
    with pytest.raises(domain.RowsRefused.__mro__[1]) as caught:
        domain.check_confirm(state, confirm, valid=valid, refused=refused)
    assert (caught.value.code, caught.value.status) == (code, 409)


@pytest.mark.parametrize("after", [timedelta(0), timedelta(hours=72)])
def test_an_import_can_be_undone_up_to_the_end_of_the_window(after):
    undone_at = NOW + after
    assert domain.check_undo(ImportState.DONE, NOW, now=undone_at, window=WINDOW) is None


def test_a_moment_after_the_window_it_is_closed():
    late = NOW + timedelta(hours=72, microseconds=1)
    with pytest.raises(domain.WindowClosed) as caught:
        domain.check_undo(ImportState.DONE, NOW, now=late, window=WINDOW)
    error = caught.value
    assert (error.code, error.status, error.clause) == ("import.undo_window_closed", 409, "某规定")
    assert error.extra == {"closed_at": "2026-03-08T10:00:00+00:00", "hours": 72}
    assert "2026-03-08 18:00" in error.zh


@pytest.mark.parametrize(
    ("state", "confirmed_at"),
    [
        (ImportState.CHECKED, None),
        (ImportState.CONFIRMED, NOW),
        (ImportState.FAILED, NOW),
        (ImportState.UNDOING, NOW),
        (ImportState.UNDONE, NOW),
        (ImportState.DONE, None),
    ],
)
def test_what_is_not_done_cannot_be_undone(state, confirmed_at):
    with pytest.raises(domain.ImportNotOpen) as caught:
        domain.check_undo(state, confirmed_at, now=NOW, window=WINDOW)
    assert caught.value.extra == {"state": state.value}


@pytest.mark.parametrize("state", [ImportState.CHECKED, ImportState.FAILED])
def test_undoing_what_entered_nothing_is_told_that_there_is_nothing_to_undo(state):
    with pytest.raises(domain.ImportNotOpen) as caught:
        domain.check_undo(state, None, now=NOW, window=WINDOW)
    assert "没有任何时数入账，无需撤销" in caught.value.zh
    assert "nothing to undo" in caught.value.en


def test_an_overlap_names_day_and_times_of_the_other_entry():
    error = domain.OverlappingService("0198-1", (START, START + timedelta(hours=2)))
    assert "2026-03-05 09:00–11:00" in error.zh
    assert "2026-03-05 09:00–11:00" in error.en
    overnight = domain.OverlappingService("0198-1", (START, START + timedelta(hours=20)))
    assert "2026-03-05 09:00–2026-03-06 05:00" in overnight.zh


def test_a_window_of_no_hours_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        UndoWindow.of({"hours": 0})


# --- Errors that need the database


@pytest.mark.parametrize(
    ("error", "status", "code", "other"),
    [
        (domain.OverlappingService("0198-1"), 409, "hours.overlap", "0198-1"),
        (domain.EntryNotFound("0198-1"), 404, "entry.not_found", None),
        (domain.TeamUnknown("T1"), 422, "team.unknown", None),
        (domain.TeamCodeTaken("T1"), 409, "team.code_taken", "T1"),
        (domain.UnitUnknown("U1"), 422, "unit.unknown", None),
        (domain.ActivityUnknown(), 422, "activity.unknown", None),
        (domain.ActivityNotFound("0198-1"), 404, "activity.not_found", None),
        (domain.NoticeUnknown("台教办〔2020〕6号"), 422, "notice.unknown", None),
        (domain.ImportNotFound("0198-1"), 404, "import.not_found", None),
        (domain.ImportSeenBefore("0198-1"), 409, "import.seen_before", "0198-1"),
    ],
)
def test_errors_of_state_name_the_other_and_say_what_to_do(error, status, code, other):
    assert (error.status, error.code, error.extra.get("other")) == (status, code, other)
    assert "请" in error.zh
    assert error.en.endswith(".")
