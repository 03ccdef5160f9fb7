"""The file that says for each table of each service how long its rows stay, and by which clause.

It is a file of dated rules (``chassis.rules``). The values of a version hold, by service, its tables; those of
``every_service`` are in each. A table has one line, or several with a ``rule`` of their own::

    values:
      every_service:
        idempotency_keys:
          keep: 2 days             # or: always | while_needed | event_months
          at_least: 1 days         # what a law obliges to keep; less is refused when the file is read
          clause: 本系统默认值
          what: 请求的加密应答
          what_en: encrypted answers to repeated requests

``always`` stays. ``while_needed`` is removed by the work itself when it is done with, or with the row it belongs to.
``event_months`` goes by whole months, as ``XINHUO_KEEP_EVENTS_MONTHS`` says.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from ..rules import DatedRule, Readable, in_force, load_rules

EVERY_SERVICE = "every_service"
WORDS = ("always", "while_needed", "event_months")
_PERIOD = re.compile(r"([0-9]{1,4}) (days|months|years)")
_REQUIRED = {"keep", "clause", "what", "what_en"}
_LONGEST_MONTH, _SHORTEST_MONTH = 31, 28


@dataclass(frozen=True)
class Period:
    """A number of days or of calendar months."""

    days: int = 0
    months: int = 0

    def before(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the instant so long before now, by the calendar of the office."""
        return _moved(now.astimezone(zone), -self.days, -self.months)

    def after(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the instant so long after now, by the calendar of the office."""
        return _moved(now.astimezone(zone), self.days, self.months)

    def is_shorter_than(self, other: "Period") -> bool:
        """Say whether the period may be the shorter one, whatever months it falls on."""
        if not self.days and not other.days:
            return self.months < other.months
        return self.days + self.months * _SHORTEST_MONTH < other.days + other.months * _LONGEST_MONTH


@dataclass(frozen=True)
class Line:
    """What the file says of a table, or of one kind of its rows."""

    table: str
    rule: str
    keep: str
    period: Period | None
    """None for what goes by no date."""
    clause: str
    what: str
    what_en: str

    @property
    def name(self) -> str:
        """The table, with the rule where it has several."""
        return f"{self.table}/{self.rule}" if self.rule else self.table


Retention = tuple[DatedRule[Mapping[str, tuple[Line, ...]]], ...]


def load(source: Readable) -> Retention:
    """Read the file; raises InvalidRules, also when something is kept for less long than it must be."""
    return load_rules(source, _parse)


def lines_of(retention: Retention, service: str, today: date) -> tuple[Line, ...]:
    """Return the lines that hold for a service on a day, its own after those of every service; none without a file."""
    if not retention:
        return ()
    by_service = in_force(retention, today).value
    return (*by_service.get(EVERY_SERVICE, ()), *by_service.get(service, ()))


def _parse(values: Mapping[str, Any], _clause: str) -> Mapping[str, tuple[Line, ...]]:
    return {service: tuple(_lines(service, tables)) for service, tables in values.items()}


def _lines(service: str, tables: Mapping[str, Any]) -> Sequence[Line]:
    found = []
    for table, said in tables.items():
        several = said if isinstance(said, list) else [said]
        found += [_line(table, one, named=len(several) > 1) for one in several]
    names = [line.name for line in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{service}: a rule stands twice")
    return found


def _line(table: str, said: Mapping[str, Any], *, named: bool) -> Line:
    if not said.keys() >= _REQUIRED or not said.keys() <= _REQUIRED | {"at_least", "rule"}:
        raise ValueError(f"{table}: {sorted(_REQUIRED)}, perhaps at_least and rule are expected, not {sorted(said)}")
    if named and not said.get("rule"):
        raise ValueError(f"{table}: of several lines each needs a rule")
    keep = str(said["keep"])
    period = None if keep in WORDS else period_of(keep)
    floor = said.get("at_least")
    if floor is not None and period is not None and period.is_shorter_than(period_of(floor)):
        raise ValueError(f"{table}: {keep} is less than {floor}, which {said['clause']} obliges to")
    return Line(table, said.get("rule", ""), keep, period, said["clause"], said["what"], said["what_en"])


def _moved(local: datetime, days: int, months: int) -> datetime:
    """Move a local time; the 31st becomes the last day of a shorter month."""
    local += timedelta(days=days)
    month = local.year * 12 + local.month - 1 + months
    first = local.replace(year=month // 12, month=month % 12 + 1, day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(local.day, last.day))


def period_of(text: str) -> Period:
    """Read ``30 days``, ``6 months`` or ``3 years``; raises ValueError."""
    if not (match := _PERIOD.fullmatch(str(text))):
        raise ValueError(f"{text!r} should be like 30 days, 6 months, 3 years, or one of {', '.join(WORDS)}")
    number = int(match[1])
    return {"days": Period(number), "months": Period(months=number), "years": Period(months=12 * number)}[match[2]]
