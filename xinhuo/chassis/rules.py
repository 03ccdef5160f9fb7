"""Local rules as dated data: read from YAML, checked for gaps and overlaps, chosen by day and area.

A file holds one rule in all its versions::

    rule: day_limit
    title: 单日服务时间上限
    title_en: Most service time in one day
    versions:
      - valid_from: 1963-03-05     # the first day it holds
        valid_until: 2030-12-31    # the last day it holds; left out in the newest version
        locality: "440781"         # six-digit area code; left out when it holds everywhere
        clause: 某办法第七条         # what it rests on
        values: {minutes: 1440}    # read by the domain of the service

The domain gets plain objects: ``parse`` turns ``values`` and ``clause`` into one of its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar

import yaml

from .errors import RuleError

T = TypeVar("T")

_AREA = re.compile(r"[1-9][0-9]{5}")
_FILE_KEYS = {"rule", "title", "title_en", "versions"}
_VERSION_KEYS = {"valid_from", "valid_until", "locality", "clause", "values"}


class InvalidRules(ValueError):
    """A rule file is not of the form this module documents, or its periods overlap or leave a gap."""


class NoRuleInForce(RuleError):
    """No version of a local rule covers the day."""

    code = "rule.none_in_force"
    title = "该日期没有适用的规则"


class Readable(Protocol):
    """A file that can be read as text: a ``Path``, or a resource of a package."""

    @property
    def name(self) -> str:
        """The last part of the path."""

    def read_text(self, encoding: str) -> str:
        """Return the whole text."""


@dataclass(frozen=True, slots=True)
class DatedRule(Generic[T]):
    """One version of a rule: what it says, from when to when, where, and on what it rests."""

    name: str
    title: str
    title_en: str
    valid_from: date
    valid_until: date | None
    """The last day, included; None while no end is known."""
    locality: str | None
    clause: str
    value: T

    @property
    def reference(self) -> str:
        """The version as one short word: ``day_limit@1963-03-05``, with the area when it has one."""
        area = f"/{self.locality}" if self.locality else ""
        return f"{self.name}{area}@{self.valid_from.isoformat()}"

    def covers(self, on: date) -> bool:
        """Say whether the version is in force on a day."""
        return self.valid_from <= on and (self.valid_until is None or on <= self.valid_until)


def load_rules(source: Readable, parse: Callable[[Mapping[str, Any], str], T]) -> tuple[DatedRule[T], ...]:
    """Read all versions of a rule, oldest first for each area; ``parse`` may raise ``ValueError``.

    Raises ``InvalidRules`` naming the file and the version when anything is not as documented.
    """
    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidRules(f"{source.name}: this is not YAML: {error}") from error
    head = _mapping(data, _FILE_KEYS, _FILE_KEYS, source.name)
    for key in ("rule", "title", "title_en"):
        _text(head[key], f"{source.name}: {key}")
    versions = head["versions"]
    if not isinstance(versions, list) or not versions:
        raise InvalidRules(f"{source.name}: versions must be a list that is not empty")
    rules = [_version(head, item, f"{source.name}: version {n}", parse) for n, item in enumerate(versions, 1)]
    return _checked(rules, source.name)


def in_force(rules: Iterable[DatedRule[T]], on: date, locality: str | None = None) -> DatedRule[T]:
    """Return the version in force on a day: that of the area, else of its city, province, else everywhere.

    Raises ``NoRuleInForce``.
    """
    covering = {rule.locality: rule for rule in rules if rule.covers(on)}
    areas = [locality, f"{locality[:4]}00", f"{locality[:2]}0000"] if locality else []
    for area in (*areas, None):
        if area in covering:
            return covering[area]
    raise NoRuleInForce(
        f"{on.isoformat()} 没有适用的规则，请核对日期；日期无误的，请联系管理员补充规则数据。",
        f"No rule is in force on {on.isoformat()}; check the date, or ask the administrator to add the rule.",
        extra={"on": on.isoformat()},
    )


def _version(
    head: Mapping[str, Any], item: object, place: str, parse: Callable[[Mapping[str, Any], str], T]
) -> DatedRule[T]:
    data = _mapping(item, {"valid_from", "clause", "values"}, _VERSION_KEYS, place)
    valid_from = _day(data["valid_from"], f"{place}: valid_from")
    valid_until = None
    if data.get("valid_until") is not None:
        valid_until = _day(data["valid_until"], f"{place}: valid_until")
    if valid_until is not None and valid_until < valid_from:
        raise InvalidRules(f"{place}: valid_until is before valid_from")
    locality = data.get("locality")
    if locality is not None and not (isinstance(locality, str) and _AREA.fullmatch(locality)):
        raise InvalidRules(f"{place}: locality must be a six-digit area code in quotation marks")
    values = data["values"]
    if not isinstance(values, dict):
        raise InvalidRules(f"{place}: values must be a mapping")
    clause = _text(data["clause"], f"{place}: clause")
    try:
        value = parse(values, clause)
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidRules(f"{place}: values cannot be read: {type(error).__name__}: {error}") from error
    return DatedRule(
        name=head["rule"],
        title=head["title"],
        title_en=head["title_en"],
        valid_from=valid_from,
        valid_until=valid_until,
        locality=locality,
        clause=clause,
        value=value,
    )


def _checked(rules: Sequence[DatedRule[T]], place: str) -> tuple[DatedRule[T], ...]:
    """Return the versions in order; on each day from the first on, exactly one must hold in each area."""
    by_area: defaultdict[str, list[DatedRule[T]]] = defaultdict(list)
    for rule in rules:
        by_area[rule.locality or ""].append(rule)
    ordered: list[DatedRule[T]] = []
    for area, versions in sorted(by_area.items()):
        versions.sort(key=lambda rule: rule.valid_from)
        for earlier, later in pairwise(versions):
            if earlier.valid_until is None or earlier.valid_until >= later.valid_from:
                raise InvalidRules(f"{place}: {earlier.reference} and {later.reference} overlap")
            if earlier.valid_until + timedelta(days=1) < later.valid_from:
                raise InvalidRules(f"{place}: no version between {earlier.reference} and {later.reference}")
        # An area may return to the general rule; the general rule itself has nothing to fall back on.
        if not area and versions[-1].valid_until is not None:
            raise InvalidRules(f"{place}: no version after {versions[-1].reference}")
        ordered += versions
    return tuple(ordered)


def _mapping(data: object, required: set[str], allowed: set[str], place: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidRules(f"{place}: a mapping is expected")
    if missing := required - data.keys():
        raise InvalidRules(f"{place}: missing {', '.join(sorted(missing))}")
    if unknown := {str(key) for key in data} - allowed:
        raise InvalidRules(f"{place}: unknown {', '.join(sorted(unknown))}")
    return data


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidRules(f"{place} must be a text that is not empty")
    return value


def _day(value: object, place: str) -> date:
    # YAML reads 2020-01-01 as a date and 2020-01-01 08:00 as a datetime, which Python calls a date too.
    if not isinstance(value, date) or isinstance(value, datetime):
        raise InvalidRules(f"{place} must be a date such as 2020-01-01")
    return value
