"""The canaries: seeded invented persons, whose every string is unmistakable and stands nowhere else."""

import random
from dataclasses import dataclass
from datetime import date
from typing import Any

SEED = 20260305
#: Numbers of a range that nobody is given.
_PHONES = "1420001"
#: The code of all districts of a prefecture together: no person's number begins so.
_AREA = "440701"
_random = random.Random(SEED)


@dataclass(frozen=True)
class Canary:
    """One invented person."""

    name: str
    born: date
    id_number: str
    phone: str

    @property
    def secrets(self) -> dict[str, str]:
        """Return everything of the person that must not show, by what it is."""
        born = self.born
        return {
            "name": self.name,
            "id_number": self.id_number,
            "phone": self.phone,
            "born": born.isoformat(),
            "born, in one": f"{born:%Y%m%d}",
            "born, with slashes": f"{born:%Y/%m/%d}",
            "born, in Chinese": f"{born.year}年{born.month}月{born.day}日",
        }

    def form(self, unit: str, **more: Any) -> dict[str, Any]:
        """Return what registers the person."""
        own = {"name": self.name, "id_number": self.id_number, "phone": self.phone, "born_on": self.born.isoformat()}
        return {**own, "unit_code": unit, **more}

    def guards(self) -> dict[str, Any]:
        """Return what names the person as a guardian."""
        return {"guardian_name": self.name, "guardian_phone": self.phone, "relation": "mother"}


def _canary(name: str, year: int) -> Canary:
    born = date(year, _random.randrange(1, 13), _random.randrange(13, 29))
    body = f"{_AREA}{born:%Y%m%d}{_random.randrange(300, 990):03d}"
    # GB 11643-1999, by its definition: the weight of a place is 2 to its power, modulo 11.
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(body))
    return Canary(name, born, body + "10X98765432"[total % 11], f"{_PHONES}{_random.randrange(1000, 9999)}")


_YEAR = date.today().year
ADULT = _canary("闻人砚汀", 1931)
ERASED = _canary("宇文泠澍", 1932)
SECOND = _canary("上官珩璟", 1933)
GUARDIAN = _canary("慕容岚筠", 1934)
REFUSED = _canary("令狐苒栩", 1935)
STRANGER = _canary("端木笙槐", 1936)
"""In a workbook, and registered nowhere."""
CLERK = _canary("公孙稷霁", 1937)
"""Of the staff: with an account."""
TYPED = _canary("皇甫榆棠", 1938)
"""What somebody types into every field of every route."""
CHILD = _canary("司徒昀晞", _YEAR - 9)
WAITING = _canary("诸葛苇帆", _YEAR - 8)
"""A child whose guardian consents later, and withdraws the consent."""

ALL = {
    "adult": ADULT, "erased": ERASED, "second": SECOND, "guardian": GUARDIAN, "refused": REFUSED,
    "stranger": STRANGER, "clerk": CLERK, "typed": TYPED, "child": CHILD, "waiting": WAITING,
}  # fmt: skip
PASSWORD = "门前老榕树下第七块石板-canary"
OTHER_PASSWORD = "渡口石阶第九级左边的苔-canary"
#: What was typed where a login belongs.
WRONG_LOGIN = "canary.typed.secret.7731"


def wrong_digit(number: str) -> str:
    """Return a number with another check digit."""
    return number[:17] + ("7" if number[17] != "7" else "3")


def secrets() -> dict[str, str]:
    """Return all that is looked for, by whose it is and what."""
    found = {f"{who}: {what}": text for who, one in ALL.items() for what, text in one.secrets.items()}
    found["refused: number with a wrong digit"] = wrong_digit(REFUSED.id_number)
    return found | {"password": PASSWORD, "other password": OTHER_PASSWORD, "wrong login": WRONG_LOGIN}
