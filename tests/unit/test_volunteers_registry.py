"""Numbers of volunteers and activities."""

import pytest

from services.volunteers.domain import registry


def test_a_volunteer_number_is_v_ten_characters_and_a_check_character() -> None:
    assert registry.volunteer_no(0) == "V00000000000"
    last = registry.volunteer_no(registry.VOLUNTEER_NUMBERS - 1)
    assert last.startswith("VZZZZZZZZZZ")
    assert registry.is_volunteer_no(last)


@pytest.mark.parametrize("drawn", [-1, registry.VOLUNTEER_NUMBERS])
def test_a_draw_out_of_range_is_refused(drawn: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        registry.volunteer_no(drawn)


@pytest.mark.parametrize("drawn", [1, 31, 32, 123_456_789, 10**15 - 1])
def test_a_wrong_or_swapped_character_does_not_pass_the_check(drawn: int) -> None:
    number = registry.volunteer_no(drawn)
    assert registry.is_volunteer_no(number)
    for place in range(1, 12):
        for other in registry.ALPHABET:
            changed = number[:place] + other + number[place + 1 :]
            assert registry.is_volunteer_no(changed) == (changed == number)


@pytest.mark.parametrize("text", ["", "V", "X00000000000", "V0000000000I", "V000000000000"])
def test_other_texts_are_no_volunteer_numbers(text: str) -> None:
    assert not registry.is_volunteer_no(text)


def test_numbers_of_activities_have_the_year_and_at_least_four_digits() -> None:
    assert registry.activity_number(2020, 1) == "HD-2020-0001"
    assert registry.activity_number(2026, 12345) == "HD-2026-12345"


def test_errors_of_the_register_say_what_is_wrong_in_both_languages() -> None:
    missing, taken = registry.TeamNotFound("T-1"), registry.ActivityNumberTaken("HD-1", "id")
    assert (missing.status, taken.status, taken.extra) == (404, 409, {"other": "id"})
    assert "T-1" in missing.zh
    assert "T-1" in missing.en
    assert "HD-1" in taken.zh
    assert "HD-1" in taken.en
