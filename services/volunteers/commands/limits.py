"""The dated rules of this service, read once from its folder ``rules``."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import cache, lru_cache
from pathlib import Path

from xinhuo.chassis.rules import DatedRule, in_force, load_rules

from ..domain import DayLimit
from ..domain.claims import SecondPerson
from ..domain.tags import Tag, read_tags

_RULES = Path(__file__).resolve().parents[1] / "rules"


@cache
def _day_limits() -> tuple[DatedRule[DayLimit], ...]:
    return load_rules(_RULES / "day_limit.yaml", DayLimit.of)


@cache
def _tags() -> tuple[DatedRule[dict[str, Tag]], ...]:
    return load_rules(_RULES / "person_tags.yaml", read_tags)


@lru_cache(maxsize=4096)
def day_limit(on: date) -> DayLimit:
    """Return the day limit in force on a day, with its clause; raises ``NoRuleInForce``."""
    rule = in_force(_day_limits(), on)
    return replace(rule.value, clause=rule.clause)


def person_tags(on: date) -> Mapping[str, Tag]:
    """Return the tags in force on a day by their codes; raises ``NoRuleInForce``."""
    return in_force(_tags(), on).value


@cache
def _second_persons() -> tuple[DatedRule[SecondPerson], ...]:
    return load_rules(_RULES / "second_person.yaml", SecondPerson.of)


def second_person(on: date) -> SecondPerson:
    """Return over how many minutes a reversal made on a day needs a second person; raises ``NoRuleInForce``."""
    return in_force(_second_persons(), on).value
