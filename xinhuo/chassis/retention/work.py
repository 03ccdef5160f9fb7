"""Removing what is due: in batches, each with its report and its audit row in the same transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from .. import audit, logs
from ..db import Database, database_now
from .rules import Line

log = logs.get("retention")

#: As many rows go in one transaction, so that nobody waits for long for any of them.
AT_ONCE = 1000

_REPORT = sa.text(
    """
    INSERT INTO retention_reports (day, table_name, rule, clause, removed, removed_at)
    VALUES (:day, :table, :rule, :clause, :removed, clock_timestamp())
    ON CONFLICT (day, table_name, rule) DO UPDATE
    SET removed = retention_reports.removed + EXCLUDED.removed, clause = EXCLUDED.clause,
        removed_at = EXCLUDED.removed_at
    """
)
_REPORTS = sa.text(
    """
    SELECT day, table_name, rule, clause, removed, removed_at FROM retention_reports
    WHERE day >= :since ORDER BY day DESC, table_name, rule
    """
)


@dataclass(frozen=True)
class Removal:
    """How the rows of a line are found, and what is done with them.

    ``due`` is a condition in SQL on the rows of the table; it is true of those that are due when ``:limit`` is the
    instant before which they were kept long enough, and may use ``:zone``, the office's time zone. They are deleted;
    or changed by ``change`` (``column = …``), after which they must not be due any more; or given by their ``id`` to
    ``by``, which has to see to that.
    """

    table: str
    due: str
    rule: str = ""
    change: str = ""
    by: Callable[[Session, Sequence[UUID], str], None] | None = None
    at_once: int = AT_ONCE

    def take(self, session: Session, limit: datetime, zone: tzinfo, reason: str) -> int:
        """Remove up to ``at_once`` rows; those that somebody holds are left for the next time."""
        bound = {"limit": limit, "zone": str(zone), "most": self.at_once}
        chosen = f"FROM {self.table} WHERE {self.due} LIMIT :most FOR UPDATE SKIP LOCKED"
        if self.by is not None:
            held = session.scalars(sa.text(f"SELECT id {chosen}"), bound).all()
            # Now that nobody else has them: a consent may have come while the first question went through the table.
            still = sa.text(f"SELECT id FROM {self.table} WHERE id = ANY(:held) AND ({self.due}) ORDER BY id")  # noqa: S608
            ids = session.scalars(still, {**bound, "held": list(held)}).all()
            if ids:
                self.by(session, ids, reason)
            return len(ids)
        deed = f"UPDATE {self.table} SET {self.change}" if self.change else f"DELETE FROM {self.table}"  # noqa: S608
        found: Any = session.execute(sa.text(f"{deed} WHERE ctid = ANY(ARRAY(SELECT ctid {chosen}))"), bound)
        return int(found.rowcount)

    def count(self, session: Session, limit: datetime, zone: tzinfo) -> int:
        """Return how many rows are due."""
        wanted = sa.text(f"SELECT count(*) FROM {self.table} WHERE {self.due}")  # noqa: S608  (written in the code)
        return int(session.scalar(wanted, {"limit": limit, "zone": str(zone)}) or 0)


#: What is removed in every service.
OF_EVERY_SERVICE = (
    Removal("idempotency_keys", "created_at < :limit"),
    Removal("retention_reports", "removed_at < :limit"),
)


def remove_due(db: Database, lines: Sequence[Line], removals: Sequence[Removal], zone: tzinfo, lease: Session) -> int:
    """Remove everything that is due by the lines, in transactions of its own; return how many rows.

    ``lease`` is the transaction of the job: it is used now and then, so that it is not taken for forgotten.
    """
    ways = {(removal.table, removal.rule): removal for removal in removals}
    now = database_now(lease)
    total = 0
    for line in lines:
        if line.period is None:
            continue
        limit = line.period.before(now, zone)
        removed = 0
        while count := _batch(db, line, ways[line.table, line.rule], limit, now, zone):
            removed += count
            lease.execute(sa.text("SELECT 1"))
        if removed:
            log.info("retention_removed", table=line.table, rule=line.rule, rows=removed)
        total += removed
    return total


def _batch(db: Database, line: Line, removal: Removal, limit: datetime, now: datetime, zone: tzinfo) -> int:
    with db.transaction() as session:
        count = removal.take(session, limit, zone, f"retention: {line.name}")
        if count:
            report(session, line, count, now, zone)
    return count


def report(session: Session, line: Line, removed: int, now: datetime, zone: tzinfo) -> None:
    """Write down, in the transaction that removes them, how many rows of a line went, and by which clause."""
    day = now.astimezone(zone).date()
    said = {"day": day, "table": line.table, "rule": line.rule, "clause": line.clause, "removed": removed}
    session.execute(_REPORT, said)
    audit.record(session, "retention.removed", "table", line.name, after={**said, "day": str(day)}, reason=line.clause)


def reports(session: Session, since: Any) -> list[dict[str, Any]]:
    """Return what was removed from a day on, the newest first."""
    return [dict(row) for row in session.execute(_REPORTS, {"since": since}).mappings()]
