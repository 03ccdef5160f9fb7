"""The ledger against the statistics made of it, and as the book that other services compare theirs with.

What the statistics should be is the ledger without those entries whose events ``keep_statistics`` has not had yet: the
inbox and the cells are written in one transaction, so in one snapshot of the database nothing is ever on its way.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from xinhuo.chassis.db import Database, database_now
from xinhuo.chassis.reconcile import handling
from xinhuo.chassis.reconcile.books import Announced, Book
from xinhuo.chassis.reconcile.compare import compare_tables, snapshot
from xinhuo.chassis.reconcile.handling import Failed
from xinhuo.chassis.reconcile.results import Result
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

_SERVICE = "volunteers"
_HANDLER = "volunteers.keep_statistics"

BOOKS = {
    book.name: book
    for book in (
        Book(
            "entries",
            "SELECT id AS key, 'volunteer ' || volunteer_id || ', minutes ' || minutes AS value"
            " FROM ledger_entries WHERE kind = 'entry'",
            HoursLogged.topic,
        ),
        Book(
            "reversals",
            "SELECT id AS key, 'entry ' || reverses AS value FROM ledger_entries WHERE kind = 'reversal'",
            HoursReversed.topic,
        ),
        Book(
            "entries-told",
            "SELECT id AS key, 'volunteer ' || volunteer_id || ', occurrence 1' AS value"
            " FROM ledger_entries WHERE kind = 'entry'",
            HoursLogged.topic,
        ),
    )
}

_PENDING = sa.text(
    """
    SELECT o.id, CAST(o.aggregateid AS uuid), o.recorded_at, o.published_at FROM outbox AS o
    WHERE o.type = ANY(:types)
        AND NOT EXISTS (SELECT FROM inbox AS i WHERE i.event_id = o.id AND i.handler = :handler)
    ORDER BY o.seq
    """
)
_COUNTED = """
    SELECT {key} AS key, 'minutes ' || sum(minutes) || ', entries ' || sum(CASE kind WHEN 'entry' THEN 1 ELSE -1 END)
        AS value
    FROM ledger_entries WHERE id <> ALL(CAST(:pending AS uuid[]))
    GROUP BY {columns} HAVING sum(minutes) <> 0 OR sum(CASE kind WHEN 'entry' THEN 1 ELSE -1 END) <> 0
"""
_KEPT = """
    SELECT {key} AS key, 'minutes ' || minutes || ', entries ' || entries AS value
    FROM {table} WHERE minutes <> 0 OR entries <> 0
"""
_TABLES = (
    ("ledger_statistics", "statistics_cells", ("{month}", "unit_code", "team_code", "category")),
    (
        "ledger_volunteer_months",
        "volunteer_months",
        ("volunteer_id", "{month}", "unit_code", "team_code", "category"),
    ),
)


def compare_statistics(db: Database, patience: timedelta) -> list[Result]:
    """Compare ledger and statistics; the first result also says which entries were never counted, and why."""
    with snapshot(db) as session:
        found = session.execute(
            _PENDING, {"types": [HoursLogged.topic, HoursReversed.topic], "handler": _HANDLER}
        ).all()
        pending = {
            entry_id: Announced(event_id, recorded, published) for event_id, entry_id, recorded, published in found
        }
        results = [
            compare_tables(
                session,
                _SERVICE,
                comparison,
                expected=_COUNTED.format(**_names(columns, "served_month")),
                found=_KEPT.format(table=table, **_names(columns, "month")),
                parameters={"pending": list(pending)},
                explain=_explain,
            )
            for comparison, table, columns in _TABLES
        ]
        failed = handling.failed_by_subject(session, _HANDLER) if pending else {}
        young = database_now(session) - patience
        late = {
            entry_id: event
            for entry_id, event in pending.items()
            if not _waits(event, failed.get(str(entry_id)), young)
        }
        return [*results, _never_counted(session, pending, late, failed)]


def _never_counted(
    session: Any, pending: dict[UUID, Announced], late: dict[UUID, Announced], failed: dict[str, Failed]
) -> Result:
    first = None
    entries = int(session.scalar(sa.text("SELECT count(*) FROM ledger_entries")))
    if late:
        entry_id = min(late, key=lambda one: one.int)
        why = handling.why_missing(session, _HANDLER, failed.get(str(entry_id)), lambda: late[entry_id])
        first = handling.difference("missing", str(entry_id), "counted", None, why)
    waiting = len(pending) - len(late)
    return Result(
        _SERVICE, "ledger_counted", entries - waiting, entries - len(pending), len(late), waiting, first=first
    )


def _waits(event: Announced, failed: Failed | None, young: Any) -> bool:
    if failed is not None:
        return failed.parked or failed.state == "retried"
    return event.published_at is None or event.recorded_at >= young


def _explain(kind: str) -> tuple[str, str, str]:
    cause = {"missing": "handled", "extra": "unfounded", "different": "changed"}[kind]
    return cause, "", handling.rebuild_of(_SERVICE)


def _names(columns: tuple[str, ...], month: str) -> dict[str, str]:
    named = [column.format(month=month) for column in columns]
    return {"key": " || ' ' || ".join(named), "columns": ", ".join(named)}
