"""What is read of notices: functions that return plain data."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.db import rows
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from . import domain, reach
from .domain.drafts import ROLE_LABELS
from .models import category_units, draft_of, notice_units, notices, obligations, units
from .rules import label_of

_STATE_LABELS = {"draft": "草稿", "issued": "已印发"}


def unit(session: Session, code: str) -> dict[str, Any]:
    """Return one registered unit; raises UnitNotFound."""
    row = (
        session.execute(sa.select(units).where(units.c.code == code, *reach.of_units(session))).mappings().one_or_none()
    )
    if row is None:
        raise domain.UnitNotFound(code)
    return shown_unit(dict(row))


def list_units(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of units by code, of a kind or directly below a parent if wanted."""
    wanted = sa.select(units).where(*reach.of_units(session)).order_by(units.c.code).limit(query["limit"] + 1)
    if "kind" in query:
        wanted = wanted.where(units.c.kind == query["kind"])
    if "parent" in query:
        wanted = wanted.where(units.c.parent_code == query["parent"])
    if after := read_cursor(query["after"], _code):
        wanted = wanted.where(units.c.code > after[0])
    found = [shown_unit(row) for row in rows(session.execute(wanted))]
    return page_of(found, query["limit"], lambda row: (row["code"],))


def shown_unit(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a unit's row with the Chinese label of its kind."""
    return {**row, "kind_label": label_of("unit_kinds", row["kind"])}


def notice(session: Session, notice_id: UUID) -> dict[str, Any]:
    """Return a notice with all it says and, once it is issued, whom it binds; raises NoticeNotFound."""
    found = (
        session.execute(sa.select(notices).where(notices.c.id == notice_id, *reach.of_notices(session)))
        .mappings()
        .one_or_none()
    )
    if found is None:
        raise domain.NoticeNotFound(str(notice_id))
    row = dict(found)
    shown = {**asdict(draft_of(row)), **_summary(row)}
    roles, states = _roles(session, notice_id), _states(session, notice_id)
    shown["addressees"]["unit_codes"] = _addressed(session, notice_id)
    for category in shown["categories"]:
        category["service_class_label"] = _label("service_classes", category["service_class"])
        category["not_volunteer_label"] = _label("not_volunteer_reasons", category["not_volunteer_reason"])
        for part in category["responsible"]:
            part["role_label"] = ROLE_LABELS[part["role"]]
            part["unit_codes"] = roles[category["code"], part["role"]]
    for rule in shown["obligations"]:
        rule["due_at"] = domain.due_at(rule["due_on"]) if rule["due_on"] else None
        rule["due_clause"] = domain.CLAUSE_LAST_DAY if rule["due_on"] else None
        rule["due_basis"] = _basis(rule)
        rule["units_by_state"] = states[rule["code"]]
    return shown


def list_notices(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of notices, the newest date first."""
    order = (notices.c.issued_on.desc(), notices.c.id.desc())
    wanted = sa.select(notices).where(*reach.of_notices(session)).order_by(*order).limit(query["limit"] + 1)
    if "number" in query:
        number = domain.parse_number(query["number"])
        wanted = wanted.where(
            notices.c.issuer_code == number.issuer_code,
            notices.c.year == number.year,
            notices.c.serial == number.serial,
        )
    if "year" in query:
        wanted = wanted.where(notices.c.year == query["year"])
    if "issuer" in query:
        wanted = wanted.where(notices.c.issuer_keys.contains([query["issuer"]]))
    if "state" in query:
        wanted = wanted.where(notices.c.state == query["state"])
    if after := read_cursor(query["after"], date.fromisoformat, UUID):
        key = sa.tuple_(notices.c.issued_on, notices.c.id)
        wanted = wanted.where(key < sa.tuple_(*map(sa.literal, after)))
    found = [_summary(row) for row in rows(session.execute(wanted))]
    return page_of(found, query["limit"], lambda row: (row["issued_on"], row["id"]))


def list_obligations(session: Session, notice_id: UUID, query: Mapping[str, Any]) -> Listed:
    """Return a page of the duties of one notice, by code and unit; raises NoticeNotFound."""
    if not session.scalar(sa.select(sa.true()).where(notices.c.id == notice_id, *reach.of_notices(session))):
        raise domain.NoticeNotFound(str(notice_id))
    of = obligations.c
    wanted = sa.select(
        obligations,
        units.c.name.label("unit_name"),
        sa.func.coalesce(of.due_at <= sa.func.now(), sa.false()).label("past_due"),
    )
    wanted = wanted.join(units, units.c.code == of.unit_code).where(
        of.notice_id == notice_id, *reach.of_obligations(session)
    )
    for name, column in (("unit", of.unit_code), ("kind", of.kind), ("state", of.state)):
        if name in query:
            wanted = wanted.where(column == query[name])
    if "due_before" in query:
        wanted = wanted.where(of.due_on < query["due_before"])
    if after := read_cursor(query["after"], _code, _code):
        wanted = wanted.where(sa.tuple_(of.code, of.unit_code) > sa.tuple_(*map(sa.literal, after)))
    wanted = wanted.order_by(of.code, of.unit_code).limit(query["limit"] + 1)
    found = [{**row, "due_basis": _basis(row)} for row in rows(session.execute(wanted))]
    return page_of(found, query["limit"], lambda row: (row["code"], row["unit_code"]))


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "number", "title", "issued_on", "starts_at", "ends_at", "state", "revision")
    shown = {name: row[name] for name in (*kept, "created_at", "issued_at")}
    return {**shown, "issuers": row["content"]["issuers"], "state_label": _STATE_LABELS[row["state"]]}


def _addressed(session: Session, notice_id: UUID) -> list[str]:
    wanted = sa.select(notice_units.c.unit_code).where(notice_units.c.notice_id == notice_id)
    return list(session.scalars(wanted.order_by(notice_units.c.unit_code)))


def _roles(session: Session, notice_id: UUID) -> Mapping[tuple[str, str], list[str]]:
    of = category_units.c
    wanted = sa.select(of.category_code, of.role, of.unit_code).where(of.notice_id == notice_id)
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for category, role, unit_code in session.execute(wanted.order_by(of.unit_code)):
        found[category, role].append(unit_code)
    return found


def _states(session: Session, notice_id: UUID) -> Mapping[str, dict[str, int]]:
    of = obligations.c
    wanted = sa.select(of.code, of.state, sa.func.count()).where(
        of.notice_id == notice_id, *reach.of_obligations(session)
    )
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for code, state, count in session.execute(wanted.group_by(of.code, of.state).order_by(of.code, of.state)):
        found[code][state] = count
    return found


def _basis(rule: Mapping[str, Any]) -> str:
    """Say whose words a deadline is: the notice's own, or this system's where the notice has no number."""
    return "本系统默认" if rule["system_default"] else "通知原文"


def _label(name: str, word: str | None) -> str | None:
    return None if word is None else label_of(name, word)


def _code(text: str) -> str:
    """Read a code in a cursor; anything else was not made by us."""
    if not (text.isascii() and 0 < len(text) <= 64 and text.replace("-", "").replace("_", "").isalnum()):
        raise ValueError
    return text
