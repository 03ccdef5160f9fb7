"""Entries of the ledger, one and many."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from xinhuo.chassis.web.pages import Listed, page_of, read_cursor

from .. import domain, reach
from ..models import Entry, ledger_entries

_reversal = ledger_entries.alias("reversal")
_ENTRIES = sa.select(
    *(column for column in ledger_entries.c if column.name != "served_month"),
    _reversal.c.id.label("reversed_by"),
).select_from(ledger_entries.outerjoin(_reversal, _reversal.c.reverses == ledger_entries.c.id))


def entry(session: Session, entry_id: UUID) -> Entry:
    """Return one entry or reversal; raises ``EntryNotFound``."""
    found = (
        session.execute(_ENTRIES.where(ledger_entries.c.id == entry_id, *reach.of_entries(session)))
        .mappings()
        .one_or_none()
    )
    if found is None:
        raise domain.EntryNotFound(str(entry_id))
    return Entry(**found)


def entries(session: Session, query: Mapping[str, Any]) -> Listed:
    """Return a page of entries and reversals, the newest first."""
    statement = (
        _ENTRIES.where(*reach.of_entries(session)).order_by(ledger_entries.c.id.desc()).limit(query["limit"] + 1)
    )
    if cursor := read_cursor(query["after"], UUID):
        statement = statement.where(ledger_entries.c.id < cursor[0])
    for field, column in (
        ("volunteer", ledger_entries.c.volunteer_id),
        ("team", ledger_entries.c.team_code),
        ("unit", ledger_entries.c.unit_code),
        ("activity", ledger_entries.c.activity_id),
        ("month", ledger_entries.c.served_month),
        ("import_id", ledger_entries.c.import_id),
    ):
        if query.get(field) is not None:
            statement = statement.where(column == query[field])
    found = [Entry(**row) for row in session.execute(statement).mappings()]
    return page_of(found, query["limit"], lambda row: (row.id,))
