"""The rules of stars: which star service time reaches, and what each entry or reversal changes; pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid5

from xinhuo.chassis.errors import PermanentEventError

STAR_NAMES = ("一星级", "二星级", "三星级", "四星级", "五星级")
MINUTES_PER_HOUR = 60
#: Permanent, like every award that was ever named by it.
_AWARDS = UUID("3f0c8f5e-7a4b-5d1e-9c62-0b6d4a1f8e27")


class NegativeTotal(PermanentEventError):
    """A reversal takes back more service time than there is."""

    code = "event.negative_total"
    title = "冲正后总时间为负"


class SenselessMinutes(PermanentEventError):
    """An event carries minutes that are not above zero."""

    code = "event.senseless_minutes"
    title = "事件中的分钟数不是正数"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The minutes from which on (included) each star is held, ascending, and the clause they rest on."""

    minutes: tuple[int, ...]
    clause: str = ""

    def __post_init__(self) -> None:
        """Refuse thresholds that are not one to five positive numbers in ascending order."""
        if not 1 <= len(self.minutes) <= len(STAR_NAMES):
            raise ValueError("one to five stars are possible")
        if self.minutes[0] <= 0 or any(low >= high for low, high in pairwise(self.minutes)):
            raise ValueError("thresholds must be positive and ascending")

    @classmethod
    def of(cls, values: Mapping[str, Any], clause: str = "") -> Thresholds:
        """Read the values of a rule file, where thresholds are in hours."""
        # Whole hours only: 1.5 would give a fraction of a minute sooner or later, and True is no number here.
        if any(type(hours) is not int for hours in values["hours"]):
            raise ValueError("thresholds must be whole numbers of hours")
        return cls(tuple(hours * MINUTES_PER_HOUR for hours in values["hours"]), clause)

    def of_star(self, star: int) -> int:
        """Return the minutes from which on a star is held."""
        return self.minutes[star - 1]


def star_for(minutes: int, thresholds: Thresholds) -> int:
    """Return the star (0 for none) that a total of minutes reaches; the threshold itself is included."""
    # 《民法典》第一千二百五十九条: “以上”包括本数。
    return bisect_right(thresholds.minutes, minutes)


def award_id(volunteer_id: UUID, star: int, occurrence: int) -> UUID:
    """Return the id of an occurrence of a volunteer's star: the same whenever, and however often, it is worked out.

    So whoever was told of it knows it again after a replay; the id tells nothing about the volunteer.
    """
    return uuid5(_AWARDS, f"{volunteer_id}/{star}/{occurrence}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a volunteer holds the star, in both languages, with the clause."""

    star: int
    zh: str
    en: str
    clause: str


def explain(minutes: int, thresholds: Thresholds) -> Explanation:
    """Return why a total of minutes gives its star, and what the next one takes."""
    star = star_for(minutes, thresholds)
    zh = f"累计志愿服务时间{_hours_zh(minutes)}，"
    en = f"Service time adds up to {_hours_en(minutes)}: "
    if star:
        at = thresholds.of_star(star)
        zh += f"达到{STAR_NAMES[star - 1]}标准（{_hours_zh(at)}以上，含本数）"
        en += f"star {star} ({_hours_en(at)} or more)"
    else:
        zh += "尚未达到星级标准"
        en += "no star yet"
    if star < len(thresholds.minutes):
        missing = thresholds.of_star(star + 1) - minutes
        zh += f"；距{STAR_NAMES[star]}还差{_hours_zh(missing)}"
        en += f"; {_hours_en(missing)} more for star {star + 1}"
    if thresholds.clause:
        zh += f"。依据：{thresholds.clause}"
        en += f". Rule: {thresholds.clause}"
    return Explanation(star, f"{zh}。", f"{en}.", thresholds.clause)


def _hours_zh(minutes: int) -> str:
    hours, rest = divmod(minutes, MINUTES_PER_HOUR)
    return f"{hours}小时{rest}分钟" if rest else f"{hours}小时"


def _hours_en(minutes: int) -> str:
    hours, rest = divmod(minutes, MINUTES_PER_HOUR)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


# --- The tally ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StarState:
    """How often a star was earned, and whether it is held now."""

    occurrences: int
    held: bool


_NEVER = StarState(0, held=False)


@dataclass(frozen=True, slots=True)
class Tally:
    """What counts for one volunteer: the minutes, and the history of each star."""

    minutes: int = 0
    stars: Mapping[int, StarState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Logged:
    """Service time was entered."""

    entry_id: UUID
    minutes: int


@dataclass(frozen=True, slots=True)
class Reversed:
    """The service time of an entry was taken back; ``minutes`` is a positive number."""

    reversal_id: UUID
    entry_id: UUID
    minutes: int


@dataclass(frozen=True, slots=True)
class StarEarned:
    """A total reached a star, for the first or another time (``occurrence`` counts from 1)."""

    star: int
    occurrence: int
    minutes_total: int


@dataclass(frozen=True, slots=True)
class StarWithdrawn:
    """A reversal took the total below a star that was held."""

    star: int
    occurrence: int
    reversal_id: UUID
    minutes_total: int


Outcome = StarEarned | StarWithdrawn


def apply(tally: Tally, change: Logged | Reversed, thresholds: Thresholds) -> tuple[Tally, Sequence[Outcome]]:
    """Return the tally after a change and the stars earned (ascending) or withdrawn (descending) by it.

    Only an entry earns and only a reversal withdraws: a star is never taken because a table changed. Earning
    a withdrawn star again is its next occurrence. Raises ``NegativeTotal`` or ``SenselessMinutes``.
    """
    if change.minutes <= 0:
        raise SenselessMinutes(f"entry {change.entry_id} carries {change.minutes} minutes")
    if isinstance(change, Logged):
        return _add(tally, change, thresholds)
    return _take_back(tally, change, thresholds)


def _add(tally: Tally, change: Logged, thresholds: Thresholds) -> tuple[Tally, Sequence[Outcome]]:
    total = tally.minutes + change.minutes
    stars, outcomes = dict(tally.stars), []
    for star in range(1, star_for(total, thresholds) + 1):
        state = stars.get(star, _NEVER)
        if not state.held:
            stars[star] = StarState(state.occurrences + 1, held=True)
            outcomes.append(StarEarned(star, state.occurrences + 1, total))
    return Tally(total, stars), outcomes


def _take_back(tally: Tally, change: Reversed, thresholds: Thresholds) -> tuple[Tally, Sequence[Outcome]]:
    total = tally.minutes - change.minutes
    if total < 0:
        raise NegativeTotal(f"reversal {change.reversal_id} takes {change.minutes} minutes back from {tally.minutes}")
    stars, outcomes = dict(tally.stars), []
    # Only the stars between the totals before and after: those are what this reversal took.
    for star in range(star_for(tally.minutes, thresholds), star_for(total, thresholds), -1):
        state = stars.get(star, _NEVER)
        if state.held:
            stars[star] = replace(state, held=False)
            outcomes.append(StarWithdrawn(star, state.occurrences, change.reversal_id, total))
    return Tally(total, stars), outcomes
