"""The star thresholds as dated local rules, read from ``rules/stars.yaml`` when first asked for."""

from datetime import date
from functools import cache
from pathlib import Path

from xinhuo.chassis.rules import DatedRule, in_force, load_rules

from .domain import Thresholds

_FILE = Path(__file__).parent / "rules" / "stars.yaml"


@cache
def versions() -> tuple[DatedRule[Thresholds], ...]:
    """Return every version of the rule, oldest first."""
    return load_rules(_FILE, Thresholds.of)


def on(day: date) -> DatedRule[Thresholds]:
    """Return the thresholds in force on a day; raises NoRuleInForce."""
    return in_force(versions(), day)


def by_reference(reference: str) -> DatedRule[Thresholds] | None:
    """Return the version that a stored star names, or None when the file no longer has it."""
    return next((rule for rule in versions() if rule.reference == reference), None)
