"""Minutes and entries by unit, team, category, month or volunteer, from the read models."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.identity.actor import Reach, access_of
from xinhuo.chassis.identity.reached import FEWEST_PERSONS
from xinhuo.chassis.row_security import wide
from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach
from ..models import statistics_cells, volunteer_months, volunteers


@dataclass(frozen=True)
class Grouping:
    """What a row of the statistics stands for: the field that names it, and where it is read."""

    field: str
    title: str
    table: sa.Table
    column: sa.ColumnElement[Any]
    read: Any


GROUPINGS = {
    "unit": Grouping("unit_code", "单位代码", statistics_cells, statistics_cells.c.unit_code, str),
    "team": Grouping("team_code", "队伍代码", statistics_cells, statistics_cells.c.team_code, str),
    "category": Grouping("category", "活动类别", statistics_cells, statistics_cells.c.category, str),
    "month": Grouping("month", "月份", statistics_cells, statistics_cells.c.month, date.fromisoformat),
    "volunteer": Grouping("volunteer_id", "志愿者编号", volunteer_months, volunteer_months.c.volunteer_id, UUID),
}


def statistics(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of the statistics in the order of the group, with the totals of all pages.

    Each row has the field of its group (unit_code, team_code, category, month; volunteer_id with
    volunteer_no), minutes and entries. Who sees them as everybody may, gets no group of fewer than FEWEST_PERSONS,
    and ``StatisticsOfPersons`` when he asks for single volunteers.
    """
    grouping = GROUPINGS[query["group_by"]]
    cursor = read_cursor(query["after"], grouping.read)
    wanted = _grouped(session, query, after=cursor[0] if cursor else None).limit(query["limit"] + 1)
    with _naming(session, query):
        rows = [dict(row) for row in session.execute(wanted).mappings()]
    page = page_of(rows, query["limit"], lambda row: (row[grouping.field],))
    return Listed(page.items, page.after, {"totals": totals(session, query)})


def totals(session: Session, query: Mapping[str, Any]) -> dict[str, int]:
    """Return minutes and entries of everything the filters leave; in public, of the groups that are shown."""
    if _is_public(session):
        # What all groups have in common less what is shown would tell what is not.
        cells: sa.FromClause = _grouped(session, query).order_by(None).subquery()
        filters: list[sa.ColumnElement[bool]] = []
    else:
        cells, filters = statistics_cells, _filters(session, statistics_cells, query)
    minutes, entries = (sa.func.coalesce(sa.func.sum(cells.c[name]), 0) for name in ("minutes", "entries"))
    found = session.execute(sa.select(minutes, entries).where(*filters)).one()
    return {"minutes": int(found[0]), "entries": int(found[1])}


def all_rows(session: Session, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every row of the statistics, a thousand at a time from the server."""
    with _naming(session, query):
        found = session.execute(_grouped(session, query), execution_options={"yield_per": 1000})
        for row in found.mappings():
            yield dict(row)


def _naming(session: Session, query: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Let the number of each volunteer be found who served here, of whatever unit he is."""
    return wide(session) if query["group_by"] == "volunteer" else nullcontext()


def _is_public(session: Session) -> bool:
    return access_of(session).reach is Reach.PUBLIC


def _grouped(session: Session, query: Mapping[str, Any], *, after: Any = None) -> sa.Select[Any]:
    grouping = GROUPINGS[query["group_by"]]
    table, column = grouping.table, grouping.column
    if _is_public(session):
        if query["group_by"] == "volunteer":
            raise domain.StatisticsOfPersons
        table, column = volunteer_months, volunteer_months.c[grouping.field]
    minutes, entries = sa.func.sum(table.c.minutes), sa.func.sum(table.c.entries)
    statement = (
        sa.select(
            column.label(grouping.field),
            sa.cast(minutes, sa.BigInteger).label("minutes"),
            sa.cast(entries, sa.BigInteger).label("entries"),
        )
        .where(*_filters(session, table, query))
        .group_by(column)
        # What was reversed to nothing is no row.
        .having(sa.or_(minutes != 0, entries != 0))
        .order_by(column)
    )
    if _is_public(session):
        # Those of whom everything was taken back are nobody to hide behind.
        counted = table.c.volunteer_id.distinct()
        persons = sa.func.count(counted).filter(sa.or_(table.c.minutes != 0, table.c.entries != 0))
        statement = statement.having(persons >= FEWEST_PERSONS)
    if after is not None:
        statement = statement.where(column > after)
    if query["group_by"] == "volunteer":
        statement = (
            statement.add_columns(volunteers.c.volunteer_no)
            .select_from(table.join(volunteers, volunteers.c.id == column))
            .group_by(volunteers.c.volunteer_no)
        )
    return statement


def _filters(session: Session, table: sa.Table, query: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = reach.of_cells(session, table)
    wanted += [
        table.c[column] == query[field]
        for field, column in (("unit", "unit_code"), ("team", "team_code"), ("category", "category"))
        if query.get(field) is not None
    ]
    if query.get("since") is not None:
        wanted.append(table.c.month >= query["since"])
    if query.get("until") is not None:
        wanted.append(table.c.month <= query["until"])
    return wanted
