"""Invented volunteers: made-up names, identity numbers nobody holds, telephones of a range nobody is given."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

SEED = 20200305
COUNT = 400
STRANGERS = 4
"""People after the volunteers, who appear in the workbook and are registered nowhere."""

_SURNAMES = (
    "陈李黄林何吴梁张刘郑谢罗叶许钟彭邓曾杨周徐马朱胡郭余蔡潘袁董"
    "于苏卢蒋丁魏薛阎沈范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾"
)
# Chosen for being rare as given names, so that hardly anybody is called so.
_FIRST = "砚禾汀榆棠岚筠泠澍苒栩珩璟稷霁昀晞旻翊羲"
_SECOND = "舟蓬笙槐笺砾溪棣苇筱帆垚苓禧堤坪川畔野椿"

# The codes that a prefecture's districts have together (…01). Numbers for people are given out under the single
# counties' codes, so that these pass every check of form and yet belong to nobody.
_AREAS = {"TS": "440701", "LK": "512001"}
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_STUDENTS_BORN = (date(2003, 1, 1), date(2005, 8, 31))
_ADULTS_BORN = (date(1956, 1, 1), date(1998, 12, 31))


@dataclass(frozen=True, slots=True)
class Person:
    """One invented person; ``region`` is TS or LK."""

    index: int
    name: str
    id_number: str
    phone: str
    region: str
    unit_code: str
    team_code: str
    is_student: bool


def check_character(body: str) -> str:
    """Return the last character of an identity number for its first 17 digits (GB 11643-1999)."""
    return "10X98765432"[sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True)) % 11]


def make_people(teams: Sequence[tuple[str, str]]) -> tuple[list[Person], list[Person]]:
    """Return the volunteers and the strangers, always the same ones, spread over teams of (code, unit code)."""
    rng = random.Random(SEED)  # noqa: S311  (repeatable on purpose, and no secret)
    names = _names(rng)
    made = [_person(rng, index, next(names), *teams[index % len(teams)]) for index in range(COUNT + STRANGERS)]
    return made[:COUNT], made[COUNT:]


def _person(rng: random.Random, index: int, name: str, team_code: str, unit_code: str) -> Person:
    region = unit_code[:2]
    # Schools only, not kindergartens; every second member of a school's team is a pupil.
    is_student = unit_code[3:5] in {"YX", "ZX", "ZZ"} and index // 25 % 2 == 0
    first, last = _STUDENTS_BORN if is_student else _ADULTS_BORN
    born_on = first + timedelta(days=rng.randrange((last - first).days + 1))
    # The running number keeps any two apart, whatever the date of birth.
    body = f"{_AREAS[region]}{born_on:%Y%m%d}{index:03d}"
    # 142 has not been given to any network.
    phone = f"1420000{index:04d}"
    return Person(index, name, body + check_character(body), phone, region, unit_code, team_code, is_student)


def _names(rng: random.Random) -> Iterator[str]:
    seen: set[str] = set()
    while True:
        name = rng.choice(_SURNAMES) + rng.choice(_FIRST) + rng.choice(_SECOND)
        if name not in seen:
            seen.add(name)
            yield name
