"""Facts in Chinese, as people say and documents write them."""

from datetime import date

import pytest

from services.notify import domain


@pytest.mark.parametrize(
    ("minutes", "spoken"),
    [
        (0, "0分钟"),
        (1, "1分钟"),
        (59, "59分钟"),
        (60, "1小时"),
        (61, "1小时1分钟"),
        (120, "2小时"),
        (150, "2小时30分钟"),
        (6000, "100小时"),
    ],
)
def test_minutes_are_spoken_in_hours_and_minutes(minutes, spoken):
    assert domain.spoken_minutes(minutes) == spoken


def test_less_than_no_time_is_refused():
    with pytest.raises(ValueError, match="-1"):
        domain.spoken_minutes(-1)


@pytest.mark.parametrize(
    ("day", "spoken"), [(date(2020, 3, 5), "2020年3月5日"), (date(2020, 12, 31), "2020年12月31日")]
)
def test_days_have_no_leading_zeros(day, spoken):
    assert domain.spoken_date(day) == spoken


def test_five_stars_have_names():
    names = [domain.star_name(star) for star in range(1, 6)]
    assert names == ["一星级", "二星级", "三星级", "四星级", "五星级"]


@pytest.mark.parametrize("star", [0, 6, -1])
def test_other_stars_have_none(star):
    with pytest.raises(ValueError, match="no star"):
        domain.star_name(star)
