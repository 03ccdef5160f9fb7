"""The statistics counted anew from the ledger, beside those in force, while hours go on being logged.

How the new model takes the place of the old one without stopping anybody: one snapshot holds the ledger, what the
handler has dealt with, and the statistics in force, all of one moment. The new model is counted in it. Everything
that the handler does later adds the same to both models, since its deltas commute; so what the two differ by stays
the same, and adding it to the model in force, in one short transaction, makes it the new one at whatever moment that
is. Readers see the old model until the commit and the new one after it; the handler pays nothing. A rebuild that dies
leaves nothing behind: what it counted is in temporary tables, and its lock ends with its connection.

The ledger is the source, not the event log: it is what the statistics promise to equal, and its own constraints guard
it. The log and the inbox say which of its entries the handler has yet to count (their events are on the way, parked
or dead letters): these are left to it. Ledger and log are compared entry by entry, and what differs is told.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from xinhuo.chassis import clock, partitions
from xinhuo.chassis.db import Database, rows
from xinhuo.chassis.errors import Conflict
from xinhuo.contracts.volunteers import HoursLogged, HoursReversed

#: The handler that keeps the statistics, as the inbox knows it.
HANDLER = "volunteers.keep_statistics"
SHOWN = 10

#: Reports the phase that begins: lock, snapshot, count, compare, switch, done.
OnPhase = Callable[[str], object]


class RebuildRunning(Conflict):
    """Another rebuild of the same model is running"""

    code = "rebuild.running"
    title = "已有一次重建在进行"


@dataclass(frozen=True)
class Totals:
    """What a model adds up to."""

    minutes: int
    entries: int
    cells: int


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found and did; the totals are those of the snapshot, before and after what it corrected."""

    before: Totals
    after: Totals
    entries: int
    """Entries and reversals of the ledger in the new model."""
    waiting: int
    """Entries and reversals that the handler has yet to count."""
    dropped: int
    """Of these, those whose event was dropped at the desk: they will not be counted unless it is replayed."""
    differing: dict[str, int]
    """Rows in which the model in force was wrong, by table."""
    first: list[dict[str, Any]]
    """The first of these rows, with what they said and what is right."""
    unlike_log: int
    """Entries that ledger and event log do not tell alike."""
    first_unlike_log: list[str]
    switched: bool
    seconds: float

    def as_plain(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        return asdict(self)


def rebuild_statistics(db: Database, *, dry_run: bool = False, on_phase: OnPhase = lambda _: None) -> Rebuilt:
    """Count the statistics anew and put right where those in force differ; with ``dry_run`` only tell.

    Raises RebuildRunning when another rebuild of the statistics is at it.
    """
    started = time.monotonic()
    on_phase("lock")
    with _alone(db) as connection:
        on_phase("snapshot")
        with connection.begin():
            connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            connection.execute(sa.text("SET LOCAL work_mem = '128MB'"))
            before = _totals(connection, "statistics_cells")  # the first read: the moment of the snapshot
            on_phase("count")
            for statement in (_EVENTS, _KNOW_EVENTS, _WAITING, _NEW_VOLUNTEER_MONTHS, _NEW_CELLS):
                connection.execute(statement)
            on_phase("compare")
            oldest = partitions.oldest_event(clock.now().date(), db.keep_events_months)
            for statement in (_CELL_CORRECTIONS, _VOLUNTEER_CORRECTIONS, _unlike_log(oldest)):
                connection.execute(statement)
            found = _found(connection, before)
        switched = not dry_run and bool(sum(found["differing"].values()))
        if switched:
            on_phase("switch")
            with connection.begin():
                for statement in (_CORRECT_CELLS, _CORRECT_VOLUNTEERS):  # in the order of the handler, rows too
                    connection.execute(statement)
                on_phase("commit")
        on_phase("done")
    return Rebuilt(**found, switched=switched, seconds=round(time.monotonic() - started, 3))


@contextmanager
def _alone(db: Database) -> Iterator[sa.Connection]:
    """Hold the lock of rebuilds on a connection of its own, which takes lock and temporary tables with it."""
    with db.engine.connect() as connection:
        try:
            with connection.begin():
                if not connection.scalar(_LOCK):
                    raise RebuildRunning(
                        "统计正在重建，请等它结束后再试。",
                        "The statistics are being rebuilt; try again when that has ended.",
                    )
            yield connection
            with connection.begin():
                connection.execute(_UNLOCK)
        finally:
            if not connection.invalidated:
                connection.invalidate()


def _found(connection: sa.Connection, before: Totals) -> dict[str, Any]:
    counts = connection.execute(
        sa.text(
            "SELECT (SELECT count(*) FROM ledger_entries) AS entries,"
            " (SELECT count(*) FROM waiting_entries) AS waiting,"
            f" (SELECT count(*) FROM waiting_entries WHERE id IN ({_DROPPED})) AS dropped,"
            " (SELECT count(*) FROM cell_corrections) AS cells,"
            " (SELECT count(*) FROM volunteer_corrections) AS volunteers,"
            " (SELECT count(*) FROM unlike_log) AS unlike_log"
        )
    ).one()
    first = [
        {"table": table, **row}
        for table, statement in (("statistics_cells", _FIRST_CELLS), ("volunteer_months", _FIRST_VOLUNTEERS))
        for row in rows(connection.execute(statement, {"shown": SHOWN}))
    ]
    unlike = connection.scalars(sa.text("SELECT id FROM unlike_log ORDER BY id LIMIT :shown"), {"shown": SHOWN})
    return {
        "before": before,
        "after": _totals(connection, "rebuilt_cells"),
        "entries": counts.entries - counts.waiting,
        "waiting": counts.waiting,
        "dropped": counts.dropped,
        "differing": {"statistics_cells": counts.cells, "volunteer_months": counts.volunteers},
        "first": first[:SHOWN],
        "unlike_log": counts.unlike_log,
        "first_unlike_log": [str(entry_id) for entry_id in unlike],
    }


def _totals(connection: sa.Connection, table: str) -> Totals:
    found = connection.execute(
        sa.text(
            "SELECT CAST(coalesce(sum(minutes), 0) AS bigint) AS minutes,"
            " CAST(coalesce(sum(entries), 0) AS bigint) AS entries,"
            f" count(*) FILTER (WHERE minutes <> 0 OR entries <> 0) AS cells FROM {table}"
        )
    ).one()
    return Totals(found.minutes, found.entries, found.cells)


# No parameters: PostgreSQL takes none in a statement that makes a table. Everything put in is a name from the code.
# ruff: noqa: S608
_LOCK = sa.text(
    "SELECT pg_try_advisory_lock(hashtextextended('xinhuo rebuild ' || current_schema() || ' statistics', 1))"
)
_UNLOCK = sa.text("SELECT pg_advisory_unlock_all()")
#: What the log says about each entry and reversal, and whether the handler has counted it.
_EVENTS = sa.text(
    f"""
    CREATE TEMPORARY TABLE rebuilt_events AS
    SELECT CAST(o.aggregateid AS uuid) AS id, i.event_id IS NOT NULL AS handled,
        CAST(said.data ->> 'volunteer_id' AS uuid) AS volunteer_id,
        CAST(said.data ->> 'served_on' AS date) AS served_on,
        said.data ->> 'unit_code' AS unit_code, said.data ->> 'team_code' AS team_code,
        said.data ->> 'category' AS category,
        CASE o.type WHEN '{HoursLogged.topic}' THEN 1 ELSE -1 END * CAST(said.data ->> 'minutes' AS integer) AS minutes
    FROM outbox o
    CROSS JOIN LATERAL (SELECT CAST(convert_from(o.payload, 'UTF8') AS jsonb) -> 'data' AS data OFFSET 0) AS said
    LEFT JOIN inbox i ON i.event_id = o.id AND i.handler = '{HANDLER}'
    WHERE o.type IN ('{HoursLogged.topic}', '{HoursReversed.topic}')
    """
)
_KNOW_EVENTS = sa.text("ANALYZE rebuilt_events")
_WAITING = sa.text(
    """
    CREATE TEMPORARY TABLE waiting_entries AS
    SELECT DISTINCT id FROM rebuilt_events e
    WHERE NOT handled AND NOT EXISTS (SELECT 1 FROM rebuilt_events h WHERE h.id = e.id AND h.handled)
    """
)
_DROPPED = f"""
    SELECT CAST(o.aggregateid AS uuid) FROM outbox o
    JOIN dead_letters d ON d.event_id = o.id AND d.handler = '{HANDLER}' AND d.state = 'dropped'
    WHERE NOT EXISTS (SELECT 1 FROM dead_letters x
        WHERE x.event_id = o.id AND x.handler = '{HANDLER}' AND x.state = 'waiting')
    AND NOT EXISTS (SELECT 1 FROM parked_events p WHERE p.event_id = o.id AND p.handler = '{HANDLER}')
"""
_NEW_VOLUNTEER_MONTHS = sa.text(
    """
    CREATE TEMPORARY TABLE rebuilt_volunteer_months AS
    SELECT volunteer_id, served_month AS month, unit_code, team_code, category,
        CAST(sum(minutes) AS bigint) AS minutes, sum(CASE kind WHEN 'entry' THEN 1 ELSE -1 END) AS entries
    FROM ledger_entries l
    WHERE NOT EXISTS (SELECT 1 FROM waiting_entries w WHERE w.id = l.id)
    GROUP BY volunteer_id, served_month, unit_code, team_code, category
    """
)
_NEW_CELLS = sa.text(
    """
    CREATE TEMPORARY TABLE rebuilt_cells AS
    SELECT month, unit_code, team_code, category,
        CAST(sum(minutes) AS bigint) AS minutes, CAST(sum(entries) AS bigint) AS entries
    FROM rebuilt_volunteer_months GROUP BY month, unit_code, team_code, category
    """
)
_CORRECTION = """
    SELECT {key}, coalesce(new.minutes, 0) - coalesce(old.minutes, 0) AS minutes,
        coalesce(new.entries, 0) - coalesce(old.entries, 0) AS entries,
        coalesce(old.minutes, 0) AS minutes_before, coalesce(new.minutes, 0) AS minutes_after,
        coalesce(old.entries, 0) AS entries_before, coalesce(new.entries, 0) AS entries_after
    FROM {new} AS new FULL JOIN {old} AS old USING ({key})
    WHERE coalesce(new.minutes, 0) <> coalesce(old.minutes, 0) OR coalesce(new.entries, 0) <> coalesce(old.entries, 0)
"""
_CELL = "month, unit_code, team_code, category"
_CELL_CORRECTIONS = sa.text(
    "CREATE TEMPORARY TABLE cell_corrections AS"
    + _CORRECTION.format(key=_CELL, new="rebuilt_cells", old="statistics_cells")
)
_VOLUNTEER_CORRECTIONS = sa.text(
    "CREATE TEMPORARY TABLE volunteer_corrections AS"
    + _CORRECTION.format(key=f"volunteer_id, {_CELL}", new="rebuilt_volunteer_months", old="volunteer_months")
)


def _unlike_log(oldest: UUID) -> sa.TextClause:
    """What is said by one of the two only, or twice, or not alike; entries before the oldest event have none."""
    return sa.text(
        f"""
        CREATE TEMPORARY TABLE unlike_log AS
        SELECT DISTINCT coalesce(l.id, e.id) AS id
        FROM ledger_entries l FULL JOIN rebuilt_events e ON e.id = l.id
        WHERE (e.id IS NOT NULL OR l.id >= '{oldest}')
            AND (l.volunteer_id, l.served_on, l.unit_code, l.team_code, l.category, l.minutes)
            IS DISTINCT FROM (e.volunteer_id, e.served_on, e.unit_code, e.team_code, e.category, e.minutes)
        UNION SELECT id FROM rebuilt_events GROUP BY id HAVING count(*) > 1
        """
    )


_VALUES = "minutes_before, minutes_after, entries_before, entries_after"
_ORDER = 'month, unit_code COLLATE "C", team_code COLLATE "C", category COLLATE "C"'
_FIRST_CELLS = sa.text(f"SELECT {_CELL}, {_VALUES} FROM cell_corrections ORDER BY {_ORDER} LIMIT :shown")
_FIRST_VOLUNTEERS = sa.text(
    f"SELECT volunteer_id, {_CELL}, {_VALUES} FROM volunteer_corrections ORDER BY volunteer_id, {_ORDER} LIMIT :shown"
)
_CORRECT_CELLS = sa.text(
    f"""
    INSERT INTO statistics_cells AS cell ({_CELL}, minutes, entries)
    SELECT {_CELL}, minutes, entries FROM cell_corrections ORDER BY {_ORDER}
    ON CONFLICT ({_CELL}) DO UPDATE
    SET minutes = cell.minutes + excluded.minutes, entries = cell.entries + excluded.entries
    """
)
_CORRECT_VOLUNTEERS = sa.text(
    f"""
    INSERT INTO volunteer_months AS kept (volunteer_id, {_CELL}, minutes, entries)
    SELECT volunteer_id, {_CELL}, minutes, entries FROM volunteer_corrections ORDER BY volunteer_id, {_ORDER}
    ON CONFLICT (volunteer_id, {_CELL}) DO UPDATE
    SET minutes = kept.minutes + excluded.minutes, entries = kept.entries + excluded.entries
    """
)
