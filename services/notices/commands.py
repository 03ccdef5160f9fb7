"""What changes the state of notices: each function is one use case inside the caller's transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from xinhuo.chassis import audit, outbox
from xinhuo.chassis.db import database_now
from xinhuo.chassis.errors import check_revision
from xinhuo.chassis.ids import new_id
from xinhuo.contracts import codec
from xinhuo.contracts.notices import (
    CategoryOfNotice,
    NoticeIssued,
    ObligationOfNotice,
    UnitChanged,
    UnitRegistered,
)

from . import domain
from .domain import drafts, refusals
from .domain.drafts import Bound, Draft
from .models import category_units, content_of, draft_of, notice_units, notices, obligations, units
from .rules import words_on

#: Fields of a unit that its events carry.
_ANNOUNCED = ("kind", "parent_code", "staff_count", "student_count", "counted_on")
#: Taken while a parent is set, so that two changes together cannot close a circle.
_PARENTS_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('notices.units.parents'))")


def register_unit(session: Session, given: Mapping[str, Any], today: date) -> dict[str, Any]:
    """Enter a unit in the register and announce it.

    Raises UnitCodeTaken, ParentUnknown, UnitKindUnknown, NamedTwice, InvalidHeadCount or CountedInFuture.
    """
    unit = {"aliases": [], "groups": [], **_as_kept(given)}
    _check_unit(unit, today)
    domain.check_head_counts(unit.get("staff_count"), unit.get("student_count"), unit.get("counted_on"), today=today)
    _check_parent(session, unit["code"], unit.get("parent_code"))
    added = insert(units).values(**unit, revision=1).on_conflict_do_nothing(index_elements=["code"])
    row = session.execute(added.returning(units)).mappings().one_or_none()
    if row is None:
        raise domain.UnitCodeTaken(unit["code"])
    outbox.record(session, UnitRegistered(unit_code=row["code"], **{name: row[name] for name in _ANNOUNCED}))
    audit.record(session, "unit.registered", "unit", row["code"], after=dict(row))
    return dict(row)


def change_unit(session: Session, code: str, given: Mapping[str, Any], if_match: str, today: date) -> dict[str, Any]:
    """Change a unit that nobody else changed since; announce it when what events carry became different.

    A change that changes nothing leaves the revision as it is. Raises UnitNotFound, ChangedMeanwhile,
    ParentUnknown, ParentCycle, UnitKindUnknown, NamedTwice, InvalidHeadCount or CountedInFuture.
    """
    found = sa.select(units).where(units.c.code == code).with_for_update(key_share=True)
    before = session.execute(found).mappings().one_or_none()
    if before is None:
        raise domain.UnitNotFound(code)
    check_revision(before["revision"], if_match)
    given = _as_kept(given)
    after = {**before, **given}
    changed = {name: value for name, value in given.items() if before[name] != value}
    if not changed:
        return dict(before)
    _check_unit(after, today)
    # A new count belongs to a new day: with the old one it would claim to have been counted back then.
    recounted = changed.keys() & {"staff_count", "student_count"}
    counted_on = given.get("counted_on") if recounted else after["counted_on"]
    domain.check_head_counts(after["staff_count"], after["student_count"], counted_on, today=today)
    if "parent_code" in changed:
        session.execute(_PARENTS_LOCK)
        _check_parent(session, code, after["parent_code"])
        _check_circle(session, code, after["parent_code"])
    changing = sa.update(units).where(units.c.code == code)
    changing = changing.values(**changed, revision=units.c.revision + 1, changed_at=sa.func.now())
    row = session.execute(changing.returning(units)).mappings().one()
    if changed.keys() & set(_ANNOUNCED):
        facts = {name: row[name] for name in _ANNOUNCED}
        outbox.record(session, UnitChanged(unit_code=code, revision=row["revision"], **facts))
    audit.record(session, "unit.changed", "unit", code, before=dict(before), after=dict(row))
    return dict(row)


def _as_kept(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given of a unit with its credit code as it is kept."""
    code = given.get("credit_code")
    return {**given, "credit_code": domain.check_credit_code(code)} if code is not None else dict(given)


def draft_notice(session: Session, given: Mapping[str, Any]) -> UUID:
    """Keep a new draft of a notice under its number; return its id.

    Raises NumberTaken naming the other notice, and what ``check_draft`` of the domain raises.
    """
    draft = msgspec.convert(given, Draft)
    columns = _columns_of(session, draft)
    added = insert(notices).values(id=new_id(), **columns, state="draft", revision=1)
    added = added.on_conflict_do_nothing(constraint="notices_number")
    notice_id: UUID | None = session.scalar(added.returning(notices.c.id))
    if notice_id is None:
        raise _number_taken(session, columns)
    audit.record(session, "notice.drafted", "notice", notice_id, after=columns)
    return notice_id


def change_draft(session: Session, notice_id: UUID, given: Mapping[str, Any], if_match: str) -> None:
    """Replace parts of a draft that nobody else changed since.

    Raises NoticeNotFound, NoticeAlreadyIssued, ChangedMeanwhile, and what ``draft_notice`` raises.
    """
    row = _locked(session, notice_id)
    if row["state"] != "draft":
        raise domain.NoticeAlreadyIssued(row["number"])
    check_revision(row["revision"], if_match)
    before = draft_of(row)
    draft = msgspec.convert({**content_of(before), **given}, Draft)
    if draft == before:
        return
    columns = _columns_of(session, draft)
    changing = sa.update(notices).where(notices.c.id == notice_id)
    try:
        with session.begin_nested():
            session.execute(changing.values(**columns, revision=notices.c.revision + 1))
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != "23505":
            raise
        raise _number_taken(session, columns) from None
    audit.record(session, "notice.changed", "notice", notice_id, before=content_of(before), after=content_of(draft))


def issue_notice(session: Session, notice_id: UUID) -> None:
    """Bring a notice into force: fix whom it binds, give each unit its duties, announce it.

    Issuing again changes nothing and announces nothing. Raises NoticeNotFound, AddresseeUnknown,
    NoAddressees, BeyondAddressees or NoticeTooLarge.
    """
    row = _locked(session, notice_id)
    if row["state"] == "issued":
        return
    draft = draft_of(row)
    register = [
        domain.UnitFacts(code, kind, frozenset(groups))
        for code, kind, groups in session.execute(sa.select(units.c.code, units.c.kind, units.c.groups))
    ]
    bound = drafts.resolve(draft, register)
    _announce(session, row, draft, bound)
    _write_bound(session, notice_id, bound)
    session.execute(
        sa.update(notices)
        .where(notices.c.id == notice_id)
        .values(state="issued", issued_at=sa.func.now(), revision=notices.c.revision + 1)
    )
    audit.record(session, "notice.issued", "notice", notice_id, after=row["content"])


def office_today(session: Session) -> date:
    """Return the day it is in the office, by the database's clock."""
    return database_now(session).astimezone(domain.OFFICE_ZONE).date()


def _check_unit(unit: Mapping[str, Any], today: date) -> None:
    kinds = words_on(today).unit_kinds
    if unit["kind"] not in kinds:
        raise refusals.UnitKindUnknown(unit["kind"], "/kind", kinds)
    drafts.check_names(unit["name"], unit["aliases"], unit["groups"])


def _check_parent(session: Session, code: str, parent_code: str | None) -> None:
    if parent_code is None:
        return
    known = session.scalar(sa.select(sa.true()).where(units.c.code == parent_code))
    if not known or parent_code == code:
        raise domain.ParentUnknown(parent_code)


def _check_circle(session: Session, code: str, parent_code: str | None) -> None:
    """Refuse a parent that is, over any number of steps, below the unit itself."""
    both = sa.select(units.c.code, units.c.parent_code)
    above = both.where(units.c.code == parent_code).cte(recursive=True)
    above = above.union(both.where(units.c.code == above.c.parent_code))
    if session.scalar(sa.select(sa.true()).where(above.c.code == code)):
        raise refusals.ParentCycle(code, str(parent_code))


def _columns_of(session: Session, draft: Draft) -> dict[str, Any]:
    """Check a draft and return the columns of its row."""
    known = set(session.scalars(sa.select(units.c.code).where(units.c.code.in_(drafts.units_named(draft)))))
    number, period = drafts.check_draft(draft, words_on(draft.issued_on), known)
    keys = {number.issuer_code, *(issuer.name for issuer in draft.issuers)}
    keys |= {issuer.unit_code for issuer in draft.issuers if issuer.unit_code}
    return {
        "number": str(number),
        "issuer_code": number.issuer_code,
        "year": number.year,
        "serial": number.serial,
        "title": draft.title,
        "issuer_keys": sorted(keys),
        "issued_on": draft.issued_on,
        "starts_at": period.starts_at,
        "ends_at": period.ends_at,
        "content": content_of(replace(draft, number=str(number))),
    }


def _number_taken(session: Session, columns: Mapping[str, Any]) -> domain.NumberTaken:
    same = [notices.c[name] == columns[name] for name in ("issuer_code", "year", "serial")]
    other = session.scalar(sa.select(notices.c.id).where(*same))
    return domain.NumberTaken(columns["number"], str(other))


def _locked(session: Session, notice_id: UUID) -> dict[str, Any]:
    found = sa.select(notices).where(notices.c.id == notice_id).with_for_update()
    row = session.execute(found).mappings().one_or_none()
    if row is None:
        raise domain.NoticeNotFound(str(notice_id))
    return dict(row)


def _announce(session: Session, row: Mapping[str, Any], draft: Draft, bound: Bound) -> None:
    event = NoticeIssued(
        notice_id=row["id"],
        number=row["number"],
        issued_on=row["issued_on"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        categories=tuple(
            CategoryOfNotice(
                code=category.code, service_class=category.service_class, counts_hours=category.counts_hours
            )
            for category in draft.categories
        ),
        addressees=tuple(bound.addressees),
        obligations=tuple(
            ObligationOfNotice(
                code=rule.code,
                kind=rule.kind,
                lateness=rule.lateness,
                unit_codes=tuple(codes),
                due_on=rule.due_on,
                due_at=rule.due_at,
            )
            for rule, codes in bound.obligations
        ),
    )
    try:
        outbox.record(session, event)
    except codec.Undecodable:
        duties = sum(len(codes) for _, codes in bound.obligations)
        raise refusals.NoticeTooLarge(len(bound.addressees), duties, codec.MAX_EVENT_BYTES) from None


def _write_bound(session: Session, notice_id: UUID, bound: Bound) -> None:
    """Write the fixed lists and one row for each duty of each unit; many rows go in one statement."""
    addressed = [{"notice_id": notice_id, "unit_code": code} for code in bound.addressees]
    roles = [
        {"notice_id": notice_id, "category_code": category, "role": role.value, "unit_code": code}
        for category, role, codes in bound.roles
        for code in codes
    ]
    duties = [
        {
            "id": new_id(),
            "notice_id": notice_id,
            "code": rule.code,
            "unit_code": code,
            "kind": rule.kind.value,
            "title": rule.title,
            "receiver": rule.receiver,
            "lateness": rule.lateness.value,
            "due_on": rule.due_on,
            "due_at": rule.due_at,
            "due_phrase": rule.due_phrase,
            "due_rule": rule.due_rule,
            "due_clause": domain.CLAUSE_LAST_DAY if rule.due_on else None,
            "system_default": rule.system_default,
            "state": "open",
            "revision": 1,
        }
        for rule, codes in bound.obligations
        for code in codes
    ]
    for table, rows in ((notice_units, addressed), (category_units, roles), (obligations, duties)):
        _insert_all(session, table, rows)


def _insert_all(session: Session, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
    if listed := list(rows):
        session.execute(sa.insert(table), listed)
