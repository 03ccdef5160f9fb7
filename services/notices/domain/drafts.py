"""What a draft of a notice must say before it can be kept, and whom its parts bind when it is issued."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from xinhuo.chassis.errors import InvalidInput, RuleError

from .numbers import DocumentNumber, parse_number
from .periods import (
    InvalidPeriod,
    LatenessPolicy,
    ObligationKind,
    Period,
    campaign_period,
    check_plausible,
    due_at,
    period_of_phrase,
)
from .refusals import (
    BeyondAddressees,
    DeadlineMissing,
    DueBeforeIssued,
    NamedTwice,
    ReasonNotFitting,
    ServiceClassUnknown,
    UnitInDraftUnknown,
    UnitKindUnknown,
)
from .units import UnitFacts, resolve_addressees


class Role(StrEnum):
    """What a unit is to a category of activities."""

    RESPONSIBLE = "responsible"
    HOST = "host"
    CO_HOST = "co_host"


ROLE_LABELS = {Role.RESPONSIBLE: "责任单位", Role.HOST: "主办", Role.CO_HOST: "协办"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Units chosen by code, kind or group, less the excluded ones."""

    codes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issuer:
    """An office that issues a notice, and its code when it is in the register."""

    name: str
    unit_code: str | None = None


@dataclass(frozen=True, slots=True)
class Responsible:
    """The units that have one role in a category."""

    role: Role
    units: Selection


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of activity that a notice opens; some are campaign activities but no volunteer service."""

    code: str
    name: str
    service_class: str | None = None
    counts_hours: bool = True
    not_volunteer_reason: str | None = None
    responsible: tuple[Responsible, ...] = ()


@dataclass(frozen=True, slots=True)
class ObligationRule:
    """A duty as the notice words it; ``units`` None means every addressee."""

    code: str
    kind: ObligationKind
    title: str
    receiver: str
    lateness: LatenessPolicy
    due_on: date | None = None
    due_phrase: str | None = None
    due_rule: str | None = None
    system_default: bool = False
    units: Selection | None = None

    @property
    def due_at(self) -> datetime | None:
        """The first instant that is late, when there is a last day."""
        return due_at(self.due_on) if self.due_on else None


@dataclass(frozen=True, slots=True)
class PeriodGiven:
    """The period as it was entered: first and last month or day, or the phrase of the notice."""

    starts: str | None = None
    ends: str | None = None
    phrase: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything a notice says."""

    number: str
    title: str
    issuers: tuple[Issuer, ...]
    issued_on: date
    period: PeriodGiven
    addressees: Selection
    theme: str | None = None
    body: str | None = None
    basis: tuple[str, ...] = ()
    contact_office: str | None = None
    categories: tuple[Category, ...] = ()
    obligations: tuple[ObligationRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
    """The closed lists in force on the day of a notice, each word with its Chinese label."""

    unit_kinds: Mapping[str, str]
    service_classes: Mapping[str, str]
    not_volunteer_reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bound:
    """Whom the parts of a notice bind: sorted unit codes of the whole, of each role, of each obligation."""

    addressees: list[str]
    roles: list[tuple[str, Role, list[str]]]
    """(category code, role, unit codes)"""
    obligations: list[tuple[ObligationRule, list[str]]]


def check_draft(draft: Draft, words: Words, known_units: Collection[str]) -> tuple[DocumentNumber, Period]:
    """Return the number and the period of a draft that can be kept.

    Raises the error that was found, or ``InvalidInput`` naming all of them when there are several.
    """
    errors: list[RuleError] = []
    number = period = None
    try:
        number = parse_number(draft.number)
    except RuleError as error:
        errors.append(error)
    try:
        period = period_of(draft)
    except RuleError as error:
        errors.append(error)
    errors += _problems(draft, words, known_units)
    if number is None or period is None or errors:
        raise errors[0] if len(errors) == 1 else InvalidInput.of(errors)
    return number, period


def check_names(name: str, aliases: Sequence[str], groups: Sequence[str]) -> None:
    """Refuse an alias that is the name of its unit or stands twice, and a group that stands twice."""
    errors = [*_twice("aliases", aliases), *_twice("groups", groups)]
    errors += [NamedTwice(alias, f"/aliases/{i}") for i, alias in enumerate(aliases) if alias == name]
    if errors:
        raise errors[0] if len(errors) == 1 else InvalidInput.of(errors)


def period_of(draft: Draft) -> Period:
    """Return the period of a campaign; dates come before the phrase, whose year is the notice's.

    Raises ``InvalidPeriod`` or ``ImplausibleDate``.
    """
    given = draft.period
    try:
        if given.starts is not None:
            return campaign_period(given.starts, given.ends)
        if given.phrase is not None and given.ends is None:
            return period_of_phrase(given.phrase, draft.issued_on.year)
    except RuleError as error:
        place = {"/starts": "/period/starts", "/ends": "/period/ends", "/period": "/period/phrase"}
        raise error.at(place.get(error.pointer or "", "/period")) from None
    raise InvalidPeriod(
        "请填写活动的开始月份或日期（starts），没有结束日期的可不填 ends；或填写通知原文（phrase），如“3月至4月”。",
        "Give the first month or day (starts; ends may be left out), or the phrase of the notice.",
        pointer="/period",
    )


def resolve(draft: Draft, register: Sequence[UnitFacts]) -> Bound:
    """Return whom a notice binds when it is issued now; later registrations change nothing.

    Raises ``AddresseeUnknown``, ``NoAddressees`` or ``BeyondAddressees`` with the place in the notice.
    """
    addressees = _chosen(draft.addressees, register, "/addressees")
    roles = [
        (category.code, part.role, _chosen(part.units, register, f"/categories/{i}/responsible/{j}/units"))
        for i, category in enumerate(draft.categories)
        for j, part in enumerate(category.responsible)
    ]
    obligations = []
    for i, rule in enumerate(draft.obligations):
        pointer = f"/obligations/{i}/units"
        codes = addressees
        if rule.units is not None:
            codes = _within(_chosen(rule.units, register, pointer), addressees, rule.units, pointer)
        obligations.append((rule, codes))
    return Bound(addressees, roles, obligations)


def _chosen(units: Selection, register: Sequence[UnitFacts], pointer: str) -> list[str]:
    try:
        return resolve_addressees(
            register, codes=units.codes, kinds=units.kinds, groups=units.groups, excluded=units.excluded
        )
    except RuleError as error:
        raise error.at((error.pointer or "").replace("/addressees", pointer, 1)) from None


def _within(chosen: list[str], addressees: list[str], units: Selection, pointer: str) -> list[str]:
    """Return the chosen units that are addressed; one chosen by name must be."""
    addressed = set(addressees)
    within = [code for code in chosen if code in addressed]
    beyond = sorted(set(units.codes) & (set(chosen) - addressed))
    if beyond or not within:
        listed = "、".join(beyond or chosen)
        raise BeyondAddressees(
            f"以下单位不在主送单位之内：{listed}。请把它们加入主送单位，或从该任务中去掉。",
            f"The notice is not addressed to {listed}; add them to the addressees or take them out.",
            pointer=pointer,
            extra={"units": beyond or chosen},
        )
    return within


def _problems(draft: Draft, words: Words, known_units: Collection[str]) -> Iterator[RuleError]:
    try:
        check_plausible(draft.issued_on, "/issued_on")
    except RuleError as error:
        yield error
    yield from _twice("issuers", [issuer.name for issuer in draft.issuers], "name")
    for i, issuer in enumerate(draft.issuers):
        if issuer.unit_code is not None and issuer.unit_code not in known_units:
            yield UnitInDraftUnknown(issuer.unit_code, f"/issuers/{i}/unit_code")
    yield from _selection_problems(draft.addressees, "/addressees", words, known_units)
    yield from _twice("categories", [category.code for category in draft.categories], "code")
    for i, category in enumerate(draft.categories):
        yield from _category_problems(category, f"/categories/{i}", words, known_units)
    yield from _twice("obligations", [rule.code for rule in draft.obligations], "code")
    for i, rule in enumerate(draft.obligations):
        yield from _obligation_problems(rule, f"/obligations/{i}", draft.issued_on)
        if rule.units is not None:
            yield from _selection_problems(rule.units, f"/obligations/{i}/units", words, known_units)


def _category_problems(
    category: Category, pointer: str, words: Words, known_units: Collection[str]
) -> Iterator[RuleError]:
    service_class = category.service_class
    if service_class is not None and service_class not in words.service_classes:
        yield ServiceClassUnknown(service_class, f"{pointer}/service_class", words.service_classes)
    # 《志愿服务记录与证明出具办法（试行）》第十九条: 不属于志愿服务的不记时间, 故须说明理由.
    reason = category.not_volunteer_reason
    fits = reason is None if category.counts_hours else reason in words.not_volunteer_reasons
    if not fits:
        yield ReasonNotFitting(category.counts_hours, f"{pointer}/not_volunteer_reason", words.not_volunteer_reasons)
    yield from _twice(f"{pointer[1:]}/responsible", [part.role for part in category.responsible], "role")
    for j, part in enumerate(category.responsible):
        yield from _selection_problems(part.units, f"{pointer}/responsible/{j}/units", words, known_units)


def _obligation_problems(rule: ObligationRule, pointer: str, issued_on: date) -> Iterator[RuleError]:
    if rule.due_on is None:
        if rule.lateness is LatenessPolicy.FORFEIT:
            yield DeadlineMissing(
                "“逾期视为放弃”的任务须填写截止日期 due_on。",
                "An obligation that is forfeited when late needs a last day, due_on.",
                pointer=f"{pointer}/due_on",
            )
        if rule.system_default and rule.due_rule is None:
            yield DeadlineMissing(
                "采用本系统默认期限的，须填写截止日期 due_on，或期限规则 due_rule，如“活动结束后3个工作日内”。",
                "A deadline that is this system's default needs a last day (due_on) or a rule (due_rule).",
                pointer=f"{pointer}/due_rule",
            )
        return
    try:
        check_plausible(rule.due_on, f"{pointer}/due_on")
    except RuleError as error:
        yield error
    if rule.due_on < issued_on:
        yield DueBeforeIssued(
            f"截止日期 {rule.due_on} 早于印发日期 {issued_on}，请核对。",
            f"The last day {rule.due_on} is before the notice's date {issued_on}; check both.",
            pointer=f"{pointer}/due_on",
        )


def _selection_problems(
    units: Selection, pointer: str, words: Words, known_units: Collection[str]
) -> Iterator[RuleError]:
    for field, codes in (("codes", units.codes), ("excluded", units.excluded)):
        for i, code in enumerate(codes):
            if code not in known_units:
                yield UnitInDraftUnknown(code, f"{pointer}/{field}/{i}")
    for i, kind in enumerate(units.kinds):
        if kind not in words.unit_kinds:
            yield UnitKindUnknown(kind, f"{pointer}/kinds/{i}", words.unit_kinds)


def _twice(part: str, names: Iterable[str], field: str | None = None) -> Iterator[RuleError]:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            yield NamedTwice(name, f"/{part}/{i}" + (f"/{field}" if field else ""))
        seen.add(name)


def units_named(draft: Draft) -> set[str]:
    """Return the codes of all units that a draft names."""
    selections = [draft.addressees]
    selections += [part.units for category in draft.categories for part in category.responsible]
    selections += [rule.units for rule in draft.obligations if rule.units is not None]
    named = {issuer.unit_code for issuer in draft.issuers if issuer.unit_code is not None}
    return named.union(*(set(units.codes) | set(units.excluded) for units in selections))
