"""How facts are put into Chinese: amounts of time, days and stars; pure."""

from __future__ import annotations

from datetime import date

STAR_NAMES = ("一星级", "二星级", "三星级", "四星级", "五星级")


def spoken_minutes(minutes: int) -> str:
    """Return an amount of time as people say it: 150 is ``2小时30分钟``; raises ``ValueError`` below zero."""
    if minutes < 0:
        raise ValueError(f"{minutes} minutes are no amount of time")
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest}分钟"
    return f"{hours}小时{rest}分钟" if rest else f"{hours}小时"


def spoken_date(day: date) -> str:
    """Return a day as documents write it, without leading zeros (GB/T 9704-2012): ``2020年3月5日``."""
    return f"{day.year}年{day.month}月{day.day}日"


def star_name(star: int) -> str:
    """Return the name of a star from 1 to 5; raises ``ValueError`` for another number."""
    if not 1 <= star <= len(STAR_NAMES):
        raise ValueError(f"there is no star {star}")
    return STAR_NAMES[star - 1]
