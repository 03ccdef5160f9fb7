"""The rules of the register: numbers of volunteers and activities, and what is missing or taken in it."""

from __future__ import annotations

from stdnum import luhn

from xinhuo.chassis.errors import Conflict, NotFound

#: Digits and capitals without I, L, O and U, which are misread or spell words.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: How many numbers there are; one in a quadrillion is not guessed.
VOLUNTEER_NUMBERS = len(ALPHABET) ** 10


class TeamNotFound(NotFound):
    """No team has this code."""

    code = "team.not_found"
    title = "队伍不存在"

    def __init__(self, team_code: str) -> None:
        """Name the code."""
        super().__init__(
            f"没有代码为“{team_code}”的队伍，请核对代码。",
            f"No team has the code {team_code}; check it.",
        )


class ActivityNumberTaken(Conflict):
    """Another activity already has the number."""

    code = "activity.number_taken"
    title = "活动编号已被使用"

    def __init__(self, number: str, other: str | None) -> None:
        """Name the number and the id of the activity that has it, unless it is out of reach."""
        super().__init__(
            f"活动编号“{number}”已被登记，请改用其他编号，或不填由系统编号。",
            f"The activity number {number} is registered; choose another one or leave it out.",
            pointer="/number",
            extra={} if other is None else {"other": other},
        )


def volunteer_no(drawn: int) -> str:
    """Return the volunteer number for a number drawn at random below ``VOLUNTEER_NUMBERS``.

    It is V, ten characters and a check character (Luhn modulo 32), and says nothing about the person.
    """
    if not 0 <= drawn < VOLUNTEER_NUMBERS:
        raise ValueError("drawn is out of range")
    characters = ""
    for _ in range(10):
        drawn, place = divmod(drawn, len(ALPHABET))
        characters = ALPHABET[place] + characters
    return f"V{characters}{luhn.calc_check_digit(characters, ALPHABET)}"


def is_volunteer_no(text: str) -> bool:
    """Say whether a text has the form of a volunteer number and its check character fits."""
    return len(text) == 12 and text[0] == "V" and luhn.is_valid(text[1:], ALPHABET)


def activity_number(year: int, serial: int) -> str:
    """Return the number that the system gives to an activity: HD-2020-0001."""
    return f"HD-{year}-{serial:04d}"
