"""The rules about persons' data, by their edges."""

from datetime import date

import pytest

from services.volunteers.domain import unmask


@pytest.mark.parametrize(
    ("today", "child"),
    [("2026-03-04", True), ("2026-03-05", False), ("2027-01-01", False), ("2012-03-05", True)],
)
def test_a_person_is_a_child_until_the_day_before_the_fourteenth_birthday(today: str, child: bool) -> None:
    assert unmask.is_child("440781201203050015", date.fromisoformat(today)) is child


@pytest.mark.parametrize("reason", [None, "", "三个字", "长" * 201])
def test_no_reason_and_one_of_less_than_four_or_more_than_two_hundred_characters_are_none(reason: str | None) -> None:
    with pytest.raises(unmask.UnmaskReasonRequired):
        unmask.check_reason(reason)


@pytest.mark.parametrize("reason", ["核对信息", "长" * 200])
def test_a_reason_is_returned(reason: str) -> None:
    assert unmask.check_reason(reason) == reason
