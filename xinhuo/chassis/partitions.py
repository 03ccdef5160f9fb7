"""Monthly partitions of what grows by a row for each event, made ahead of time and dropped when they are too old.

The month is that of the event's id: a UUIDv7 holds the time. Ids outside every month go to the partition ``…_rest``;
those of a month that had no partition yet are moved into it when it is made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

MONTHS_AHEAD = 12
#: How long a partition may wait for those who use the table; meanwhile everybody else waits for it.
LOCK_TIMEOUT = "250ms"
#: What took effect is remembered for so many months longer than events can be replayed.
REMEMBERED_LONGER = 2


@dataclass(frozen=True)
class Partitioned:
    """A partitioned table, the column that holds the event's id, and what must be true of a row that may go."""

    table: str
    column: str
    done: str = "true"

    def partition_of(self, month: date) -> str:
        """Return the name of a month's partition."""
        return f"{self.table}_{month:%Y_%m}"


INBOX = Partitioned("inbox", "event_id")
OUTBOX = Partitioned("outbox", "id", "published_at IS NOT NULL AND (public_published_at IS NOT NULL OR NOT public)")

#: A service's role owns no tables: what it must do to partitions, it does through these, and only to these two tables.
_BELONGS = """
    IF parent NOT IN ('inbox', 'outbox') OR name !~ ('^' || parent || '_[0-9]{4,}_[0-9]{2}$') THEN
        RAISE EXCEPTION '% is no partition of %', name, parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
"""
_FUNCTION = """
CREATE OR REPLACE FUNCTION {signature} LANGUAGE plpgsql SECURITY DEFINER SET search_path = "{schema}", pg_temp AS $$
{declared}
BEGIN
{belongs}
{body}
END
$$
"""
#: Filled before it is attached: PostgreSQL refuses a partition whose rows the default partition holds.
_MAKE = """
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', name, parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *)'
        ' INSERT INTO %I SELECT * FROM moved', parent || '_rest', id, low, id, high, name);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high);
"""
#: Returns whether it was taken out: one with a row that is not done stays.
_DETACH = """
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE NOT (%s))', name, done) INTO STRICT undone;
    IF NOT undone THEN
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, name);
    END IF;
    RETURN NOT undone;
"""
_DROP = """
    IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = CAST(name AS regclass)) THEN
        RAISE EXCEPTION '% is in use', name USING ERRCODE = 'object_in_use';
    END IF;
    EXECUTE format('DROP TABLE %I', name);
"""


def add_functions(connection: Any) -> None:
    """Make the functions by which a service's role makes, takes out and drops partitions, in the current schema."""
    schema = connection.scalar(sa.text("SELECT current_schema()"))
    cases = " ".join(f"WHEN '{what.table}' THEN '{what.column}'" for what in (INBOX, OUTBOX))
    done = " ".join(f"WHEN '{what.table}' THEN '{what.done}'" for what in (INBOX, OUTBOX))
    for signature, declared, body in (
        (
            "make_partition(parent text, name text, low uuid, high uuid) RETURNS void",
            f"DECLARE id text := CASE parent {cases} END;",
            _MAKE,
        ),
        (
            "detach_partition(parent text, name text) RETURNS boolean",
            f"DECLARE done text := CASE parent {done} END; undone boolean;",
            _DETACH,
        ),
        (
            "count_partition(parent text, name text) RETURNS bigint",
            "DECLARE counted bigint;",
            "EXECUTE format('SELECT count(*) FROM %I', name) INTO STRICT counted; RETURN counted;",
        ),
        ("drop_partition(parent text, name text) RETURNS void", "", _DROP),
    ):
        made = _FUNCTION.format(signature=signature, schema=schema, declared=declared, belongs=_BELONGS, body=body)
        connection.exec_driver_sql(made.replace("%", "%%"))


def ensure(connection: Any, what: Partitioned, today: date, *, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Create the missing partitions of this month and of those to come; return their names.

    Several processes may call it at once.
    """
    months = [today.replace(day=1)]
    while len(months) <= months_ahead:
        months.append(_month_after(months[-1]))
    if not _missing(connection, what, months):
        return []
    # Nobody may write an event of the month while its rows move; who was first has made what is missing.
    connection.execute(sa.text(f"LOCK TABLE {what.table} IN ACCESS EXCLUSIVE MODE"))
    missing = _missing(connection, what, months)
    for month in missing:
        limits = {"low": first_id_of(month), "high": first_id_of(_month_after(month))}
        connection.execute(_MADE, {"parent": what.table, "name": what.partition_of(month), **limits})
    return [what.partition_of(month) for month in missing]


def expire(connection: Any, what: Partitioned, before: date) -> list[str]:
    """Take the partitions of the months before a day's own out of the table; return their names.

    What was taken out by an earlier call is dropped: nobody uses it any more, so that no lock of that stops anybody,
    however large it is. A partition with a row that is not done stays. Raises OperationalError when the table is in
    use for longer than ``LOCK_TIMEOUT``; call again later.
    """
    limit = before.replace(day=1)
    for name in _tables(connection, _DETACHED, what):
        connection.execute(_DROPPED, {"parent": what.table, "name": name})
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
    expired = [
        name
        for name in _tables(connection, _ATTACHED, what)
        if name < what.partition_of(limit) and connection.scalar(_TAKEN_OUT, {"parent": what.table, "name": name})
    ]
    connection.execute(
        sa.text(f"DELETE FROM {what.table}_rest WHERE {what.column} < :limit AND ({what.done})"),  # noqa: S608
        {"limit": first_id_of(limit)},
    )
    connection.execute(sa.text("SET LOCAL lock_timeout = DEFAULT"))
    return expired


def rows_that_go(connection: Any, what: Partitioned, before: date) -> int:
    """Return how many rows the next ``expire`` removes for good."""
    rest = sa.text(f"SELECT count(*) FROM {what.table}_rest WHERE {what.column} < :limit AND ({what.done})")  # noqa: S608
    of_no_month = int(connection.scalar(rest, {"limit": first_id_of(before.replace(day=1))}))
    return of_no_month + _count(connection, what, _tables(connection, _DETACHED, what))


def rows_before(connection: Any, what: Partitioned, before: date) -> int:
    """Return how many rows there are of the months before a day's own, whether taken out of the table yet or not."""
    first = what.partition_of(before.replace(day=1))
    older = [name for name in _tables(connection, _ATTACHED, what) if name < first]
    return rows_that_go(connection, what, before) + _count(connection, what, older)


def outbox_begins(today: date, months: int) -> date:
    """Return the first day of the events that are kept: so many whole months, and this one."""
    number = today.year * 12 + today.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def oldest_event(today: date, months: int) -> UUID:
    """Return an id that is not greater than that of any event that is kept; the smallest of all when all are."""
    return first_id_of(outbox_begins(today, months)) if months else UUID(int=0)


def inbox_begins(today: date, months: int) -> date:
    """Return the first day of the events of which it is remembered that they took effect."""
    return outbox_begins(today, months + REMEMBERED_LONGER)


_MADE = sa.text("SELECT make_partition(:parent, :name, :low, :high)")
_TAKEN_OUT = sa.text("SELECT detach_partition(:parent, :name)")
_COUNTED = sa.text("SELECT count_partition(:parent, :name)")
_DROPPED = sa.text("SELECT drop_partition(:parent, :name)")
#: What goes by whole months, and how the first month that stays is found.
KEPT_BY_MONTHS = ((OUTBOX, outbox_begins), (INBOX, inbox_begins))

_NAMED = (
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = CAST(current_schema() AS regnamespace)"
    " AND c.relkind = 'r' AND c.relname ~ :pattern AND {} EXISTS (SELECT FROM pg_inherits i"
    " WHERE i.inhrelid = c.oid AND i.inhparent = CAST(:parent AS regclass)) ORDER BY 1"
)
_ATTACHED, _DETACHED = sa.text(_NAMED.format("")), sa.text(_NAMED.format("NOT"))


def _tables(connection: Any, statement: sa.TextClause, what: Partitioned) -> list[str]:
    names = {"pattern": f"^{what.table}_[0-9]{{4,}}_[0-9]{{2}}$", "parent": what.table}
    return list(connection.execute(statement, names).scalars())


def _count(connection: Any, what: Partitioned, names: Iterable[str]) -> int:
    return sum(int(connection.scalar(_COUNTED, {"parent": what.table, "name": name})) for name in names)


def _missing(connection: Any, what: Partitioned, months: Iterable[date]) -> list[date]:
    existing = _tables(connection, _ATTACHED, what)
    return [month for month in months if what.partition_of(month) not in existing]


def _month_after(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)


def first_id_of(day: date) -> UUID:
    """Return the smallest UUIDv7 that can be made on a day (UTC)."""
    milliseconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    return UUID(int=milliseconds << 80)
